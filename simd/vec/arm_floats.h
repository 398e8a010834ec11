/* Sixteen stored floats of any float format as four vectors, on ARM. */
#ifndef TB_SIMD_VEC_ARM_FLOATS_H
#define TB_SIMD_VEC_ARM_FLOATS_H

#include <arm_neon.h>
#include <stdint.h>

#include "simd/vec/arm_dot.h"

/* 4 × 4: rows become columns, in place. */
TB_INLINE void tb_transpose4(float32x4_t v[4]) {
  float64x2_t ab0 = vreinterpretq_f64_f32(vtrn1q_f32(v[0], v[1])), ab1 = vreinterpretq_f64_f32(vtrn2q_f32(v[0], v[1]));
  float64x2_t cd0 = vreinterpretq_f64_f32(vtrn1q_f32(v[2], v[3])), cd1 = vreinterpretq_f64_f32(vtrn2q_f32(v[2], v[3]));
  v[0] = vreinterpretq_f32_f64(vtrn1q_f64(ab0, cd0));
  v[1] = vreinterpretq_f32_f64(vtrn1q_f64(ab1, cd1));
  v[2] = vreinterpretq_f32_f64(vtrn2q_f64(ab0, cd0));
  v[3] = vreinterpretq_f32_f64(vtrn2q_f64(ab1, cd1));
}

TB_INLINE void tb_load16_f32(float32x4_t v[4], const uint8_t *w) {
  v[0] = vreinterpretq_f32_u8(vld1q_u8(w));
  v[1] = vreinterpretq_f32_u8(vld1q_u8(w + 16));
  v[2] = vreinterpretq_f32_u8(vld1q_u8(w + 32));
  v[3] = vreinterpretq_f32_u8(vld1q_u8(w + 48));
}

TB_INLINE void tb_load16_f16(float32x4_t v[4], const uint8_t *w) {
  float16x8_t a = vreinterpretq_f16_u8(vld1q_u8(w)), b = vreinterpretq_f16_u8(vld1q_u8(w + 16));
  v[0] = vcvt_f32_f16(vget_low_f16(a));
  v[1] = vcvt_high_f32_f16(a);
  v[2] = vcvt_f32_f16(vget_low_f16(b));
  v[3] = vcvt_high_f32_f16(b);
}

TB_INLINE void tb_load16_bf16(float32x4_t v[4], const uint8_t *w) {
  uint16x8_t a = vreinterpretq_u16_u8(vld1q_u8(w)), b = vreinterpretq_u16_u8(vld1q_u8(w + 16));
  v[0] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(a), 16));
  v[1] = vreinterpretq_f32_u32(vshll_high_n_u16(a, 16));
  v[2] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(b), 16));
  v[3] = vreinterpretq_f32_u32(vshll_high_n_u16(b, 16));
}

#endif
