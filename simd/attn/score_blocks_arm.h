/* attn_score over q8_0 and q4_0 rows for ARM, four tokens at a time: a dot product of each row in a register of its own,
 * then pairwise additions leave one token per lane. The including file defines dot32(lo, hi, q): four partial sums of
 * 32 products. */
#include "simd/kernels.h"

#include <string.h>
#include "simd/half.h"
#include "simd/vec/inline.h"

enum { Q8_BYTES = 34, Q4_BYTES = 18 };

/* The 32 codes of a block, as numbers. */
TB_INLINE int8x16x2_t load_codes(enum tb_format fmt, const unsigned char *block) {
  if (fmt == TB_FMT_q8_0) return (int8x16x2_t){{vreinterpretq_s8_u8(vld1q_u8(block + 2)), vreinterpretq_s8_u8(vld1q_u8(block + 18))}};
  uint8x16_t b = vld1q_u8(block + 2);
  int8x16_t lo = vreinterpretq_s8_u8(vandq_u8(b, vdupq_n_u8(15))), hi = vreinterpretq_s8_u8(vshrq_n_u8(b, 4));
  return (int8x16x2_t){{vsubq_s8(lo, vdupq_n_s8(8)), vsubq_s8(hi, vdupq_n_s8(8))}};
}

/* Four tokens × `heads` heads; the rows need not be distinct. */
TB_INLINE void score_tile(enum tb_format fmt, int heads, float *s, size_t lds, size_t n, const struct tb_acts *q,
                          size_t first, const unsigned char *const row[4]) {
  const size_t blocks = q->k / 32;
  float32x4_t sum[4];
  TB_UNROLL for (int g = 0; g < heads; g++) sum[g] = vdupq_n_f32(0);
  for (size_t b = 0; b < blocks; b++) {
    const size_t at = b * (fmt == TB_FMT_q8_0 ? Q8_BYTES : Q4_BYTES);
    int8x16x2_t k[4];
    uint16_t h[4];
    TB_UNROLL for (int t = 0; t < 4; t++) {
      k[t] = load_codes(fmt, row[t] + at);
      memcpy(h + t, row[t] + at, sizeof *h);
    }
    const float32x4_t scale = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h)));
    TB_UNROLL for (int g = 0; g < heads; g++) {
      const size_t column = first + (size_t)g;
      const int8_t *codes = q->q + column * q->k + 32 * b;
      const int8x16x2_t x = {{vld1q_s8(codes), vld1q_s8(codes + 16)}};
      int32x4_t ab = vpaddq_s32(dot32(k[0], x), dot32(k[1], x)), cd = vpaddq_s32(dot32(k[2], x), dot32(k[3], x));
      float32x4_t d = vmulq_n_f32(scale, q->d[column * blocks + b]);
      sum[g] = vaddq_f32(sum[g], vmulq_f32(d, vcvtq_f32_s32(vpaddq_s32(ab, cd))));
    }
  }
  TB_UNROLL for (int g = 0; g < heads; g++) {
    float out[4];
    vst1q_f32(out, sum[g]);
    memcpy(s + (size_t)g * lds, out, n * sizeof *out);
  }
}

TB_INLINE void score(enum tb_format fmt, float *s, size_t lds, const struct tb_acts *q, size_t n_q, const void *k,
                     size_t stride, size_t n) {
  for (size_t t = 0; t < n; t += 4) {
    const size_t m = n - t < 4 ? n - t : 4;
    const unsigned char *row[4], *first = (const unsigned char *)k + t * stride;
    for (size_t i = 0; i < 4; i++) row[i] = first + (i < m ? i : m - 1) * stride;
    size_t g = 0;
    for (; g + 4 <= n_q; g += 4) score_tile(fmt, 4, s + g * lds + t, lds, m, q, g, row);
    if (n_q - g >= 2) {
      score_tile(fmt, 2, s + g * lds + t, lds, m, q, g, row);
      g += 2;
    }
    if (g < n_q) score_tile(fmt, 1, s + g * lds + t, lds, m, q, g, row);
  }
}

void TB_FN(attn_score_q8_0) TB_ATTN_SCORE_ARGS {
  (void)d; /* q->k */
  score(TB_FMT_q8_0, s, lds, q, n_q, k, stride, n);
}
void TB_FN(attn_score_q4_0) TB_ATTN_SCORE_ARGS {
  (void)d;
  score(TB_FMT_q4_0, s, lds, q, n_q, k, stride, n);
}
