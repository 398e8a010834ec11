#define TB_FN(name) tb_##name##_avx2
#define TB_VNNI 0
#include "simd/attn/score_blocks_avx2.h"

#include "simd/attn/score_blocks_x86.h"
