/* gemm for AVX-VNNI: the source of AVX-512 with 256-bit vectors. */
#include "simd/vec/lanes_256.h"

#include "simd/gemm/gemm_tile_vnni.h"

#define TIER avxvnni
#include "simd/gemm/gemm_formats.h"
