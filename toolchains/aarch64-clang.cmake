# As aarch64-linux-gnu.cmake, with clang: it finds gcc's cross libraries by itself.
if(NOT CMAKE_C_COMPILER)
  find_program(TB_CLANG NAMES clang clang-19 clang-18 clang-17 clang-16 clang-15 clang-14 REQUIRED)
  set(CMAKE_C_COMPILER ${TB_CLANG})
endif()
set(CMAKE_C_COMPILER_TARGET aarch64-linux-gnu)
include(${CMAKE_CURRENT_LIST_DIR}/aarch64-linux-gnu.cmake)
