/* quant with NEON. Divisions, products and roundings are those of the reference, one by one. */
#include "simd/quant/quant.h"

#include <arm_neon.h>

#include "simd/kernels.h"

static inline float32x4_t larger(float32x4_t a, float32x4_t b) { return vmaxnmq_f32(a, b); }

static inline float magnitude(const float32x4_t v[8]) {
  float32x4_t a = larger(vabsq_f32(v[0]), vabsq_f32(v[1])), b = larger(vabsq_f32(v[2]), vabsq_f32(v[3]));
  float32x4_t c = larger(vabsq_f32(v[4]), vabsq_f32(v[5])), d = larger(vabsq_f32(v[6]), vabsq_f32(v[7]));
  return vmaxnmvq_f32(larger(larger(a, b), larger(c, d)));
}

/* Sixteen codes. Half to even, as the reference rounds; no code exceeds 127, so narrowing loses nothing. */
static inline int8x16_t codes(const float32x4_t v[4], float inverse) {
  int32x4_t a = vcvtnq_s32_f32(vmulq_n_f32(v[0], inverse)), b = vcvtnq_s32_f32(vmulq_n_f32(v[1], inverse));
  int32x4_t c = vcvtnq_s32_f32(vmulq_n_f32(v[2], inverse)), d = vcvtnq_s32_f32(vmulq_n_f32(v[3], inverse));
  int16x8_t low = vuzp1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
  int16x8_t high = vuzp1q_s16(vreinterpretq_s16_s32(c), vreinterpretq_s16_s32(d));
  return vuzp1q_s8(vreinterpretq_s8_s16(low), vreinterpretq_s8_s16(high));
}

void tb_quant_q8_neon(int8_t *q, float *d, int16_t *s, const float *x, size_t k) {
  for (size_t b = 0; b < k / 32; b++, x += 32, q += 32, s += 2) {
    float32x4_t v[8];
    for (int i = 0; i < 8; i++) v[i] = vld1q_f32(x + 4 * i);
    float m = magnitude(v);
    d[b] = m / 127.0f;
    float inverse = m > 0 ? 127.0f / m : 0.0f;
    if (inverse > 3.4e38f) inverse = 0.0f;
    int8x16_t low = codes(v, inverse), high = codes(v + 4, inverse);
    vst1q_s8(q, low);
    vst1q_s8(q + 16, high);
    s[0] = vaddlvq_s8(low);
    s[1] = vaddlvq_s8(high);
  }
}
