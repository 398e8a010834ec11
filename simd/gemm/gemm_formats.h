/* gemm of every format for one x86 tier: TIER is defined, a simd/vec/lanes_*.h and the tiles are included before. */
#define FMT q4_0
#define TILES TILES_4
#include "simd/gemm/gemm_pack.h"
#define FMT q4_1
#define TILES TILES_4_ADDS
#include "simd/gemm/gemm_pack.h"
#define FMT q5_0
#define TILES TILES_5
#include "simd/gemm/gemm_pack.h"
#define FMT q5_1
#define TILES TILES_5_ADDS
#include "simd/gemm/gemm_pack.h"
#define FMT q8_0
#define TILES TILES_8
#include "simd/gemm/gemm_pack.h"
#define FMT iq4_nl
#define TILES TILES_8
#include "simd/gemm/gemm_pack.h"
#define FMT q2_k
#define TILES TILES_4_PARTS_ADDS
#include "simd/gemm/gemm_pack.h"
#define FMT q3_k
#define TILES TILES_4_PARTS
#include "simd/gemm/gemm_pack.h"
#define FMT q4_k
#define TILES TILES_4_ADDS
#include "simd/gemm/gemm_pack.h"
#define FMT q5_k
#define TILES TILES_5_ADDS
#include "simd/gemm/gemm_pack.h"
#define FMT q6_k
#define TILES TILES_6_PARTS
#include "simd/gemm/gemm_pack.h"
#define FMT iq4_xs
#define TILES TILES_8
#include "simd/gemm/gemm_pack.h"

#define FMT f32
#define FMT_BYTES 4
#include "simd/gemm/gemm_floats.h"
#define FMT f16
#define FMT_BYTES 2
#include "simd/gemm/gemm_floats.h"
#define FMT bf16
#define FMT_BYTES 2
#include "simd/gemm/gemm_floats.h"
