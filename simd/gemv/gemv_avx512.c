/* gemv for AVX-512 VNNI. */
#include "simd/vec/lanes_avx512.h"

#define TIER avx512
#include "simd/gemv/gemv_x86.h"
