#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include "simd/vec/inline.h"

#define TB_FN(name) tb_##name##_neon

/* Two products in 16 bits: 2 · 128 · 127 < 2^15. */
TB_INLINE int16x8_t pairs(int8x8_t a, int8x8_t x, int8x8_t b, int8x8_t y) { return vmlal_s8(vmull_s8(a, x), b, y); }

TB_INLINE int32x4_t dot32(int8x16x2_t k, int8x16x2_t q) {
  int16x8_t lo = pairs(vget_low_s8(k.val[0]), vget_low_s8(q.val[0]), vget_low_s8(k.val[1]), vget_low_s8(q.val[1]));
  int16x8_t hi = pairs(vget_high_s8(k.val[0]), vget_high_s8(q.val[0]), vget_high_s8(k.val[1]), vget_high_s8(q.val[1]));
  return vpadalq_s16(vpaddlq_s16(lo), hi);
}

#include "simd/attn/score_blocks_arm.h"
