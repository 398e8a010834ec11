/* v16: sixteen floats, the one vector type that the float kernels are written in. This is its AVX2 form (two
 * registers); vec_avx512.h and vec_neon.h give the same names with the same meaning, so a kernel is written once (in
 * <family>_v16.h) and its order of operations, hence its bits, is the same on every ISA. A translation unit includes
 * one of the three.
 *
 *   load, store, _n        16 values, or the first n ≤ 16: never touches memory past them, missing lanes read as 0
 *   _f16, _i8, _nibbles    the same from binary16, signed bytes, 4-bit codes (16 low nibbles, then 16 high ones);
 *                          stores of codes convert x: i8 rounds half to even, nibbles truncate and stop at 15
 *   store_codes(p, x, s)   store_i8 of x, |x| < 127.5, and the codes added to the sums s (i32: some 32-bit lanes);
 *                          i32_hsum4 sums the lanes of four
 *   load_scale8            sixteen 8-bit token scales (simd/kvblock.h) above base_bits
 *   add … fma, min, max    lane by lane; fma(x, y, z) = x·y + z rounded once; min and max keep a NaN of the second
 *                          operand
 *   store_i8x8(q, s, x)    eight v16 to 128 codes, and the sum of the codes of each
 *   zero_below(v, x, l)    lanes of v where x < l become 0 (a NaN in x keeps them)
 *   add_exponent(x, t)     x · 2^n, exp2i(t) = 2^n for t = n + 1.5·2^23, no overflow allowed
 *   hmax, hmax4            largest lane of one, of four
 *   hsum, hsum4(s, w …)    s[0 … 3] = sums of lanes. The order of every sum of 16 lanes, d16 included:
 *                          i + (i+8), then i + (i+4), then (0 + 1) + (2 + 3)
 *   rotate_pairs           8 pairs (a, b) to (a·cos - b·sin, b·cos + a·sin), every operation rounded
 *   hadamard               the four butterfly stages of distances 1, 2, 4, 8
 *   d16                    sixteen doubles; add_squares adds the exact squares of floats
 *   transpose16            dst[j·ldd + i] = src[i·lds + j] for 16 rows of 16 */
#ifndef TB_SIMD_VEC_AVX2_H
#define TB_SIMD_VEC_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "simd/vec/inline.h"

#define TB_FN(name) tb_##name##_avx2

typedef struct { __m256 a, b; } v16;
typedef struct { __m256d a, b, c, d; } d16;

TB_INLINE v16 v16_of(__m256 a, __m256 b) { return (v16){a, b}; }

/* All ones in lanes i < n; n may be negative or above 8. */
TB_INLINE __m256i v16_mask(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

TB_INLINE v16 v16_zero(void) { return v16_of(_mm256_setzero_ps(), _mm256_setzero_ps()); }
TB_INLINE v16 v16_set1(float x) { return v16_of(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
TB_INLINE v16 v16_load(const float *p) { return v16_of(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
TB_INLINE void v16_store(float *p, v16 x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
/* The first n ≤ 4 values, then zeros. Not by masked loads: an emulator reads what they leave out. */
TB_INLINE __m128 v16_first4(const float *p, size_t n) {
  if (n >= 4) return _mm_loadu_ps(p);
  if (n == 0) return _mm_setzero_ps();
  if (n == 1) return _mm_load_ss(p);
  __m128 two = _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(const void *)p));
  return n == 2 ? two : _mm_insert_ps(two, _mm_load_ss(p + 2), 0x20);
}
TB_INLINE __m256 v16_first8(const float *p, size_t n) {
  if (n >= 8) return _mm256_loadu_ps(p);
  if (n <= 4) return _mm256_insertf128_ps(_mm256_setzero_ps(), v16_first4(p, n), 0);
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), v16_first4(p + 4, n - 4), 1);
}
TB_INLINE v16 v16_load_n(const float *p, size_t n) {
  return v16_of(v16_first8(p, n), n > 8 ? v16_first8(p + 8, n - 8) : _mm256_setzero_ps());
}
TB_INLINE void v16_store_n(float *p, v16 x, size_t n) {
  _mm256_maskstore_ps(p, v16_mask((int)n), x.a);
  if (n > 8) _mm256_maskstore_ps(p + 8, v16_mask((int)n - 8), x.b);
}

TB_INLINE __m256 v16_half8(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
TB_INLINE v16 v16_load_f16(const void *p) { return v16_of(v16_half8(p), v16_half8((const uint16_t *)p + 8)); }
TB_INLINE __m256 v16_half8_n(const void *p, size_t n) {
  uint16_t h[8] = {0};
  if (n >= 8) return v16_half8(p);
  memcpy(h, p, 2 * n);
  return v16_half8(h);
}
TB_INLINE v16 v16_load_f16_n(const void *p, size_t n) {
  return v16_of(v16_half8_n(p, n), n > 8 ? v16_half8_n((const uint16_t *)p + 8, n - 8) : _mm256_setzero_ps());
}
TB_INLINE void v16_store_f16(void *p, v16 x) {
  _mm_storeu_si128(p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128((__m128i *)p + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
TB_INLINE void v16_store_f16_n(void *p, v16 x, size_t n) {
  uint16_t h[16];
  v16_store_f16(h, x);
  memcpy(p, h, 2 * n);
}
TB_INLINE v16 v16_from_i8(__m128i codes) {
  __m256i a = _mm256_cvtepi8_epi32(codes), b = _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(codes, codes));
  return v16_of(_mm256_cvtepi32_ps(a), _mm256_cvtepi32_ps(b));
}
TB_INLINE __m256 v16_scale8(__m128i codes, uint32_t base_bits) {
  __m256i c = _mm256_cvtepu8_epi32(codes), zero = _mm256_cmpeq_epi32(c, _mm256_setzero_si256());
  __m256i bits = _mm256_add_epi32(_mm256_slli_epi32(c, 19), _mm256_set1_epi32((int)base_bits));
  return _mm256_castsi256_ps(_mm256_andnot_si256(zero, bits));
}
TB_INLINE v16 v16_load_scale8(const void *p, uint32_t base_bits) {
  __m128i c = _mm_loadu_si128(p);
  return v16_of(v16_scale8(c, base_bits), v16_scale8(_mm_unpackhi_epi64(c, c), base_bits));
}
TB_INLINE v16 v16_load_i8(const void *p) { return v16_from_i8(_mm_loadu_si128(p)); }
TB_INLINE void v16_load_nibbles(const void *p, int bias, v16 *low, v16 *high) {
  __m128i b = _mm_loadu_si128(p), f = _mm_set1_epi8(15), z = _mm_set1_epi8((char)bias);
  *low = v16_from_i8(_mm_sub_epi8(_mm_and_si128(b, f), z));
  *high = v16_from_i8(_mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(b, 4), f), z));
}
TB_INLINE __m128i v16_words(__m256i a, __m256i b) { /* 16 values of -128 … 255 in 32 bits to bytes, saturated */
  return _mm_packs_epi16(_mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)),
                         _mm_packs_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1)));
}
TB_INLINE void v16_store_i8(void *p, v16 x) {
  _mm_storeu_si128(p, v16_words(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)));
}
typedef __m256i i32;
TB_INLINE i32 i32_zero(void) { return _mm256_setzero_si256(); }
TB_INLINE void i32_hsum4(float *s, i32 w, i32 x, i32 y, i32 z) {
  __m256i h = _mm256_hadd_epi32(_mm256_hadd_epi32(w, x), _mm256_hadd_epi32(y, z));
  _mm_storeu_ps(s, _mm_cvtepi32_ps(_mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1))));
}
TB_INLINE i32 v16_store_codes(void *p, v16 x, i32 sums) {
  __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)); /* 0-3 8-11 | 4-7 12-15 */
  __m128i in_order = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(_mm256_packs_epi16(words, words),
                                                                         _mm256_setr_epi32(0, 4, 1, 5, 0, 0, 0, 0)));
  _mm_storeu_si128(p, in_order);
  return _mm256_add_epi32(sums, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
}
TB_INLINE void v16_store_nibbles(void *p, v16 low, v16 high) {
  const __m256i top = _mm256_set1_epi32(15);
  __m128i l = v16_words(_mm256_min_epi32(_mm256_cvttps_epi32(low.a), top),
                        _mm256_min_epi32(_mm256_cvttps_epi32(low.b), top));
  __m128i h = v16_words(_mm256_min_epi32(_mm256_cvttps_epi32(high.a), top),
                        _mm256_min_epi32(_mm256_cvttps_epi32(high.b), top));
  _mm_storeu_si128(p, _mm_or_si128(l, _mm_slli_epi16(h, 4)));
}

/* The eight sums of 16 codes in four registers of 32. */
TB_INLINE __m128i v16_sums8(const __m256i codes[4]) {
  const __m256i one = _mm256_set1_epi8(1);
  __m256i h = _mm256_hadd_epi16(_mm256_maddubs_epi16(one, codes[0]), _mm256_maddubs_epi16(one, codes[1]));
  __m256i i = _mm256_hadd_epi16(_mm256_maddubs_epi16(one, codes[2]), _mm256_maddubs_epi16(one, codes[3]));
  h = _mm256_hadd_epi16(h, i);
  h = _mm256_hadd_epi16(h, h); /* low half: first sums of the four; high half: second sums */
  return _mm_unpacklo_epi16(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}
TB_INLINE void v16_store_i8x8(int8_t *q, int16_t *s, const v16 x[8]) {
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  __m256i codes[4];
  TB_UNROLL for (int g = 0; g < 4; g++) {
    __m256i a = _mm256_packs_epi32(_mm256_cvtps_epi32(x[2 * g].a), _mm256_cvtps_epi32(x[2 * g].b));
    __m256i b = _mm256_packs_epi32(_mm256_cvtps_epi32(x[2 * g + 1].a), _mm256_cvtps_epi32(x[2 * g + 1].b));
    codes[g] = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
    _mm256_storeu_si256((__m256i *)(void *)(q + 32 * g), codes[g]);
  }
  _mm_storeu_si128((__m128i *)(void *)s, v16_sums8(codes));
}

TB_INLINE v16 v16_add(v16 x, v16 y) { return v16_of(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)); }
TB_INLINE v16 v16_sub(v16 x, v16 y) { return v16_of(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)); }
TB_INLINE v16 v16_mul(v16 x, v16 y) { return v16_of(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)); }
TB_INLINE v16 v16_div(v16 x, v16 y) { return v16_of(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)); }
TB_INLINE v16 v16_max(v16 x, v16 y) { return v16_of(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)); }
TB_INLINE v16 v16_min(v16 x, v16 y) { return v16_of(_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)); }
TB_INLINE v16 v16_abs(v16 x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return v16_of(_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b));
}
TB_INLINE v16 v16_rint(v16 x) {
  return v16_of(_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
TB_INLINE v16 v16_fma(v16 x, v16 y, v16 z) {
  return v16_of(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}

TB_INLINE v16 v16_zero_below(v16 value, v16 x, float limit) {
  const __m256 l = _mm256_set1_ps(limit);
  return v16_of(_mm256_and_ps(value.a, _mm256_cmp_ps(x.a, l, _CMP_NLT_UQ)),
                _mm256_and_ps(value.b, _mm256_cmp_ps(x.b, l, _CMP_NLT_UQ)));
}
TB_INLINE __m256 v16_shift_in(__m256 x, __m256 t) {
  __m256i e = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), e));
}
TB_INLINE v16 v16_add_exponent(v16 x, v16 t) { return v16_of(v16_shift_in(x.a, t.a), v16_shift_in(x.b, t.b)); }
TB_INLINE v16 v16_exp2i(v16 t) { return v16_add_exponent(v16_set1(1.0f), t); }

/* Halves of x, y added crosswise: i + (i+8) and i + (i+4) of x in the low half, of y in the high half. */
TB_INLINE __m256 v16_fold(v16 x, v16 y) {
  __m256 p = _mm256_add_ps(x.a, x.b), q = _mm256_add_ps(y.a, y.b);
  return _mm256_add_ps(_mm256_permute2f128_ps(p, q, 0x20), _mm256_permute2f128_ps(p, q, 0x31));
}
TB_INLINE void v16_hsum4(float *s, v16 w, v16 x, v16 y, v16 z) {
  __m256 h = _mm256_hadd_ps(v16_fold(w, x), v16_fold(y, z)); /* w w y y | x x z z */
  h = _mm256_hadd_ps(h, h);                                  /* w y w y | x z x z */
  _mm_storeu_ps(s, _mm_unpacklo_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1)));
}
TB_INLINE float v16_hsum(v16 x) {
  __m256 h = _mm256_add_ps(x.a, x.b);
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_permute_ps(q, 0xb1));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_permute_ps(q, 0x4e)));
}
TB_INLINE float v16_hmax(v16 x) {
  __m256 h = _mm256_max_ps(x.a, x.b);
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_max_ps(q, _mm_permute_ps(q, 0xb1));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_permute_ps(q, 0x4e)));
}
TB_INLINE void v16_hmax4(float *m, v16 w, v16 x, v16 y, v16 z) {
  __m256 p = _mm256_max_ps(w.a, w.b), q = _mm256_max_ps(x.a, x.b);
  __m256 r = _mm256_max_ps(y.a, y.b), t = _mm256_max_ps(z.a, z.b);
  p = _mm256_max_ps(_mm256_permute2f128_ps(p, q, 0x20), _mm256_permute2f128_ps(p, q, 0x31)); /* w | x */
  r = _mm256_max_ps(_mm256_permute2f128_ps(r, t, 0x20), _mm256_permute2f128_ps(r, t, 0x31)); /* y | z */
  p = _mm256_max_ps(_mm256_unpacklo_ps(p, r), _mm256_unpackhi_ps(p, r));                     /* w y w y | x z x z */
  p = _mm256_max_ps(p, _mm256_permute_ps(p, 0x4e));
  _mm_storeu_ps(m, _mm_unpacklo_ps(_mm256_castps256_ps128(p), _mm256_extractf128_ps(p, 1)));
}
/* Bit i is set where lane i equals y. */
TB_INLINE unsigned v16_equal_bits(v16 x, float y) {
  const __m256 v = _mm256_set1_ps(y);
  return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x.a, v, _CMP_EQ_OQ)) |
         (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x.b, v, _CMP_EQ_OQ)) << 8;
}

TB_INLINE __m256 v16_rotate4(__m256 x, const float *cos4, const float *sin4) {
  const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  __m256 c = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(cos4)), twice);
  __m256 s = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(sin4)), twice);
  return _mm256_addsub_ps(_mm256_mul_ps(x, c), _mm256_mul_ps(_mm256_permute_ps(x, 0xb1), s));
}
TB_INLINE v16 v16_rotate_pairs(v16 x, const float *cos8, const float *sin8) {
  return v16_of(v16_rotate4(x.a, cos8, sin8), v16_rotate4(x.b, cos8 + 4, sin8 + 4));
}

/* Adds the partner to x with the signs of `sign`: x · ±1 is exact, so the sum is rounded once. */
TB_INLINE __m256 v16_hadamard8(__m256 x) {
  x = _mm256_fmadd_ps(x, _mm256_setr_ps(1, -1, 1, -1, 1, -1, 1, -1), _mm256_permute_ps(x, 0xb1));
  x = _mm256_fmadd_ps(x, _mm256_setr_ps(1, 1, -1, -1, 1, 1, -1, -1), _mm256_permute_ps(x, 0x4e));
  return _mm256_fmadd_ps(x, _mm256_setr_ps(1, 1, 1, 1, -1, -1, -1, -1), _mm256_permute2f128_ps(x, x, 1));
}
TB_INLINE v16 v16_hadamard(v16 v) {
  __m256 a = v16_hadamard8(v.a), b = v16_hadamard8(v.b);
  return v16_of(_mm256_add_ps(a, b), _mm256_sub_ps(a, b));
}

TB_INLINE d16 d16_zero(void) {
  __m256d z = _mm256_setzero_pd();
  return (d16){z, z, z, z};
}
TB_INLINE __m256d d16_square(__m128 x, __m256d s) {
  __m256d w = _mm256_cvtps_pd(x);
  return _mm256_fmadd_pd(w, w, s);
}
TB_INLINE d16 d16_add_squares(d16 s, v16 x) {
  return (d16){d16_square(_mm256_castps256_ps128(x.a), s.a), d16_square(_mm256_extractf128_ps(x.a, 1), s.b),
               d16_square(_mm256_castps256_ps128(x.b), s.c), d16_square(_mm256_extractf128_ps(x.b, 1), s.d)};
}
TB_INLINE double d16_hsum(d16 s) {
  __m256d q = _mm256_add_pd(_mm256_add_pd(s.a, s.c), _mm256_add_pd(s.b, s.d));
  __m128d lo = _mm256_castpd256_pd128(q), hi = _mm256_extractf128_pd(q, 1);
  return (_mm_cvtsd_f64(lo) + _mm_cvtsd_f64(_mm_unpackhi_pd(lo, lo))) +
         (_mm_cvtsd_f64(hi) + _mm_cvtsd_f64(_mm_unpackhi_pd(hi, hi)));
}

TB_INLINE void v16_transpose8(float *dst, size_t ldd, const float *src, size_t lds) {
  __m256 t[8];
  TB_UNROLL for (int i = 0; i < 2; i++) { /* 4 × 4 inside each half, rows 4i … 4i + 3 */
    const float *p = src + 4 * (size_t)i * lds;
    __m256 r0 = _mm256_loadu_ps(p), r1 = _mm256_loadu_ps(p + lds);
    __m256 r2 = _mm256_loadu_ps(p + 2 * lds), r3 = _mm256_loadu_ps(p + 3 * lds);
    __m256 ab_lo = _mm256_unpacklo_ps(r0, r1), ab_hi = _mm256_unpackhi_ps(r0, r1);
    __m256 cd_lo = _mm256_unpacklo_ps(r2, r3), cd_hi = _mm256_unpackhi_ps(r2, r3);
    t[4 * i] = _mm256_shuffle_ps(ab_lo, cd_lo, 0x44);
    t[4 * i + 1] = _mm256_shuffle_ps(ab_lo, cd_lo, 0xee);
    t[4 * i + 2] = _mm256_shuffle_ps(ab_hi, cd_hi, 0x44);
    t[4 * i + 3] = _mm256_shuffle_ps(ab_hi, cd_hi, 0xee);
  }
  TB_UNROLL for (int i = 0; i < 4; i++) {
    _mm256_storeu_ps(dst + (size_t)i * ldd, _mm256_permute2f128_ps(t[i], t[4 + i], 0x20));
    _mm256_storeu_ps(dst + (size_t)(i + 4) * ldd, _mm256_permute2f128_ps(t[i], t[4 + i], 0x31));
  }
}
TB_INLINE void v16_transpose16(float *dst, size_t ldd, const float *src, size_t lds) {
  for (size_t i = 0; i < 16; i += 8)
    for (size_t j = 0; j < 16; j += 8) v16_transpose8(dst + j * ldd + i, ldd, src + i * lds + j, lds);
}

#endif
