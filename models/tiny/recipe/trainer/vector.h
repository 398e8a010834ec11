/* Short names for AVX-512 and bf16: 16 floats at a time. Weights and gradients are float; the operands of matrix
 * products are bf16, in pairs (two neighbours along the summed dimension), because vdpbf16ps sums pairs. */
#ifndef TRAINER_VECTOR_H
#define TRAINER_VECTOR_H

#include <immintrin.h>
#include <stdint.h>

typedef uint16_t bf16;
typedef uint32_t pair; /* two bf16 */

static inline __m512 load(const void *p) {
  return _mm512_loadu_ps(p);
}
static inline void store(void *p, __m512 v) {
  _mm512_storeu_ps(p, v);
}
static inline __m512 all(float x) {
  return _mm512_set1_ps(x);
}
static inline __m512 zero(void) {
  return _mm512_setzero_ps();
}
static inline __m512 mul(__m512 a, __m512 b) {
  return _mm512_mul_ps(a, b);
}
static inline __m512 add(__m512 a, __m512 b) {
  return _mm512_add_ps(a, b);
}
static inline __m512 sub(__m512 a, __m512 b) {
  return _mm512_sub_ps(a, b);
}
static inline __m512 madd(__m512 a, __m512 b, __m512 c) {
  return _mm512_fmadd_ps(a, b, c);
}

static inline __m256i to_bf16(__m512 v) {
  return (__m256i)_mm512_cvtneps_pbh(v);
}
static inline void store_bf16(bf16 *p, __m512 v) {
  _mm256_storeu_si256((__m256i *)p, to_bf16(v));
}
static inline __m512 load_bf16(const bf16 *p) {
  __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
/* n is a multiple of 16. */
static inline void convert_to_bf16(const float *from, bf16 *to, int n) {
  for (int i = 0; i < n; i += 16)
    store_bf16(to + i, load(from + i));
}

/* The first `valid` of 16 lanes. */
static inline __mmask16 lanes(int valid) {
  return valid >= 16 ? 0xffff : valid <= 0 ? 0 : (__mmask16)((1u << valid) - 1);
}

/* exp, about 2^-22 relative: 2^n · p(f) with the fraction f in [-0.5, 0.5] and Taylor's coefficients of 2^f. */
static inline __m512 exp16(__m512 x) {
  x = _mm512_max_ps(mul(x, all(1.44269504088896341f)), all(-126.f));
  __m512 n = _mm512_roundscale_ps(x, 8), f = sub(x, n), p = all(1.535336188e-4f);
  p = madd(p, f, all(1.339887440e-3f));
  p = madd(p, f, all(9.618437357e-3f));
  p = madd(p, f, all(5.550332548e-2f));
  p = madd(p, f, all(2.402264791e-1f));
  p = madd(p, f, all(6.931472028e-1f));
  p = madd(p, f, all(1.f));
  return _mm512_scalef_ps(p, n);
}

/* 1 + exp(-x), kept finite. */
static inline __m512 one_plus_exp_minus(__m512 x) {
  return add(all(1.f), exp16(_mm512_min_ps(all(80.f), sub(zero(), x))));
}

#endif
