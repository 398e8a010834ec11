# Android, 64-bit ARM, API 24 (Android 7) and later: the NDK's own toolchain file with our settings. ANDROID_NDK
# (environment or -D) is the NDK's folder. Programs link what they need statically and align their segments for devices
# with 16 KB pages, which NDKs before r28 do not do by themselves.
if(NOT ANDROID_NDK)
  set(ANDROID_NDK $ENV{ANDROID_NDK})
endif()
set(ANDROID_NDK "${ANDROID_NDK}" CACHE PATH "Folder of the Android NDK")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ANDROID_NDK)
if(NOT EXISTS "${ANDROID_NDK}/build/cmake/android.toolchain.cmake")
  message(FATAL_ERROR "ANDROID_NDK is \"${ANDROID_NDK}\": there is no build/cmake/android.toolchain.cmake in that folder")
endif()
set(ANDROID_ABI "arm64-v8a")
set(ANDROID_PLATFORM "android-24" CACHE STRING "Oldest Android API level to run on")
set(ANDROID_STL "none")
set(ANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES ON)
include("${ANDROID_NDK}/build/cmake/android.toolchain.cmake")
set(TB_TESTS OFF CACHE BOOL "Build the tests (cmocka is not part of the NDK)")
