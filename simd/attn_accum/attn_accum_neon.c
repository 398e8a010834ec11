#include "simd/vec/inline.h"

#define TB_FN(name) tb_##name##_neon

#include "simd/attn_accum/attn_accum_arm.h"
