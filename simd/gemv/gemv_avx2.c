/* gemv for AVX2. */
#include "simd/vec/lanes_256.h"

#define TIER avx2
#include "simd/gemv/gemv_x86.h"
