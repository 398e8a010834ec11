/* v16 for AVX-512: one register. The vocabulary is described in simd/vec/vec_avx2.h. */
#ifndef TB_SIMD_VEC_AVX512_H
#define TB_SIMD_VEC_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include "simd/vec/inline.h"

#define TB_FN(name) tb_##name##_avx512

typedef struct { __m512 a; } v16;
typedef struct { __m512d a, b; } d16;

TB_INLINE v16 v16_of(__m512 a) { return (v16){a}; }
TB_INLINE __mmask16 v16_mask(size_t n) { return (__mmask16)((1u << n) - 1); }

TB_INLINE v16 v16_zero(void) { return v16_of(_mm512_setzero_ps()); }
TB_INLINE v16 v16_set1(float x) { return v16_of(_mm512_set1_ps(x)); }
TB_INLINE v16 v16_load(const float *p) { return v16_of(_mm512_loadu_ps(p)); }
TB_INLINE void v16_store(float *p, v16 x) { _mm512_storeu_ps(p, x.a); }
TB_INLINE v16 v16_load_n(const float *p, size_t n) { return v16_of(_mm512_maskz_loadu_ps(v16_mask(n), p)); }
TB_INLINE void v16_store_n(float *p, v16 x, size_t n) { _mm512_mask_storeu_ps(p, v16_mask(n), x.a); }

TB_INLINE v16 v16_load_f16(const void *p) { return v16_of(_mm512_cvtph_ps(_mm256_loadu_si256(p))); }
TB_INLINE v16 v16_load_f16_n(const void *p, size_t n) {
  return v16_of(_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v16_mask(n), p)));
}
TB_INLINE void v16_store_f16_n(void *p, v16 x, size_t n) {
  _mm256_mask_storeu_epi16(p, v16_mask(n), _mm512_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
TB_INLINE void v16_store_f16(void *p, v16 x) {
  _mm256_storeu_si256(p, _mm512_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
TB_INLINE v16 v16_from_i8(__m128i codes) { return v16_of(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes))); }
TB_INLINE v16 v16_load_scale8(const void *p, uint32_t base_bits) {
  __m512i c = _mm512_cvtepu8_epi32(_mm_loadu_si128(p));
  __m512i bits = _mm512_add_epi32(_mm512_slli_epi32(c, 19), _mm512_set1_epi32((int)base_bits));
  return v16_of(_mm512_castsi512_ps(_mm512_maskz_mov_epi32(_mm512_test_epi32_mask(c, c), bits)));
}
TB_INLINE v16 v16_load_i8(const void *p) { return v16_from_i8(_mm_loadu_si128(p)); }
TB_INLINE void v16_load_nibbles(const void *p, int bias, v16 *low, v16 *high) {
  __m128i b = _mm_loadu_si128(p), f = _mm_set1_epi8(15), z = _mm_set1_epi8((char)bias);
  *low = v16_from_i8(_mm_sub_epi8(_mm_and_si128(b, f), z));
  *high = v16_from_i8(_mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(b, 4), f), z));
}
TB_INLINE void v16_store_i8(void *p, v16 x) {
  _mm_storeu_si128(p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x.a)));
}
typedef __m512i i32;
TB_INLINE i32 i32_zero(void) { return _mm512_setzero_si512(); }
TB_INLINE i32 v16_store_codes(void *p, v16 x, i32 sums) {
  __m512i codes = _mm512_cvtps_epi32(x.a);
  _mm_storeu_si128(p, _mm512_cvtepi32_epi8(codes));
  return _mm512_add_epi32(sums, codes);
}
TB_INLINE void v16_store_nibbles(void *p, v16 low, v16 high) {
  __m512i l = _mm512_cvttps_epi32(low.a), h = _mm512_cvttps_epi32(high.a), top = _mm512_set1_epi32(15);
  l = _mm512_min_epi32(l, top);
  h = _mm512_min_epi32(h, top);
  _mm_storeu_si128(p, _mm512_cvtepi32_epi8(_mm512_or_si512(l, _mm512_slli_epi32(h, 4))));
}

/* The eight sums of 16 codes in two registers of 64. */
TB_INLINE __m128i v16_sums8(__m512i a, __m512i b) {
  const __m512i ones = _mm512_set1_epi8(1);
  a = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, a);
  b = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, b);
  a = _mm512_packs_epi32(a, b); /* by 128 bits: four parts of one sum, four of the one four later */
  a = _mm512_madd_epi16(a, _mm512_set1_epi16(1));
  a = _mm512_add_epi32(a, _mm512_shuffle_epi32(a, 0xb1)); /* dword 0 and 2 of each 128 bits hold the sums */
  const __m512i pick = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
  return _mm256_cvtepi32_epi16(_mm512_castsi512_si256(_mm512_permutexvar_epi32(pick, a)));
}
TB_INLINE void v16_store_i8x8(int8_t *q, int16_t *s, const v16 x[8]) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i codes[2];
  TB_UNROLL for (int h = 0; h < 2; h++) {
    const v16 *v = x + 4 * h;
    __m512i a = _mm512_packs_epi32(_mm512_cvtps_epi32(v[0].a), _mm512_cvtps_epi32(v[1].a));
    __m512i b = _mm512_packs_epi32(_mm512_cvtps_epi32(v[2].a), _mm512_cvtps_epi32(v[3].a));
    codes[h] = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(a, b));
    _mm512_storeu_si512(q + 64 * h, codes[h]);
  }
  _mm_storeu_si128((__m128i *)(void *)s, v16_sums8(codes[0], codes[1]));
}

TB_INLINE v16 v16_add(v16 x, v16 y) { return v16_of(_mm512_add_ps(x.a, y.a)); }
TB_INLINE v16 v16_sub(v16 x, v16 y) { return v16_of(_mm512_sub_ps(x.a, y.a)); }
TB_INLINE v16 v16_mul(v16 x, v16 y) { return v16_of(_mm512_mul_ps(x.a, y.a)); }
TB_INLINE v16 v16_div(v16 x, v16 y) { return v16_of(_mm512_div_ps(x.a, y.a)); }
TB_INLINE v16 v16_max(v16 x, v16 y) { return v16_of(_mm512_max_ps(x.a, y.a)); }
TB_INLINE v16 v16_min(v16 x, v16 y) { return v16_of(_mm512_min_ps(x.a, y.a)); }
TB_INLINE v16 v16_abs(v16 x) { return v16_of(_mm512_abs_ps(x.a)); }
TB_INLINE v16 v16_rint(v16 x) {
  return v16_of(_mm512_roundscale_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
TB_INLINE v16 v16_fma(v16 x, v16 y, v16 z) { return v16_of(_mm512_fmadd_ps(x.a, y.a, z.a)); }

TB_INLINE v16 v16_zero_below(v16 value, v16 x, float limit) {
  __mmask16 keep = _mm512_cmp_ps_mask(x.a, _mm512_set1_ps(limit), _CMP_NLT_UQ);
  return v16_of(_mm512_maskz_mov_ps(keep, value.a));
}
TB_INLINE v16 v16_add_exponent(v16 x, v16 t) {
  __m512i e = _mm512_slli_epi32(_mm512_castps_si512(t.a), 23);
  return v16_of(_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x.a), e)));
}
TB_INLINE v16 v16_exp2i(v16 t) {
  __m512i e = _mm512_slli_epi32(_mm512_castps_si512(t.a), 23);
  return v16_of(_mm512_castsi512_ps(_mm512_add_epi32(e, _mm512_set1_epi32(127 << 23))));
}
TB_INLINE void v16_hsum4(float *s, v16 w, v16 x, v16 y, v16 z) {
  /* 256-bit halves: lanes i and i + 8 of w, y | x, z; then 128-bit quarters; the result holds w x y z by quarter. */
  __m512 wx = _mm512_add_ps(_mm512_shuffle_f32x4(w.a, x.a, 0x44), _mm512_shuffle_f32x4(w.a, x.a, 0xee));
  __m512 yz = _mm512_add_ps(_mm512_shuffle_f32x4(y.a, z.a, 0x44), _mm512_shuffle_f32x4(y.a, z.a, 0xee));
  __m512 q = _mm512_add_ps(_mm512_shuffle_f32x4(wx, yz, 0x88), _mm512_shuffle_f32x4(wx, yz, 0xdd));
  q = _mm512_add_ps(q, _mm512_permute_ps(q, 0xb1));
  q = _mm512_add_ps(q, _mm512_permute_ps(q, 0x4e));
  const __m512i firsts = _mm512_castsi128_si512(_mm_setr_epi32(0, 4, 8, 12));
  _mm_storeu_ps(s, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, q)));
}
TB_INLINE float v16_hsum(v16 x) {
  __m256 h = _mm256_add_ps(_mm512_castps512_ps256(x.a), _mm512_extractf32x8_ps(x.a, 1));
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_permute_ps(q, 0xb1));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_permute_ps(q, 0x4e)));
}
TB_INLINE void i32_hsum4(float *s, i32 w, i32 x, i32 y, i32 z) { /* whole numbers: floats add them exactly */
  v16_hsum4(s, v16_of(_mm512_cvtepi32_ps(w)), v16_of(_mm512_cvtepi32_ps(x)), v16_of(_mm512_cvtepi32_ps(y)),
            v16_of(_mm512_cvtepi32_ps(z)));
}
TB_INLINE float v16_hmax(v16 x) { return _mm512_reduce_max_ps(x.a); }
TB_INLINE void v16_hmax4(float *m, v16 w, v16 x, v16 y, v16 z) { /* as v16_hsum4 */
  __m512 wx = _mm512_max_ps(_mm512_shuffle_f32x4(w.a, x.a, 0x44), _mm512_shuffle_f32x4(w.a, x.a, 0xee));
  __m512 yz = _mm512_max_ps(_mm512_shuffle_f32x4(y.a, z.a, 0x44), _mm512_shuffle_f32x4(y.a, z.a, 0xee));
  __m512 q = _mm512_max_ps(_mm512_shuffle_f32x4(wx, yz, 0x88), _mm512_shuffle_f32x4(wx, yz, 0xdd));
  q = _mm512_max_ps(q, _mm512_permute_ps(q, 0xb1));
  q = _mm512_max_ps(q, _mm512_permute_ps(q, 0x4e));
  const __m512i firsts = _mm512_castsi128_si512(_mm_setr_epi32(0, 4, 8, 12));
  _mm_storeu_ps(m, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, q)));
}
TB_INLINE unsigned v16_equal_bits(v16 x, float y) { return _mm512_cmp_ps_mask(x.a, _mm512_set1_ps(y), _CMP_EQ_OQ); }

TB_INLINE v16 v16_rotate_pairs(v16 x, const float *cos8, const float *sin8) {
  const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  __m512 c = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(cos8)));
  __m512 s = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(sin8)));
  __m512 straight = _mm512_mul_ps(x.a, c), crossed = _mm512_mul_ps(_mm512_permute_ps(x.a, 0xb1), s);
  return v16_of(_mm512_mask_sub_ps(_mm512_add_ps(straight, crossed), 0x5555, straight, crossed));
}

/* Lanes outside `minus`: x + partner, inside: partner - x. */
TB_INLINE __m512 v16_butterfly(__m512 x, __m512 swapped, __mmask16 minus) {
  return _mm512_mask_sub_ps(_mm512_add_ps(x, swapped), minus, swapped, x);
}
TB_INLINE v16 v16_hadamard(v16 v) {
  __m512 x = v.a;
  x = v16_butterfly(x, _mm512_permute_ps(x, 0xb1), 0xaaaa);
  x = v16_butterfly(x, _mm512_permute_ps(x, 0x4e), 0xcccc);
  x = v16_butterfly(x, _mm512_shuffle_f32x4(x, x, 0xb1), 0xf0f0);
  return v16_of(v16_butterfly(x, _mm512_shuffle_f32x4(x, x, 0x4e), 0xff00));
}

TB_INLINE d16 d16_zero(void) { return (d16){_mm512_setzero_pd(), _mm512_setzero_pd()}; }
TB_INLINE d16 d16_add_squares(d16 s, v16 x) {
  __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(x.a)), b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x.a, 1));
  return (d16){_mm512_fmadd_pd(a, a, s.a), _mm512_fmadd_pd(b, b, s.b)};
}
TB_INLINE double d16_hsum(d16 s) {
  __m512d e = _mm512_add_pd(s.a, s.b);
  __m256d q = _mm256_add_pd(_mm512_castpd512_pd256(e), _mm512_extractf64x4_pd(e, 1));
  __m128d lo = _mm256_castpd256_pd128(q), hi = _mm256_extractf128_pd(q, 1);
  return (_mm_cvtsd_f64(lo) + _mm_cvtsd_f64(_mm_unpackhi_pd(lo, lo))) +
         (_mm_cvtsd_f64(hi) + _mm_cvtsd_f64(_mm_unpackhi_pd(hi, hi)));
}

TB_INLINE void v16_transpose16(float *dst, size_t ldd, const float *src, size_t lds) {
  __m512 t[16];
  TB_UNROLL for (int i = 0; i < 4; i++) { /* 4 × 4 inside each 128-bit quarter, rows 4i … 4i + 3 */
    const float *p = src + 4 * (size_t)i * lds;
    __m512 r0 = _mm512_loadu_ps(p), r1 = _mm512_loadu_ps(p + lds);
    __m512 r2 = _mm512_loadu_ps(p + 2 * lds), r3 = _mm512_loadu_ps(p + 3 * lds);
    __m512 ab_lo = _mm512_unpacklo_ps(r0, r1), ab_hi = _mm512_unpackhi_ps(r0, r1);
    __m512 cd_lo = _mm512_unpacklo_ps(r2, r3), cd_hi = _mm512_unpackhi_ps(r2, r3);
    t[4 * i] = _mm512_shuffle_ps(ab_lo, cd_lo, 0x44);
    t[4 * i + 1] = _mm512_shuffle_ps(ab_lo, cd_lo, 0xee);
    t[4 * i + 2] = _mm512_shuffle_ps(ab_hi, cd_hi, 0x44);
    t[4 * i + 3] = _mm512_shuffle_ps(ab_hi, cd_hi, 0xee);
  }
  TB_UNROLL for (int i = 0; i < 4; i++) { /* quarter k of t[4j + i]: column 4k + i of rows 4j … 4j + 3 */
    __m512 a = _mm512_shuffle_f32x4(t[i], t[4 + i], 0x44), b = _mm512_shuffle_f32x4(t[8 + i], t[12 + i], 0x44);
    __m512 c = _mm512_shuffle_f32x4(t[i], t[4 + i], 0xee), d = _mm512_shuffle_f32x4(t[8 + i], t[12 + i], 0xee);
    float *out = dst + (size_t)i * ldd;
    _mm512_storeu_ps(out, _mm512_shuffle_f32x4(a, b, 0x88));
    _mm512_storeu_ps(out + 4 * ldd, _mm512_shuffle_f32x4(a, b, 0xdd));
    _mm512_storeu_ps(out + 8 * ldd, _mm512_shuffle_f32x4(c, d, 0x88));
    _mm512_storeu_ps(out + 12 * ldd, _mm512_shuffle_f32x4(c, d, 0xdd));
  }
}

#endif
