# Compiler flags of each ISA tier. tb_isa_sources(<isa> <files...>) adds kernel files of one tier to the library: only
# these files get its flags, and only on its own architecture.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(TB_ARCH x86_64)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  set(TB_ARCH aarch64)
else()
  message(FATAL_ERROR "thimble runs on x86-64 and 64-bit ARM, not on ${CMAKE_SYSTEM_PROCESSOR}")
endif()

set(TB_ISA_x86_64 avx2 avxvnni avx512 avx512bf16)
set(TB_ISA_aarch64 neon dotprod i8mm)
set(TB_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(TB_FLAGS_avxvnni ${TB_FLAGS_avx2} -mavxvnni)
set(TB_FLAGS_avx512 ${TB_FLAGS_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni)
set(TB_FLAGS_avx512bf16 ${TB_FLAGS_avx512} -mavx512bf16)
set(TB_FLAGS_neon -march=armv8-a)
set(TB_FLAGS_dotprod -march=armv8.2-a+dotprod)
set(TB_FLAGS_i8mm -march=armv8.2-a+dotprod+i8mm)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  # gcc's scheduler before register allocation starts so many loads early that 32 vector registers do not suffice:
  # without it the plain NEON kernels have 5-20 % fewer instructions and almost no spills.
  foreach(isa IN LISTS TB_ISA_aarch64)
    list(APPEND TB_FLAGS_${isa} -fno-schedule-insns)
  endforeach()
endif()

# Fuzzing is about what reaches the kernels: their own tests run them under the undefined-behaviour sanitizer, which
# takes minutes to instrument them.
if(TB_FUZZ)
  foreach(isa IN LISTS TB_ISA_${TB_ARCH})
    list(APPEND TB_FLAGS_${isa} -fno-sanitize=undefined)
  endforeach()
endif()

function(tb_isa_sources isa)
  if(NOT isa IN_LIST TB_ISA_${TB_ARCH})
    return()
  endif()
  foreach(file IN LISTS ARGN)
    set(flags ${TB_FLAGS_${isa}})
    if(TB_SANITIZE STREQUAL "undefined") # optimising all its checks takes the compiler many minutes
      list(APPEND flags -O1)
      if(file MATCHES "^gemm/")
        list(APPEND flags -O0)
      endif()
    endif()
    target_sources(thimble_lib PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/${file})
    set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/${file}
      TARGET_DIRECTORY thimble_lib PROPERTIES COMPILE_OPTIONS "${flags}")
  endforeach()
endfunction()
