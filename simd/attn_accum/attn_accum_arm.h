/* attn_accum_values2 and attn_accum_ternary for ARM (simd/attn_accum/attn_accum.h); TB_FN names the tier. 16-bit sums of
 * a whole block fit: 40 products of at most 3·127, or 40 of 2·127. */
#include "simd/kernels.h"
#include "simd/vec/arm_lanes.h"

/* o += a·dot + b. */
TB_INLINE void add4(float *o, int32x4_t dot, float a, float b) {
  vst1q_f32(o, vaddq_f32(vld1q_f32(o), vfmaq_n_f32(vdupq_n_f32(b), vcvtq_f32_s32(dot), a)));
}

/* ------------------------------------------------------------------------------------------------------- values2 */

/* 4 tokens × 4 lanes × 4 planes for n heads. With dot products the masks grow (simd/attn_accum/attn_accum_avx512.c). */
#define VALUES_LINE(line, weights, lane)                                                                               \
  do {                                                                                                                 \
    const uint8x16_t u3 = vld1q_u8(line), u0 = vandq_u8(u3, vdupq_n_u8(3));                                            \
    const uint8x16_t u1 = LANES_WIDE ? vandq_u8(u3, vdupq_n_u8(15)) : vandq_u8(vshrq_n_u8(u3, 2), vdupq_n_u8(3));      \
    const uint8x16_t u2 = LANES_WIDE ? vandq_u8(u3, vdupq_n_u8(63)) : vandq_u8(vshrq_n_u8(u3, 4), vdupq_n_u8(3));      \
    const uint8x16_t u4 = LANES_WIDE ? u3 : vshrq_n_u8(u3, 6);                                                         \
    for (size_t g = 0; g < n; g++) {                                                                                   \
      acc[g][0] = LANES_DOT_QU(acc[g][0], u0, weights[g], lane);                                                        \
      acc[g][1] = LANES_DOT_QU(acc[g][1], u1, weights[g], lane);                                                        \
      acc[g][2] = LANES_DOT_QU(acc[g][2], u2, weights[g], lane);                                                        \
      acc[g][3] = LANES_DOT_QU(acc[g][3], u4, weights[g], lane);                                                        \
    }                                                                                                                  \
  } while (0)

/* Lines are `width` bytes apart, the four planes of a lane width/4. */
TB_INLINE void values4(float *o, size_t ldo, const int8_t *w, const float *a, const float *b, size_t n,
                       const unsigned char *lines, size_t width) {
  lanes acc[4][4];
  for (size_t g = 0; g < n; g++)
    for (int s = 0; s < 4; s++) acc[g][s] = lanes_zero();
  for (size_t t = 0; t < TB_KV_BLOCK; t += 16, lines += 4 * width) {
    int8x16_t weights[4];
    for (size_t g = 0; g < n; g++) weights[g] = vld1q_s8(w + g * TB_KV_BLOCK + t);
    VALUES_LINE(lines, weights, 0);
    VALUES_LINE(lines + width, weights, 1);
    VALUES_LINE(lines + 2 * width, weights, 2);
    VALUES_LINE(lines + 3 * width, weights, 3);
  }
  const size_t step = width / 4;
  for (size_t g = 0; g < n; g++, o += ldo) {
    int32x4_t s0 = lanes_sum(acc[g][0]), s1 = lanes_sum(acc[g][1]), s2 = lanes_sum(acc[g][2]), s3 = lanes_sum(acc[g][3]);
    add4(o, s0, a[g], b[g]);
    if (LANES_WIDE) {
      add4(o + step, vsubq_s32(s1, s0), a[g] * 0x1p-2f, b[g]);
      add4(o + 2 * step, vsubq_s32(s2, s1), a[g] * 0x1p-4f, b[g]);
      add4(o + 3 * step, vsubq_s32(s3, s2), a[g] * 0x1p-6f, b[g]);
    } else {
      add4(o + step, s1, a[g], b[g]);
      add4(o + 2 * step, s2, a[g], b[g]);
      add4(o + 3 * step, s3, a[g], b[g]);
    }
  }
}

/* Heads that share an unpacked line: their sums must stay in registers. */
enum { VALUES_HEADS = LANES_WIDE ? 4 : 2 };

void TB_FN(attn_accum_values2) TB_ATTN_ACCUM_BLOCK_ARGS {
  for (size_t c = 0; c < planes; c += 64) {
    const size_t width = planes - c < 64 ? 32 : 64;
    for (size_t part = 0; part < width; part += 16) {
      const unsigned char *lines = (const unsigned char *)block + c * (TB_KV_BLOCK / 4) + part;
      for (size_t g = 0; g < n_q;) {
        const size_t n = n_q - g < VALUES_HEADS ? n_q - g : VALUES_HEADS;
        float *og = o + g * ldo + c + part / 4;
        const int8_t *wg = w + g * TB_KV_BLOCK;
        if (n == 4) values4(og, ldo, wg, a + g, b + g, 4, lines, width);
        else if (n == 3) values4(og, ldo, wg, a + g, b + g, 3, lines, width);
        else if (n == 2) values4(og, ldo, wg, a + g, b + g, 2, lines, width);
        else values4(og, ldo, wg, a + g, b + g, 1, lines, width);
        g += n;
      }
    }
  }
}

/* ------------------------------------------------------------------------------------------------------- ternary */

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

/* 8 planes of 160 tokens for n heads; 20 tokens' lines are `stride` bytes apart. */
TB_INLINE void trits8(float *o, size_t ldo, const int8_t *w, const float *a, const float *b, size_t n,
                      const unsigned char *lines, size_t stride) {
  lanes acc[4][2];
  for (size_t g = 0; g < n; g++) acc[g][0] = acc[g][1] = lanes_zero();
  for (size_t t = 0; t < TB_KV_BLOCK; t += 20, lines += stride) {
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
    const size_t first = c / 64 * 64, stride = planes - first < 64 ? 128 : 256;
    const unsigned char *lines = (const unsigned char *)block + first * (TB_KV_BLOCK / 5) + (c - first) * 4;
    for (size_t g = 0; g < n_q;) {
      const size_t n = n_q - g < 4 ? n_q - g : 4;
      float *og = o + g * ldo + c;
      const int8_t *wg = w + g * TB_KV_BLOCK;
      if (n == 4) trits8(og, ldo, wg, a + g, b + g, 4, lines, stride);
      else if (n == 3) trits8(og, ldo, wg, a + g, b + g, 3, lines, stride);
      else if (n == 2) trits8(og, ldo, wg, a + g, b + g, 2, lines, stride);
      else trits8(og, ldo, wg, a + g, b + g, 1, lines, stride);
      g += n;
    }
  }
}
