/* Integer dot products of 128 codes with 128 activation codes on ARM, one sum per group of 32 or of 16. The same source
 * serves two tiers: with dot product instructions where the file is compiled for them, else with widening multiplies.
 *
 * `fit` (a constant) says how many products of a code and an activation (|a| ≤ 127) a signed 16-bit sum can hold:
 * codes up to 15 need 16 · 15 · 127 = 30480, so they fit 16; |code| ≤ 16 still does (32512); up to 31: 8; up to 63: 4;
 * up to 128: 2. */
#ifndef TB_SIMD_VEC_ARM_DOT_H
#define TB_SIMD_VEC_ARM_DOT_H

#include <arm_neon.h>

#define TB_INLINE static inline __attribute__((always_inline))

/* Integer sums that start at TB_BIAS are, read as floats, 1.5 · 2^23 + the sum, exactly while |sum| < 2^22. One
 * subtraction turns them into floats: on a Cortex-A76 scvtf holds one of the two vector pipes for two cycles. */
#define TB_BIAS vdupq_n_s32(0x4b400000)
TB_INLINE float32x4_t tb_unbias(int32x4_t sum) {
  return vsubq_f32(vreinterpretq_f32_s32(sum), vreinterpretq_f32_s32(TB_BIAS));
}

#if defined(__ARM_FEATURE_DOTPROD)

TB_INLINE int32x4_t tb_dot16(int8x16_t w, int8x16_t x) { return vdotq_s32(vdupq_n_s32(0), w, x); }

TB_INLINE int32x4_t tb_dot32(const int8x16_t *w, const int8x16_t *x) { return vdotq_s32(tb_dot16(w[0], x[0]), w[1], x[1]); }

TB_INLINE int32x4_t tb_sum4(const int32x4_t v[4]) { return vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3])); }

/* Four sums, lane g over values 32g … 32g + 31. */
TB_INLINE int32x4_t tb_dots32(const int8x16_t w[8], const int8x16_t x[8], int fit) {
  (void)fit;
  const int32x4_t sums[4] = {tb_dot32(w, x), tb_dot32(w + 2, x + 2), tb_dot32(w + 4, x + 4), tb_dot32(w + 6, x + 6)};
  return tb_sum4(sums);
}

/* Four sums, lane g over values 16g … 16g + 15. */
TB_INLINE int32x4_t tb_dots16(const int8x16_t w[4], const int8x16_t x[4], int fit) {
  (void)fit;
  const int32x4_t sums[4] = {tb_dot16(w[0], x[0]), tb_dot16(w[1], x[1]), tb_dot16(w[2], x[2]), tb_dot16(w[3], x[3])};
  return tb_sum4(sums);
}

/* Sums of four lots of codes so far, never cleared: what a step adds is the difference of their totals (modulo 2^32, so
 * exact however much was added). One subtraction for four sums instead of a zero for each, for kernels that have the
 * registers. They start as zeros; tb_running32 and tb_running16 give what tb_dots32 and tb_dots16 do. */
struct tb_sums {
  int32x4_t sum[4], total;
};

/* The totals of what was added since the last call. The empty statement says that the sums changed in place: without it
 * gcc moves them from register to register. */
TB_INLINE int32x4_t tb_sums_added(struct tb_sums *s) {
  __asm__("" : "+w"(s->sum[0]), "+w"(s->sum[1]), "+w"(s->sum[2]), "+w"(s->sum[3]));
  int32x4_t before = s->total;
  s->total = tb_sum4(s->sum);
  return vsubq_s32(s->total, before);
}

TB_INLINE int32x4_t tb_running32(struct tb_sums *s, const int8x16_t w[8], const int8x16_t x[8], int fit) {
  (void)fit;
  for (int g = 0; g < 4; g++) s->sum[g] = vdotq_s32(vdotq_s32(s->sum[g], w[2 * g], x[2 * g]), w[2 * g + 1], x[2 * g + 1]);
  return tb_sums_added(s);
}

TB_INLINE int32x4_t tb_running16(struct tb_sums *s, const int8x16_t w[4], const int8x16_t x[4], int fit) {
  (void)fit;
  for (int g = 0; g < 4; g++) s->sum[g] = vdotq_s32(s->sum[g], w[g], x[g]);
  return tb_sums_added(s);
}

#else

TB_INLINE int16x8_t tb_mul16(int8x16_t w, int8x16_t x) {
  return vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x);
}

TB_INLINE int16x8_t tb_mul32(const int8x16_t *w, const int8x16_t *x) {
  int16x8_t p = tb_mul16(w[0], x[0]);
  return vmlal_high_s8(vmlal_s8(p, vget_low_s8(w[1]), vget_low_s8(x[1])), w[1], x[1]);
}

TB_INLINE int32x4_t tb_dot32(const int8x16_t *w, const int8x16_t *x, int fit) {
  if (fit >= 4) return vpaddlq_s16(tb_mul32(w, x));
  return vpadalq_s16(vpaddlq_s16(tb_mul16(w[0], x[0])), tb_mul16(w[1], x[1]));
}

/* Four sums, lane g over values 32g … 32g + 31. */
TB_INLINE int32x4_t tb_dots32(const int8x16_t w[8], const int8x16_t x[8], int fit) {
  if (fit < 8) {
    int32x4_t a = vpaddq_s32(tb_dot32(w, x, fit), tb_dot32(w + 2, x + 2, fit));
    return vpaddq_s32(a, vpaddq_s32(tb_dot32(w + 4, x + 4, fit), tb_dot32(w + 6, x + 6, fit)));
  }
  int16x8_t a = vpaddq_s16(tb_mul32(w, x), tb_mul32(w + 2, x + 2)); /* 8 products per lane */
  int16x8_t b = vpaddq_s16(tb_mul32(w + 4, x + 4), tb_mul32(w + 6, x + 6));
  if (fit >= 16) return vpaddlq_s16(vpaddq_s16(a, b));
  return vpaddq_s32(vpaddlq_s16(a), vpaddlq_s16(b));
}

/* Four sums, lane g over values 16g … 16g + 15. */
TB_INLINE int32x4_t tb_dots16(const int8x16_t w[4], const int8x16_t x[4], int fit) {
  int16x8_t a = vpaddq_s16(tb_mul16(w[0], x[0]), tb_mul16(w[1], x[1])); /* 4 products per lane */
  int16x8_t b = vpaddq_s16(tb_mul16(w[2], x[2]), tb_mul16(w[3], x[3]));
  if (fit >= 8) return vpaddlq_s16(vpaddq_s16(a, b));
  return vpaddq_s32(vpaddlq_s16(a), vpaddlq_s16(b));
}

/* The first of these products needs no zero to be added to: nothing is kept. */
struct tb_sums {
  char none;
};
TB_INLINE int32x4_t tb_running32(struct tb_sums *s, const int8x16_t w[8], const int8x16_t x[8], int fit) {
  (void)s;
  return tb_dots32(w, x, fit);
}
TB_INLINE int32x4_t tb_running16(struct tb_sums *s, const int8x16_t w[4], const int8x16_t x[4], int fit) {
  (void)s;
  return tb_dots16(w, x, fit);
}

#endif
#endif
