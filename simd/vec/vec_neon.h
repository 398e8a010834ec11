/* v16 for NEON: four registers. The vocabulary is described in simd/vec/vec_avx2.h. */
#ifndef TB_SIMD_VEC_NEON_H
#define TB_SIMD_VEC_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "simd/vec/inline.h"

#define TB_FN(name) tb_##name##_neon

typedef struct { float32x4_t a, b, c, d; } v16;
typedef struct { float64x2_t a, b, c, d, e, f, g, h; } d16;

/* The four registers through one operation. */
#define V16_EACH1(op, x) ((v16){op((x).a), op((x).b), op((x).c), op((x).d)})
#define V16_EACH2(op, x, y) ((v16){op((x).a, (y).a), op((x).b, (y).b), op((x).c, (y).c), op((x).d, (y).d)})

TB_INLINE v16 v16_set1(float x) {
  float32x4_t v = vdupq_n_f32(x);
  return (v16){v, v, v, v};
}
TB_INLINE v16 v16_zero(void) { return v16_set1(0); }
TB_INLINE v16 v16_load(const float *p) { return (v16){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}; }
TB_INLINE void v16_store(float *p, v16 x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}
/* The first n ≤ 4 values, then zeros. */
TB_INLINE float32x4_t v16_first4(const float *p, size_t n) {
  const float32x4_t zero = vdupq_n_f32(0);
  if (n >= 4) return vld1q_f32(p);
  if (n == 0) return zero;
  if (n == 1) return vld1q_lane_f32(p, zero, 0);
  float32x4_t two = vcombine_f32(vld1_f32(p), vget_low_f32(zero));
  return n == 2 ? two : vld1q_lane_f32(p + 2, two, 2);
}
TB_INLINE v16 v16_load_n(const float *p, size_t n) {
  const float32x4_t zero = vdupq_n_f32(0);
  return (v16){v16_first4(p, n), n > 4 ? v16_first4(p + 4, n - 4) : zero, n > 8 ? v16_first4(p + 8, n - 8) : zero,
               n > 12 ? v16_first4(p + 12, n - 12) : zero};
}
TB_INLINE void v16_store_n(float *p, v16 x, size_t n) {
  float t[16];
  v16_store(t, x);
  memcpy(p, t, n * sizeof *t);
}

TB_INLINE float32x4_t v16_half4(const void *p) {
  uint16x4_t h;
  memcpy(&h, p, sizeof h);
  return vcvt_f32_f16(vreinterpret_f16_u16(h));
}
TB_INLINE v16 v16_load_f16(const void *p) {
  const uint16_t *h = p;
  return (v16){v16_half4(h), v16_half4(h + 4), v16_half4(h + 8), v16_half4(h + 12)};
}
TB_INLINE v16 v16_load_f16_n(const void *p, size_t n) {
  const float32x4_t zero = vdupq_n_f32(0);
  const uint16_t *h = p;
  uint16_t rest[8] = {0};
  memcpy(rest, n >= 8 ? h + 8 : h, 2 * (n & 7));
  if (n == 16) return v16_load_f16(p);
  if (n >= 8) return (v16){v16_half4(h), v16_half4(h + 4), v16_half4(rest), v16_half4(rest + 4)};
  return (v16){v16_half4(rest), v16_half4(rest + 4), zero, zero};
}
TB_INLINE void v16_store_f16(void *p, v16 x) {
  uint16x4_t h[4] = {vreinterpret_u16_f16(vcvt_f16_f32(x.a)), vreinterpret_u16_f16(vcvt_f16_f32(x.b)),
                     vreinterpret_u16_f16(vcvt_f16_f32(x.c)), vreinterpret_u16_f16(vcvt_f16_f32(x.d))};
  memcpy(p, h, sizeof h);
}
TB_INLINE void v16_store_f16_n(void *p, v16 x, size_t n) {
  uint16_t h[16];
  v16_store_f16(h, x);
  memcpy(p, h, 2 * n);
}
TB_INLINE v16 v16_from_i8(int8x16_t codes) {
  int16x8_t lo = vmovl_s8(vget_low_s8(codes)), hi = vmovl_s8(vget_high_s8(codes));
  return (v16){vcvtq_f32_s32(vmovl_s16(vget_low_s16(lo))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(lo))),
               vcvtq_f32_s32(vmovl_s16(vget_low_s16(hi))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(hi)))};
}
/* The upper halves of eight scales' bits: the base is a multiple of 2^23. */
TB_INLINE uint16x8_t v16_scale8(uint8x8_t codes, uint32_t base_bits) {
  uint16x8_t c = vshll_n_u8(codes, 3);
  return vaddq_u16(c, vandq_u16(vtstq_u16(c, c), vdupq_n_u16((uint16_t)(base_bits >> 16))));
}
TB_INLINE v16 v16_load_scale8(const void *p, uint32_t base_bits) {
  uint8x16_t c = vld1q_u8(p);
  uint16x8_t lo = v16_scale8(vget_low_u8(c), base_bits), hi = v16_scale8(vget_high_u8(c), base_bits);
  return (v16){vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(lo), 16)), vreinterpretq_f32_u32(vshll_high_n_u16(lo, 16)),
               vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(hi), 16)), vreinterpretq_f32_u32(vshll_high_n_u16(hi, 16))};
}
TB_INLINE v16 v16_load_i8(const void *p) { return v16_from_i8(vld1q_s8(p)); }
TB_INLINE void v16_load_nibbles(const void *p, int bias, v16 *low, v16 *high) {
  uint8x16_t b = vld1q_u8(p);
  int8x16_t z = vdupq_n_s8((int8_t)bias);
  *low = v16_from_i8(vsubq_s8(vreinterpretq_s8_u8(vandq_u8(b, vdupq_n_u8(15))), z));
  *high = v16_from_i8(vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(b, 4)), z));
}
TB_INLINE int8x16_t v16_bytes(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d) {
  return vcombine_s8(vqmovn_s16(vcombine_s16(vqmovn_s32(a), vqmovn_s32(b))),
                     vqmovn_s16(vcombine_s16(vqmovn_s32(c), vqmovn_s32(d))));
}
TB_INLINE void v16_store_i8(void *p, v16 x) {
  vst1q_s8(p, v16_bytes(vcvtnq_s32_f32(x.a), vcvtnq_s32_f32(x.b), vcvtnq_s32_f32(x.c), vcvtnq_s32_f32(x.d)));
}
TB_INLINE void v16_store_i8x8(int8_t *q, int16_t *s, const v16 x[8]) {
  int16x8_t sum[8];
  TB_UNROLL for (int i = 0; i < 8; i++) {
    int8x16_t codes = v16_bytes(vcvtnq_s32_f32(x[i].a), vcvtnq_s32_f32(x[i].b), vcvtnq_s32_f32(x[i].c),
                                vcvtnq_s32_f32(x[i].d));
    vst1q_s8(q + 16 * i, codes);
    sum[i] = vpaddlq_s8(codes);
  }
  int16x8_t a = vpaddq_s16(vpaddq_s16(sum[0], sum[1]), vpaddq_s16(sum[2], sum[3]));
  int16x8_t b = vpaddq_s16(vpaddq_s16(sum[4], sum[5]), vpaddq_s16(sum[6], sum[7]));
  vst1q_s16(s, vpaddq_s16(a, b));
}
/* The low halves of the lanes of both, rounded to integers: adding 1.5 · 2^23 leaves them in the low bits, and has twice
 * the throughput of a conversion. */
TB_INLINE int16x8_t v16_low_halves(float32x4_t a, float32x4_t b) {
  const float32x4_t shift = vdupq_n_f32(0x1.8p23f);
  return vuzp1q_s16(vreinterpretq_s16_f32(vaddq_f32(a, shift)), vreinterpretq_s16_f32(vaddq_f32(b, shift)));
}
/* Codes of at most 127; their sums, two to a lane, fit for 128 calls. */
TB_INLINE int16x8_t v16_store_codes(void *p, v16 x, int16x8_t sums) {
  int16x8_t low = v16_low_halves(x.a, x.b), high = v16_low_halves(x.c, x.d);
  int8x16_t codes = vuzp1q_s8(vreinterpretq_s8_s16(low), vreinterpretq_s8_s16(high));
  vst1q_s8(p, codes);
  return vpadalq_s8(sums, codes);
}
TB_INLINE void v16_code_sums(float *s, int16x8_t w, int16x8_t x, int16x8_t y, int16x8_t z) {
  int32x4_t wx = vpaddq_s32(vpaddlq_s16(w), vpaddlq_s16(x)), yz = vpaddq_s32(vpaddlq_s16(y), vpaddlq_s16(z));
  vst1q_f32(s, vcvtq_f32_s32(vpaddq_s32(wx, yz)));
}
TB_INLINE int8x16_t v16_codes4(v16 x) {
  int8x16_t c = v16_bytes(vcvtq_s32_f32(x.a), vcvtq_s32_f32(x.b), vcvtq_s32_f32(x.c), vcvtq_s32_f32(x.d));
  return vminq_s8(c, vdupq_n_s8(15));
}
TB_INLINE void v16_store_nibbles(void *p, v16 low, v16 high) {
  vst1q_s8(p, vorrq_s8(v16_codes4(low), vshlq_n_s8(v16_codes4(high), 4)));
}

TB_INLINE v16 v16_add(v16 x, v16 y) { return V16_EACH2(vaddq_f32, x, y); }
TB_INLINE v16 v16_sub(v16 x, v16 y) { return V16_EACH2(vsubq_f32, x, y); }
TB_INLINE v16 v16_mul(v16 x, v16 y) { return V16_EACH2(vmulq_f32, x, y); }
TB_INLINE v16 v16_div(v16 x, v16 y) { return V16_EACH2(vdivq_f32, x, y); }
TB_INLINE v16 v16_max(v16 x, v16 y) { return V16_EACH2(vmaxq_f32, x, y); }
TB_INLINE v16 v16_min(v16 x, v16 y) { return V16_EACH2(vminq_f32, x, y); }
TB_INLINE v16 v16_abs(v16 x) { return V16_EACH1(vabsq_f32, x); }
TB_INLINE v16 v16_rint(v16 x) { return V16_EACH1(vrndnq_f32, x); }
TB_INLINE v16 v16_fma(v16 x, v16 y, v16 z) {
  return (v16){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c), vfmaq_f32(z.d, x.d, y.d)};
}

TB_INLINE float32x4_t v16_clear(float32x4_t value, uint32x4_t where) {
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(value), where));
}
TB_INLINE v16 v16_zero_below(v16 v, v16 x, float limit) {
  const float32x4_t l = vdupq_n_f32(limit);
  return (v16){v16_clear(v.a, vcltq_f32(x.a, l)), v16_clear(v.b, vcltq_f32(x.b, l)), v16_clear(v.c, vcltq_f32(x.c, l)),
               v16_clear(v.d, vcltq_f32(x.d, l))};
}
TB_INLINE float32x4_t v16_shift_in(float32x4_t x, float32x4_t t) {
  uint32x4_t e = vshlq_n_u32(vreinterpretq_u32_f32(t), 23);
  return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(x), e));
}
TB_INLINE v16 v16_add_exponent(v16 x, v16 t) { return V16_EACH2(v16_shift_in, x, t); }
TB_INLINE v16 v16_exp2i(v16 t) { return v16_add_exponent(v16_set1(1.0f), t); }

TB_INLINE float32x4_t v16_fold(v16 x) { return vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d)); }
TB_INLINE void v16_hsum4(float *s, v16 w, v16 x, v16 y, v16 z) {
  vst1q_f32(s, vpaddq_f32(vpaddq_f32(v16_fold(w), v16_fold(x)), vpaddq_f32(v16_fold(y), v16_fold(z))));
}
TB_INLINE float v16_hsum(v16 x) {
  float32x4_t q = v16_fold(x);
  q = vpaddq_f32(q, q);
  return vgetq_lane_f32(vpaddq_f32(q, q), 0);
}
TB_INLINE float v16_hmax(v16 x) { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.a, x.b), vmaxq_f32(x.c, x.d))); }
/* The largest lane of each of four registers. */
TB_INLINE void v16_largest(float *m, float32x4_t w, float32x4_t x, float32x4_t y, float32x4_t z) {
  vst1q_f32(m, vpmaxq_f32(vpmaxq_f32(w, x), vpmaxq_f32(y, z)));
}
TB_INLINE float32x4_t v16_most(v16 x) { return vmaxq_f32(vmaxq_f32(x.a, x.c), vmaxq_f32(x.b, x.d)); }
TB_INLINE void v16_hmax4(float *m, v16 w, v16 x, v16 y, v16 z) {
  v16_largest(m, v16_most(w), v16_most(x), v16_most(y), v16_most(z));
}
TB_INLINE unsigned v16_equal_bits4(float32x4_t x, float y) {
  const uint32_t bit[4] = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(vceqq_f32(x, vdupq_n_f32(y)), vld1q_u32(bit)));
}
TB_INLINE unsigned v16_equal_bits(v16 x, float y) {
  return v16_equal_bits4(x.a, y) | v16_equal_bits4(x.b, y) << 4 | v16_equal_bits4(x.c, y) << 8 |
         v16_equal_bits4(x.d, y) << 12;
}

/* Two registers of interleaved pairs. */
TB_INLINE void v16_rotate4(float32x4_t *x, float32x4_t *y, const float *cos4, const float *sin4) {
  float32x4_t a = vuzp1q_f32(*x, *y), b = vuzp2q_f32(*x, *y), c = vld1q_f32(cos4), s = vld1q_f32(sin4);
  float32x4_t first = vsubq_f32(vmulq_f32(a, c), vmulq_f32(b, s));
  float32x4_t second = vaddq_f32(vmulq_f32(a, s), vmulq_f32(b, c));
  *x = vzip1q_f32(first, second);
  *y = vzip2q_f32(first, second);
}
TB_INLINE v16 v16_rotate_pairs(v16 x, const float *cos8, const float *sin8) {
  v16_rotate4(&x.a, &x.b, cos8, sin8);
  v16_rotate4(&x.c, &x.d, cos8 + 4, sin8 + 4);
  return x;
}

/* Adds the partner to x with the signs of `sign`: x · ±1 is exact, so the sum is rounded once. */
TB_INLINE float32x4_t v16_hadamard4(float32x4_t x) {
  const float one[4] = {1, -1, 1, -1}, two[4] = {1, 1, -1, -1};
  x = vfmaq_f32(vrev64q_f32(x), x, vld1q_f32(one));
  return vfmaq_f32(vextq_f32(x, x, 2), x, vld1q_f32(two));
}
TB_INLINE v16 v16_hadamard(v16 v) {
  v = V16_EACH1(v16_hadamard4, v);
  v = (v16){vaddq_f32(v.a, v.b), vsubq_f32(v.a, v.b), vaddq_f32(v.c, v.d), vsubq_f32(v.c, v.d)};
  return (v16){vaddq_f32(v.a, v.c), vaddq_f32(v.b, v.d), vsubq_f32(v.a, v.c), vsubq_f32(v.b, v.d)};
}

TB_INLINE d16 d16_zero(void) {
  float64x2_t z = vdupq_n_f64(0);
  return (d16){z, z, z, z, z, z, z, z};
}
TB_INLINE float64x2_t d16_square(float32x2_t x, float64x2_t s) {
  float64x2_t w = vcvt_f64_f32(x);
  return vfmaq_f64(s, w, w);
}
TB_INLINE d16 d16_add_squares(d16 s, v16 x) {
  return (d16){d16_square(vget_low_f32(x.a), s.a), d16_square(vget_high_f32(x.a), s.b),
               d16_square(vget_low_f32(x.b), s.c), d16_square(vget_high_f32(x.b), s.d),
               d16_square(vget_low_f32(x.c), s.e), d16_square(vget_high_f32(x.c), s.f),
               d16_square(vget_low_f32(x.d), s.g), d16_square(vget_high_f32(x.d), s.h)};
}
TB_INLINE double d16_hsum(d16 s) {
  float64x2_t lo = vaddq_f64(vaddq_f64(s.a, s.e), vaddq_f64(s.c, s.g));
  float64x2_t hi = vaddq_f64(vaddq_f64(s.b, s.f), vaddq_f64(s.d, s.h));
  return vpaddd_f64(lo) + vpaddd_f64(hi);
}

TB_INLINE void v16_transpose4(float *dst, size_t ldd, const float *src, size_t lds) {
  float32x4_t r0 = vld1q_f32(src), r1 = vld1q_f32(src + lds);
  float32x4_t r2 = vld1q_f32(src + 2 * lds), r3 = vld1q_f32(src + 3 * lds);
  float32x4_t ac_lo = vzip1q_f32(r0, r2), ac_hi = vzip2q_f32(r0, r2);
  float32x4_t bd_lo = vzip1q_f32(r1, r3), bd_hi = vzip2q_f32(r1, r3);
  vst1q_f32(dst, vzip1q_f32(ac_lo, bd_lo));
  vst1q_f32(dst + ldd, vzip2q_f32(ac_lo, bd_lo));
  vst1q_f32(dst + 2 * ldd, vzip1q_f32(ac_hi, bd_hi));
  vst1q_f32(dst + 3 * ldd, vzip2q_f32(ac_hi, bd_hi));
}
TB_INLINE void v16_transpose16(float *dst, size_t ldd, const float *src, size_t lds) {
  for (size_t i = 0; i < 16; i += 4)
    for (size_t j = 0; j < 16; j += 4) v16_transpose4(dst + j * ldd + i, ldd, src + i * lds + j, lds);
}

#endif
