/* attn_score_keys2 for ARM (simd/attn_score/attn_score.h); TB_FN names the tier. */
#include "simd/kernels.h"
#include "simd/vec/arm_lanes.h"

/* 16-bit sums take two products of at most 3·127 per line. */
enum { FLUSH = 40 * 8 };

TB_INLINE void finish(float *s, int32x4_t dot, float a, const float *b, bool add) {
  float32x4_t base = vdupq_n_f32(*b);
  if (add) base = vaddq_f32(vld1q_f32(s), base);
  vst1q_f32(s, vfmaq_n_f32(base, vcvtq_f32_s32(dot), a));
}

/* n query heads, `columns` × 4 lanes of each line: tokens 0-3 (4-7 …) and 16-19 of a group of 32. With dot products
 * `second` sums whole nibbles, first + 4 · second. */
TB_INLINE void score_lanes(float *s, size_t lds, const int8_t *codes, const float *a, const float *b, bool add, size_t n,
                           const unsigned char *part, size_t planes, int columns) {
  const uint8x16_t three = vdupq_n_u8(3), fifteen = vdupq_n_u8(15);
  int32x4_t one[4][2], two[4][2];
  for (size_t g = 0; g < n; g++)
    for (int j = 0; j < columns; j++) one[g][j] = two[g][j] = vdupq_n_s32(0);
  for (size_t from = 0; from < planes; from += LANES_WIDE ? planes : FLUSH) {
    const size_t to = LANES_WIDE || planes - from < FLUSH ? planes : from + FLUSH;
    lanes first[4][2], second[4][2];
    for (size_t g = 0; g < n; g++)
      for (int j = 0; j < columns; j++) first[g][j] = second[g][j] = lanes_zero();
    for (size_t c = from; c < to; c += 8, part += 64) {
      int8x8_t q[4];
      for (size_t g = 0; g < n; g++) q[g] = vld1_s8(codes + g * planes + c);
      for (int j = 0; j < columns; j++) {
        const uint8x16_t w = vld1q_u8(part + 16 * j), high = vshrq_n_u8(w, 4);
        const uint8x16_t u0 = vandq_u8(w, three), u1 = vandq_u8(high, three);
        const uint8x16_t v0 = LANES_WIDE ? vandq_u8(w, fifteen) : vandq_u8(vshrq_n_u8(w, 2), three);
        const uint8x16_t v1 = LANES_WIDE ? high : vshrq_n_u8(w, 6);
        for (size_t g = 0; g < n; g++) {
          first[g][j] = LANES_DOT(first[g][j], u0, q[g], 0);
          second[g][j] = LANES_DOT(second[g][j], v0, q[g], 0);
          first[g][j] = LANES_DOT(first[g][j], u1, q[g], 1);
          second[g][j] = LANES_DOT(second[g][j], v1, q[g], 1);
        }
      }
    }
    for (size_t g = 0; g < n; g++)
      for (int j = 0; j < columns; j++) {
        one[g][j] = vaddq_s32(one[g][j], lanes_sum(first[g][j]));
        two[g][j] = vaddq_s32(two[g][j], lanes_sum(second[g][j]));
      }
  }
  for (size_t g = 0; g < n; g++)
    for (int j = 0; j < columns; j++) {
      float *out = s + g * lds + 4 * j;
      finish(out, one[g][j], a[g], b + g, add);
      finish(out + 16, LANES_WIDE ? vsubq_s32(two[g][j], one[g][j]) : two[g][j], LANES_WIDE ? a[g] * 0.25f : a[g], b + g, add);
    }
}

enum { COLUMNS = LANES_WIDE ? 2 : 1 };

void TB_FN(attn_score_keys2) TB_ATTN_SCORE_KEYS2_ARGS {
  for (size_t g = 0; g < n_q;) {
    const int8_t *qg = codes + g * planes;
    const size_t n = n_q - g < 4 ? n_q - g : 4;
    for (size_t group = 0; group < TB_KV_BLOCK; group += 32)
      for (size_t t = 0; t < 16; t += 4 * COLUMNS) {
        const unsigned char *part = (const unsigned char *)block + group / 32 * planes * 8 + t * 4;
        float *sg = s + g * lds + group + t;
        if (n == 4) score_lanes(sg, lds, qg, a + g, b + g, add, 4, part, planes, COLUMNS);
        else if (n == 3) score_lanes(sg, lds, qg, a + g, b + g, add, 3, part, planes, COLUMNS);
        else if (n == 2) score_lanes(sg, lds, qg, a + g, b + g, add, 2, part, planes, COLUMNS);
        else score_lanes(sg, lds, qg, a + g, b + g, add, 1, part, planes, COLUMNS);
      }
    g += n;
  }
}
