# 64-bit ARM Linux from another machine, gcc and Debian/Ubuntu multiarch packages (toolchains/README.md).
# Tests run under qemu; QEMU_CPU chooses the core (cortex-a72: Pi 4, cortex-a76: Pi 5, max), unless a toolchain file
# that includes this one names it in TB_QEMU_MODEL.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
if(NOT CMAKE_C_COMPILER)
  find_program(TB_AARCH64_GCC aarch64-linux-gnu-gcc)
  if(NOT TB_AARCH64_GCC)
    message(FATAL_ERROR "aarch64-linux-gnu-gcc is not here: toolchains/README.md lists what to install")
  endif()
  set(CMAKE_C_COMPILER ${TB_AARCH64_GCC})
endif()
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

# Multiarch libraries live in the host's own prefix, in a folder named after the triplet.
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu /usr/lib/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
# Without this pkg-config would answer with the host's libraries.
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)

find_program(TB_QEMU_AARCH64 NAMES qemu-aarch64-static qemu-aarch64)
if(TB_QEMU_AARCH64 AND NOT CMAKE_HOST_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(CMAKE_CROSSCOMPILING_EMULATOR ${TB_QEMU_AARCH64})
  if(TB_QEMU_MODEL)
    set(CMAKE_CROSSCOMPILING_EMULATOR env QEMU_CPU=${TB_QEMU_MODEL} ${TB_QEMU_AARCH64})
  endif()
endif()
