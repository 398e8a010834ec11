#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include "simd/vec/inline.h"

#define TB_FN(name) tb_##name##_dotprod

TB_INLINE int32x4_t dot32(int8x16x2_t k, int8x16x2_t q) {
  return vdotq_s32(vdotq_s32(vdupq_n_s32(0), k.val[0], q.val[0]), k.val[1], q.val[1]);
}

#include "simd/attn/score_blocks_arm.h"
