#define TB_FN(name) tb_##name##_avxvnni
#define TB_VNNI 1
#include "simd/attn/score_blocks_avx2.h"

#include "simd/attn/score_blocks_x86.h"
