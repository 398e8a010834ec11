/* attn_score_keys2 for NEON (simd/attn_score/attn_score.h). */
#include "simd/kernels.h"
#include "simd/vec/arm_lanes.h"

#define TB_FN(name) tb_##name##_neon

/* 16-bit sums take two products of at most 3·127 per line. */
enum { FLUSH = 40 * 8 };

TB_INLINE void finish(float *s, int32x4_t dot, float a, const float *b, bool add) {
  float32x4_t base = vdupq_n_f32(*b);
  if (add) base = vaddq_f32(vld1q_f32(s), base);
  vst1q_f32(s, vfmaq_n_f32(base, vcvtq_f32_s32(dot), a));
}

/* n query heads, 4 lanes of each line: tokens 0-3 (4-7 …) and 16-19 of a group of 32. */
TB_INLINE void score_lanes(float *s, size_t lds, const int8_t *codes, const float *a, const float *b, bool add, size_t n,
                           const unsigned char *part, size_t planes) {
  const uint8x16_t three = vdupq_n_u8(3);
  int32x4_t one[4], two[4];
  for (size_t g = 0; g < n; g++) one[g] = two[g] = vdupq_n_s32(0);
  for (size_t from = 0; from < planes; from += FLUSH) {
    const size_t to = planes - from < FLUSH ? planes : from + FLUSH;
    lanes first[4], second[4];
    for (size_t g = 0; g < n; g++) first[g] = second[g] = lanes_zero();
    for (size_t c = from; c < to; c += 8, part += 64) {
      const uint8x16_t w = vld1q_u8(part), high = vshrq_n_u8(w, 4);
      const uint8x16_t u0 = vandq_u8(w, three), u1 = vandq_u8(high, three);
      const uint8x16_t v0 = vandq_u8(vshrq_n_u8(w, 2), three), v1 = vshrq_n_u8(w, 6);
      for (size_t g = 0; g < n; g++) {
        const int8x8_t q = vld1_s8(codes + g * planes + c);
        first[g] = LANES_DOT(first[g], u0, q, 0);
        second[g] = LANES_DOT(second[g], v0, q, 0);
        first[g] = LANES_DOT(first[g], u1, q, 1);
        second[g] = LANES_DOT(second[g], v1, q, 1);
      }
    }
    for (size_t g = 0; g < n; g++) {
      one[g] = vaddq_s32(one[g], lanes_sum(first[g]));
      two[g] = vaddq_s32(two[g], lanes_sum(second[g]));
    }
  }
  for (size_t g = 0; g < n; g++) {
    finish(s + g * lds, one[g], a[g], b + g, add);
    finish(s + g * lds + 16, two[g], a[g], b + g, add);
  }
}

void TB_FN(attn_score_keys2) TB_ATTN_SCORE_KEYS2_ARGS {
  for (size_t g = 0; g < n_q;) {
    const int8_t *qg = codes + g * planes;
    const size_t heads = n_q - g < 4 ? n_q - g : 4;
    for (size_t group = 0; group < n; group += 32)
      for (size_t t = 0; t < 16; t += 4) {
        const unsigned char *part = (const unsigned char *)block + (first + group) / 32 * planes * 8 + t * 4;
        float *sg = s + g * lds + group + t;
        if (heads == 4) score_lanes(sg, lds, qg, a + g, b + g, add, 4, part, planes);
        else if (heads == 3) score_lanes(sg, lds, qg, a + g, b + g, add, 3, part, planes);
        else if (heads == 2) score_lanes(sg, lds, qg, a + g, b + g, add, 2, part, planes);
        else score_lanes(sg, lds, qg, a + g, b + g, add, 1, part, planes);
      }
    g += heads;
  }
}
