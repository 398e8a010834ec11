#include "simd/vec/vec_avx512.h"

#define TB_WIDE 1

#include "simd/attn/rows_v16.h"
#include "simd/attn/rowcodec_v16.h"
#include "simd/attn/softmax_v16.h"
#include "simd/attn/tile_v16.h"
