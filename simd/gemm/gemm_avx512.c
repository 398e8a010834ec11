/* gemm for AVX-512 VNNI. */
#include "simd/vec/lanes_avx512.h"

#include "simd/gemm/gemm_tile_vnni.h"

#define TIER avx512
#include "simd/gemm/gemm_formats.h"
