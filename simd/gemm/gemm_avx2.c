/* gemm for AVX2. */
#include "simd/vec/lanes_256.h"

#include "simd/gemm/gemm_tile_avx2.h"

#define TIER avx2
#include "simd/gemm/gemm_formats.h"
