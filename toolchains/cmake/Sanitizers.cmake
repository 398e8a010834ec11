# TB_SANITIZE=address|undefined|thread instruments everything that is compiled, tests included. The thread sanitizer
# understands OpenMP (TB_THREADS=openmp) only through clang's runtime and its Archer tool; with gcc it reports races that
# are none.
set(TB_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize= (address, undefined, thread)")
if(TB_SANITIZE)
  if(TB_SANITIZE MATCHES thread AND TB_THREADS STREQUAL "openmp" AND NOT CMAKE_C_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "TB_SANITIZE=thread with OpenMP needs clang: CMAKE_C_COMPILER=clang, with libomp-14-dev")
  endif()
  add_compile_options(-fsanitize=${TB_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${TB_SANITIZE})
  add_compile_definitions(TB_SANITIZED=1) # for tests: frames are wider, everything takes longer
endif()

# Branch coverage of the files that read untrusted input (tests/coverage.sh). Only these are instrumented.
option(TB_COVERAGE "Instrument src/io for coverage (clang)" OFF)
set(TB_COVERAGE_FLAGS "")
if(TB_COVERAGE)
  set(TB_COVERAGE_FLAGS "-fprofile-instr-generate;-fcoverage-mapping")
  add_link_options(-fprofile-instr-generate)
endif()

# Fuzzing (tests/fuzz): everything reports what it covers, the targets are linked with libFuzzer.
option(TB_FUZZ "Build the fuzz targets for libFuzzer (clang)" OFF)
if(TB_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "TB_FUZZ needs clang: CMAKE_C_COMPILER=clang")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
