/* attn_accum_ternary for ARM (simd/attn_accum/attn_accum.h); TB_FN names the tier. 16-bit sums of a whole block fit: 40
 * products of at most 2·127. */
#include "simd/kernels.h"
#include "simd/vec/arm_lanes.h"

/* o += a·dot + b. */
TB_INLINE void add4(float *o, int32x4_t dot, float a, float b) {
  vst1q_f32(o, vaddq_f32(vld1q_f32(o), vfmaq_n_f32(vdupq_n_f32(b), vcvtq_f32_s32(dot), a)));
}

/* Minus the trit of each byte: -1 where it reaches 256/3, -1 more where it reaches 512/3. */
TB_INLINE uint8x16_t minus_trit(uint8x16_t y) {
  return vaddq_u8(vcgeq_u8(y, vdupq_n_u8(86)), vcgeq_u8(y, vdupq_n_u8(171)));
}

#define TRITS_STEP(dot, weights, lane)                                                                                 \
  for (int j = 0; j < 2; j++) {                                                                                        \
    const uint8x16_t u = minus_trit(y[j]);                                                                             \
    y[j] = vmulq_u8(y[j], vdupq_n_u8(3));                                                                              \
    for (size_t g = 0; g < n; g++) acc[g][j] = dot(acc[g][j], u, weights[g], lane);                                    \
  }

/* 8 planes for n heads; 20 tokens' lines are `stride` bytes apart. */
TB_INLINE void trits8(float *o, size_t ldo, const int8_t *w, const float *a, const float *b, size_t n,
                      const unsigned char *lines, size_t stride, size_t tokens) {
  lanes acc[4][2];
  for (size_t g = 0; g < n; g++) acc[g][0] = acc[g][1] = lanes_zero();
  for (size_t t = 0; t < tokens; t += 20, lines += stride) {
    uint8x16_t y[2] = {vld1q_u8(lines), vld1q_u8(lines + 16)};
    int8x16_t weights[4];
    int8x8_t last[4];
    for (size_t g = 0; g < n; g++) {
      weights[g] = vld1q_s8(w + g * TB_KV_BLOCK + t);
      last[g] = vld1_s8(w + g * TB_KV_BLOCK + t + 12); /* its second dword: tokens 16-19 */
    }
    TRITS_STEP(LANES_DOT_Q, weights, 0)
    TRITS_STEP(LANES_DOT_Q, weights, 1)
    TRITS_STEP(LANES_DOT_Q, weights, 2)
    TRITS_STEP(LANES_DOT_Q, weights, 3)
    TRITS_STEP(LANES_DOT, last, 1)
  }
  for (size_t g = 0; g < n; g++)
    for (int j = 0; j < 2; j++) add4(o + g * ldo + 4 * j, lanes_sum(acc[g][j]), -a[g], b[g]);
}

void TB_FN(attn_accum_ternary) TB_ATTN_ACCUM_BLOCK_ARGS {
  for (size_t c = 0; c < planes; c += 8) {
    const size_t chunk = c / 64 * 64, stride = planes - chunk < 64 ? 128 : 256;
    const unsigned char *lines = (const unsigned char *)block + chunk * (TB_KV_BLOCK / 5) + first / 20 * stride + (c - chunk) * 4;
    for (size_t g = 0; g < n_q;) {
      const size_t heads = n_q - g < 4 ? n_q - g : 4;
      float *og = o + g * ldo + c;
      const int8_t *wg = w + g * TB_KV_BLOCK;
      if (heads == 4) trits8(og, ldo, wg, a + g, b + g, 4, lines, stride, n);
      else if (heads == 3) trits8(og, ldo, wg, a + g, b + g, 3, lines, stride, n);
      else if (heads == 2) trits8(og, ldo, wg, a + g, b + g, 2, lines, stride, n);
      else trits8(og, ldo, wg, a + g, b + g, 1, lines, stride, n);
      g += heads;
    }
  }
}
