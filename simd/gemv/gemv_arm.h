/* gemv on ARM for the formats with super-blocks, written once for two tiers: gemv_neon.c and gemv_dotprod.c include it
 * with TB_TIER set, and simd/vec/arm_dot.h gives each its own dot products. Blocks of 32 are in those files.
 *
 * Two rows run side by side and share the activations in registers; a row left over runs alone through the same
 * statements, so that its bits are the same. Codes stay in file order. Sums of a group are gathered into one lane per
 * group, four groups of one row to a vector: scaling costs one multiply per 128 weights, and the activation scales of
 * four groups are one load. */
#ifndef TB_SIMD_GEMV_ARM_H
#define TB_SIMD_GEMV_ARM_H

#include "simd/gemv/gemv.h"

#include "simd/kernels.h"
#include "simd/vec/arm_codes.h"

#define TB_NAME3(format, tier) tb_gemv_##format##_##tier
#define TB_NAME2(format, tier) TB_NAME3(format, tier)
#define TB_GEMV_NAME(format) TB_NAME2(format, TB_TIER)

/* How far ahead of the current bytes a row is asked for: about 200 cycles of work of four rows. */
enum { AHEAD = 512 };

/* DO(0), and DO(1) where n, a constant, is 2. */
#define EACH_OF_TWO(n, DO)                                                                                             \
  do {                                                                                                                 \
    DO(0) if ((n) > 1) { DO(1) }                                                                                       \
  } while (0)
/* DO(0) … DO(3), or DO(0) where n, a constant, is 1. */
#define EACH_ROW(n, DO)                                                                                                \
  do {                                                                                                                 \
    DO(0) if ((n) > 1) { DO(1) DO(2) DO(3) }                                                                           \
  } while (0)

TB_INLINE void load_codes(int8x16_t x[8], const int8_t *q) {
  for (int i = 0; i < 8; i++) x[i] = vld1q_s8(q + 16 * i);
}

/* --------------------------------------------------------------------------------------------- super-blocks of 256 */

/* 256 activations apart from their codes, which are loaded half by half. */
struct block256 {
  float32x4_t d[2];  /* scales, one per 32 */
  int16x8_t s16[2];  /* sums of 16 codes */
  int16x8_t s32;     /* sums of 32 codes: at most 32 · 127 */
};

TB_INLINE void load_block256(struct block256 *v, const float *d, const int16_t *s) {
  v->d[0] = vld1q_f32(d);
  v->d[1] = vld1q_f32(d + 4);
  v->s16[0] = vld1q_s16(s);
  v->s16[1] = vld1q_s16(s + 8);
  v->s32 = vpaddq_s16(v->s16[0], v->s16[1]);
}

/* Lanes 0-3 or 4-7 of v, widened. */
TB_INLINE int32x4_t wide(int16x8_t v, int half) { return half ? vmovl_high_s16(v) : vmovl_s16(vget_low_s16(v)); }

/* One half of one row: Σ over its groups of scale · dot · d, one lane per 32 values, added to t. Scales of 16 groups
 * fit 8 bits, scales of 8 groups are kept in 16: each format hides its own in an int8x16_t. */
typedef int8x16_t super_scales(const uint8_t *b);
typedef float32x4_t super_half(float32x4_t t, struct tb_sums *s, const uint8_t *b, int8x16_t scales, const int8x16_t x[8],
                               const struct block256 *v, int half);
/* The whole super-block: acc + d·t less what its minima contribute. */
typedef float32x4_t super_end(float32x4_t acc, float32x4_t t, const uint8_t *b, const struct block256 *v);

TB_INLINE void super_rows(float *y, const uint8_t *w, size_t row_bytes, const struct tb_acts *x, size_t block_bytes,
                          super_scales *scales, super_half *half, super_end *end, int n) {
  float32x4_t acc0 = vdupq_n_f32(0), acc1 = acc0;
  const uint8_t *w0 = w, *w1 = w + row_bytes;
  struct tb_sums s0 = {0}, s1 = s0;
  for (size_t i = 0; i < x->k / 256; i++) {
    struct block256 v;
    load_block256(&v, x->d + 8 * i, x->s + 16 * i);
    int8x16_t codes[8], sc0, sc1;
    float32x4_t t0 = vdupq_n_f32(0), t1 = t0;
#define BEGIN(r)                                                                                                       \
  __builtin_prefetch(w##r + AHEAD);                                                                                    \
  __builtin_prefetch(w##r + AHEAD + 64);                                                                               \
  sc##r = scales(w##r);
#define FIRST(r) t##r = half(t##r, &s##r, w##r, sc##r, codes, &v, 0);
#define SECOND(r)                                                                                                      \
  t##r = half(t##r, &s##r, w##r, sc##r, codes, &v, 1);                                                                 \
  acc##r = end(acc##r, t##r, w##r, &v);                                                                                \
  w##r += block_bytes;
    EACH_OF_TWO(n, BEGIN);
    load_codes(codes, x->q + 256 * i);
    EACH_OF_TWO(n, FIRST);
    load_codes(codes, x->q + 256 * i + 128);
    EACH_OF_TWO(n, SECOND);
#undef BEGIN
#undef FIRST
#undef SECOND
  }
#define STORE(r) y[r] = vaddvq_f32(acc##r);
  EACH_OF_TWO(n, STORE);
#undef STORE
}

#define SUPER_GEMV(format, bytes)                                                                                      \
  void TB_GEMV_NAME(format) TB_GEMV_ARGS {                                                                             \
    size_t r = 0;                                                                                                      \
    for (; r + 2 <= rows; r += 2)                                                                                      \
      super_rows(y + r, (const uint8_t *)w + r * row_bytes, row_bytes, x, bytes, scales_##format, half_##format,       \
                 end_##format, 2);                                                                                     \
    for (; r < rows; r++)                                                                                              \
      super_rows(y + r, (const uint8_t *)w + r * row_bytes, row_bytes, x, bytes, scales_##format, half_##format,       \
                 end_##format, 1);                                                                                     \
  }

/* RUN: whether the kernel has the registers for running sums (simd/vec/arm_dot.h).
 *
 * Eight groups of 32, 16-bit scales: the dots of four groups are exact below 2^24 with their scale. */
#define GROUPS_OF_32(format, RUN)                                                                                      \
  TB_INLINE float32x4_t half_##format(float32x4_t t, struct tb_sums *s, const uint8_t *b, int8x16_t scales,            \
                                      const int8x16_t x[8], const struct block256 *v, int half) {                      \
    int8x16_t w[8];                                                                                                    \
    tb_codes_##format(w, b, half);                                                                                     \
    int32x4_t dots = RUN ? tb_running32(s, w, x, TB_FIT_##format) : tb_dots32(w, x, TB_FIT_##format);                  \
    dots = vmulq_s32(dots, wide(vreinterpretq_s16_s8(scales), half));                                                  \
    return vfmaq_f32(t, vcvtq_f32_s32(dots), v->d[half]);                                                              \
  }

/* Sixteen groups of 16, 8-bit scales. */
TB_INLINE int16x8_t scales_of_half(int8x16_t scales, int half) {
  return half ? vmovl_high_s8(scales) : vmovl_s8(vget_low_s8(scales));
}

/* Codes of two or three bits: a dot product, its offset taken off, fits 16 bits (16 · 4 · 127). */
#define GROUPS_OF_16(format, RUN)                                                                                      \
  TB_INLINE float32x4_t half_##format(float32x4_t t, struct tb_sums *s, const uint8_t *b, int8x16_t scales,            \
                                      const int8x16_t x[8], const struct block256 *v, int half) {                      \
    int8x16_t w[8];                                                                                                    \
    tb_codes_##format(w, b, half);                                                                                     \
    int32x4_t low = RUN ? tb_running16(s, w, x, TB_FIT_##format) : tb_dots16(w, x, TB_FIT_##format);                   \
    int32x4_t high = RUN ? tb_running16(s, w + 4, x + 4, TB_FIT_##format) : tb_dots16(w + 4, x + 4, TB_FIT_##format);  \
    int16x8_t dots = vuzp1q_s16(vreinterpretq_s16_s32(low), vreinterpretq_s16_s32(high));                              \
    if (TB_OFFSET_##format == 4) dots = vsubq_s16(dots, vshlq_n_s16(v->s16[half], 2));                                 \
    int16x8_t sc = scales_of_half(scales, half);                                                                       \
    low = vpaddq_s32(vmull_s16(vget_low_s16(dots), vget_low_s16(sc)), vmull_high_s16(dots, sc));                       \
    return vfmaq_f32(t, vcvtq_f32_s32(low), v->d[half]);                                                               \
  }

/* Six bits: two scaled groups together stay below 2^24, at most 2 · 16 · 32 · 127 · 128. */
TB_INLINE float32x4_t half_q6_k(float32x4_t t, struct tb_sums *s, const uint8_t *b, int8x16_t scales, const int8x16_t x[8],
                                const struct block256 *v, int half) {
  (void)s;
  int8x16_t w[8];
  tb_codes_q6_k(w, b, half);
  int32x4_t low = tb_dots16(w, x, TB_FIT_q6_k), high = tb_dots16(w + 4, x + 4, TB_FIT_q6_k);
  low = vsubq_s32(low, vshll_n_s16(vget_low_s16(v->s16[half]), 5)); /* offset 32 */
  high = vsubq_s32(high, vshll_high_n_s16(v->s16[half], 5));
  int16x8_t sc = scales_of_half(scales, half);
  low = vpaddq_s32(vmulq_s32(low, wide(sc, 0)), vmulq_s32(high, wide(sc, 1)));
  return vfmaq_f32(t, vcvtq_f32_s32(low), v->d[half]);
}

/* No minima: value = (d·scale)·(code - offset), d at byte `at`. */
#define END_SYMMETRIC(format, at)                                                                                      \
  TB_INLINE float32x4_t end_##format(float32x4_t acc, float32x4_t t, const uint8_t *b, const struct block256 *v) {     \
    (void)v;                                                                                                           \
    return vfmaq_f32(acc, t, tb_half_dup(b + (at)));                                                                   \
  }

/* Minima of eight groups, d and dmin first in the block. */
TB_INLINE float32x4_t end_minima8(float32x4_t acc, float32x4_t t, const uint8_t *b, const struct block256 *v) {
  int16x8_t scales, minima;
  tb_scales_q4_k(&scales, &minima, b + 4);
  float32x4_t m = vmulq_f32(vcvtq_f32_s32(vmull_s16(vget_low_s16(minima), vget_low_s16(v->s32))), v->d[0]);
  m = vfmaq_f32(m, vcvtq_f32_s32(vmull_high_s16(minima, v->s32)), v->d[1]);
  acc = vfmaq_f32(acc, t, tb_half_dup(b));
  return vfmsq_f32(acc, m, tb_half_dup(b + 2));
}

TB_INLINE int8x16_t scales8(const uint8_t *b) {
  int16x8_t scales, minima;
  tb_scales_q4_k(&scales, &minima, b + 4);
  return vreinterpretq_s8_s16(scales);
}

#define scales_q4_k scales8
#define scales_q5_k scales8
#define end_q4_k end_minima8
#define end_q5_k end_minima8
GROUPS_OF_32(q4_k, true)
GROUPS_OF_32(q5_k, false)
SUPER_GEMV(q4_k, 144)
SUPER_GEMV(q5_k, 176)

TB_INLINE int8x16_t scales_iq4_xs(const uint8_t *b) { return vreinterpretq_s8_s16(tb_scales_iq4_xs(b)); }
GROUPS_OF_32(iq4_xs, false)
END_SYMMETRIC(iq4_xs, 0)
SUPER_GEMV(iq4_xs, 136)

TB_INLINE int8x16_t scales_q6_k(const uint8_t *b) { return vreinterpretq_s8_u8(vld1q_u8(b + 192)); }
END_SYMMETRIC(q6_k, 208)
SUPER_GEMV(q6_k, 210)

TB_INLINE int8x16_t scales_q3_k(const uint8_t *b) { return tb_scales_q3_k(b + 96); }
GROUPS_OF_16(q3_k, false)
END_SYMMETRIC(q3_k, 108)
SUPER_GEMV(q3_k, 110)

/* q2_k: scale and minimum of each group of 16 in one byte. */
TB_INLINE int8x16_t scales_q2_k(const uint8_t *b) { return tb_low_nibbles(vld1q_u8(b)); }
TB_INLINE float32x4_t end_q2_k(float32x4_t acc, float32x4_t t, const uint8_t *b, const struct block256 *v) {
  int8x16_t minima = tb_high_nibbles(vld1q_u8(b));
  int16x8_t m0 = vmovl_s8(vget_low_s8(minima)), m1 = vmovl_high_s8(minima);
  int32x4_t low = vpaddq_s32(vmull_s16(vget_low_s16(m0), vget_low_s16(v->s16[0])), vmull_high_s16(m0, v->s16[0]));
  int32x4_t high = vpaddq_s32(vmull_s16(vget_low_s16(m1), vget_low_s16(v->s16[1])), vmull_high_s16(m1, v->s16[1]));
  float32x4_t m = vmulq_f32(vcvtq_f32_s32(low), v->d[0]);
  m = vfmaq_f32(m, vcvtq_f32_s32(high), v->d[1]);
  acc = vfmaq_f32(acc, t, tb_half_dup(b + 80));
  return vfmsq_f32(acc, m, tb_half_dup(b + 82));
}
GROUPS_OF_16(q2_k, true)
SUPER_GEMV(q2_k, 84)

#endif
