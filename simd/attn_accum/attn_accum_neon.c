/* attn_accum_values2 and attn_accum_ternary for NEON (simd/attn_accum/attn_accum.h). 16-bit sums of a whole block fit: 40
 * products of at most 3·127. */
#define TB_FN(name) tb_##name##_neon

#include "simd/attn_accum/attn_ternary_arm.h"

/* 4 tokens × 4 lanes × 4 planes for n heads. */
#define VALUES_LINE(line, weights, lane)                                                                               \
  do {                                                                                                                 \
    const uint8x16_t u = vld1q_u8(line), three = vdupq_n_u8(3), u0 = vandq_u8(u, three), u3 = vshrq_n_u8(u, 6);        \
    const uint8x16_t u1 = vandq_u8(vshrq_n_u8(u, 2), three), u2 = vandq_u8(vshrq_n_u8(u, 4), three);                   \
    for (size_t g = 0; g < n; g++) {                                                                                   \
      acc[g][0] = LANES_DOT_Q(acc[g][0], u0, weights[g], lane);                                                        \
      acc[g][1] = LANES_DOT_Q(acc[g][1], u1, weights[g], lane);                                                        \
      acc[g][2] = LANES_DOT_Q(acc[g][2], u2, weights[g], lane);                                                        \
      acc[g][3] = LANES_DOT_Q(acc[g][3], u3, weights[g], lane);                                                        \
    }                                                                                                                  \
  } while (0)

/* Lines are `width` bytes apart, the four planes of a lane width/4. */
TB_INLINE void values4(float *o, size_t ldo, const int8_t *w, const float *a, const float *b, size_t n,
                       const unsigned char *lines, size_t width, size_t tokens) {
  lanes acc[2][4];
  for (size_t g = 0; g < n; g++)
    for (int s = 0; s < 4; s++) acc[g][s] = lanes_zero();
  for (size_t t = 0; t < tokens; t += 16, lines += 4 * width) {
    int8x16_t weights[2];
    for (size_t g = 0; g < n; g++) weights[g] = vld1q_s8(w + g * TB_KV_BLOCK + t);
    VALUES_LINE(lines, weights, 0);
    VALUES_LINE(lines + width, weights, 1);
    VALUES_LINE(lines + 2 * width, weights, 2);
    VALUES_LINE(lines + 3 * width, weights, 3);
  }
  const size_t step = width / 4;
  for (size_t g = 0; g < n; g++, o += ldo)
    for (size_t s = 0; s < 4; s++) add4(o + s * step, lanes_sum(acc[g][s]), a[g], b[g]);
}

/* Heads that share an unpacked line: their sums must stay in registers. */
enum { VALUES_HEADS = 2 };

void TB_FN(attn_accum_values2) TB_ATTN_ACCUM_BLOCK_ARGS {
  for (size_t c = 0; c < planes; c += 64) {
    const size_t width = planes - c < 64 ? 32 : 64;
    for (size_t part = 0; part < width; part += 16) {
      const unsigned char *lines = (const unsigned char *)block + c * (TB_KV_BLOCK / 4) + first / 4 * width + part;
      for (size_t g = 0; g < n_q;) {
        const size_t heads = n_q - g < VALUES_HEADS ? n_q - g : VALUES_HEADS;
        float *og = o + g * ldo + c + part / 4;
        const int8_t *wg = w + g * TB_KV_BLOCK;
        if (heads == 2) values4(og, ldo, wg, a + g, b + g, 2, lines, width, n);
        else values4(og, ldo, wg, a + g, b + g, 1, lines, width, n);
        g += heads;
      }
    }
  }
}
