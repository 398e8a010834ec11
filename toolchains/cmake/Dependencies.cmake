# Libraries outside what thimble exists for. Each is optional where a phone build must live without it: the code has a
# fallback of its own with the same results.
find_package(PkgConfig)
find_package(Threads REQUIRED)

# The NDK has none of them, and pkg-config would answer with those of the machine that compiles. (On a phone itself, in
# Termux, CMake says ANDROID too.)
macro(tb_pkg var module)
  if(PkgConfig_FOUND AND NOT TB_NO_${var} AND NOT (ANDROID AND CMAKE_CROSSCOMPILING))
    pkg_check_modules(${var} QUIET IMPORTED_TARGET ${module})
  endif()
endmacro()

tb_pkg(SLEEF sleef)            # vector maths; fallback: simd/vec polynomials
tb_pkg(PCRE2 libpcre2-8)       # pre-tokenizer expressions; fallback: src/io/unicode
tb_pkg(UTF8PROC libutf8proc)   # normalisation
tb_pkg(JANSSON jansson)        # JSON in the program (plans, bench, templates)
tb_pkg(LIBEDIT libedit)        # line editing in chat

if(TB_THREADS STREQUAL "openmp")
  find_package(OpenMP COMPONENTS C)
  if(NOT OpenMP_C_FOUND)
    message(FATAL_ERROR "TB_THREADS=openmp, but no OpenMP runtime was found")
  endif()
elseif(NOT TB_THREADS STREQUAL "pthread")
  message(FATAL_ERROR "TB_THREADS=${TB_THREADS} is neither pthread nor openmp")
endif()

# What everything that links the library needs at link time.
set(TB_LINK_OPTIONS)
if(ANDROID)
  list(APPEND TB_LINK_OPTIONS -Wl,-z,max-page-size=16384) # what devices with 16 KB pages ask for
  if(TB_THREADS STREQUAL "openmp" AND CMAKE_CROSSCOMPILING)
    list(APPEND TB_LINK_OPTIONS -static-openmp) # the runtime is not on the device
  endif()
endif()
