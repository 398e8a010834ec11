# One static program for 64-bit ARM Linux that needs nothing from the system it runs on: musl instead of glibc, our own
# vector maths and Unicode tables. Segments are aligned for kernels with 16 KB pages. TB_MUSL_SYSROOT (environment or
# -D) is the folder that musl-sysroot.sh filled.
if(NOT TB_MUSL_SYSROOT)
  set(TB_MUSL_SYSROOT $ENV{TB_MUSL_SYSROOT})
endif()
set(TB_MUSL_SYSROOT "${TB_MUSL_SYSROOT}" CACHE PATH "Folder filled by toolchains/musl-sysroot.sh")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES TB_MUSL_SYSROOT)
if(NOT EXISTS "${TB_MUSL_SYSROOT}/musl-gcc.specs")
  message(FATAL_ERROR "TB_MUSL_SYSROOT is \"${TB_MUSL_SYSROOT}\": run toolchains/musl-sysroot.sh DIR and name that folder")
endif()

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
# gcc's helpers for atomics ask glibc about the CPU.
set(CMAKE_C_FLAGS_INIT "-specs=${TB_MUSL_SYSROOT}/musl-gcc.specs -mno-outline-atomics")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static -Wl,-z,max-page-size=16384")

# Nothing of the host's or of glibc's is for this target.
set(CMAKE_FIND_ROOT_PATH ${TB_MUSL_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${TB_MUSL_SYSROOT}/usr/lib/pkgconfig)
set(CMAKE_POSITION_INDEPENDENT_CODE ON) # as the NDK does: the library also goes into an app's shared library
set(TB_TESTS OFF CACHE BOOL "Build the tests (cmocka is not there for musl)")

find_program(TB_QEMU_AARCH64 NAMES qemu-aarch64-static qemu-aarch64)
if(TB_QEMU_AARCH64 AND NOT CMAKE_HOST_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(CMAKE_CROSSCOMPILING_EMULATOR ${TB_QEMU_AARCH64})
endif()
