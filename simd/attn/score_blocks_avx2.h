/* Vectors of simd/attn/score_blocks_x86.h with 256 bits: 8 tokens. TB_VNNI chooses the dot products: VNNI's or AVX2's. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include "simd/vec/inline.h"

enum { TOKENS = 8 };
typedef __m256i vint;
typedef __m256 vflt;

TB_INLINE vint v_set32(int32_t x) { return _mm256_set1_epi32(x); }
TB_INLINE vint v_unpacklo32(vint a, vint b) { return _mm256_unpacklo_epi32(a, b); }
TB_INLINE vint v_unpackhi32(vint a, vint b) { return _mm256_unpackhi_epi32(a, b); }
TB_INLINE vint v_unpacklo64(vint a, vint b) { return _mm256_unpacklo_epi64(a, b); }
TB_INLINE vint v_unpackhi64(vint a, vint b) { return _mm256_unpackhi_epi64(a, b); }
TB_INLINE vint v_low_nibbles(vint a) { return _mm256_and_si256(a, _mm256_set1_epi8(15)); }
TB_INLINE vint v_high_nibbles(vint a) { return v_low_nibbles(_mm256_srli_epi16(a, 4)); }
TB_INLINE vint v_rows(const unsigned char *p, size_t four) {
  __m128i a = _mm_loadu_si128((const void *)p), b = _mm_loadu_si128((const void *)(p + four));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}

TB_INLINE vflt v_setf(float x) { return _mm256_set1_ps(x); }
TB_INLINE vflt v_half(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p)); }
TB_INLINE vflt v_float(vint x) { return _mm256_cvtepi32_ps(x); }
TB_INLINE vflt v_mul(vflt a, vflt b) { return _mm256_mul_ps(a, b); }
TB_INLINE vflt v_addf(vflt a, vflt b) { return _mm256_add_ps(a, b); }
TB_INLINE void v_store(float *p, vflt x) { _mm256_storeu_ps(p, x); }
TB_INLINE void v_store_n(float *p, vflt x, size_t n) {
  if (n == TOKENS) v_store(p, x);
  else _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)), x);
}

#if TB_VNNI
/* Unsigned times signed, so signed codes are raised by 128 and 128·Σq is taken off. */
TB_INLINE vint v_start_q8(int sum) { return v_set32(-128 * sum); }
TB_INLINE vint v_dot_q8(vint acc, vint k, vint q) {
  return _mm256_dpbusd_avx_epi32(acc, _mm256_xor_si256(k, _mm256_set1_epi8(-128)), q);
}
TB_INLINE vint v_start_q4(int sum) { return v_set32(-8 * sum); }
TB_INLINE vint v_dot_q4(vint acc, vint k, vint q) { return _mm256_dpbusd_avx_epi32(acc, k, q); }
TB_INLINE vint v_finish_q4(vint acc, int sum) {
  (void)sum;
  return acc;
}
#else
/* |k| times q with k's sign: pairs reach 2 · 128 · 127 < 2^15, so nothing saturates, for k = -128 too. */
TB_INLINE vint v_start_q8(int sum) {
  (void)sum;
  return _mm256_setzero_si256();
}
TB_INLINE vint v_dot_q8(vint acc, vint k, vint q) {
  vint pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(k), _mm256_sign_epi8(q, k));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
/* Pairs reach 2 · 15 · 127 = 3810, the eight of a block 30480: 16 bits hold them until the end. */
TB_INLINE vint v_start_q4(int sum) { return v_start_q8(sum); }
TB_INLINE vint v_dot_q4(vint acc, vint k, vint q) { return _mm256_add_epi16(acc, _mm256_maddubs_epi16(k, q)); }
TB_INLINE vint v_finish_q4(vint acc, int sum) {
  return _mm256_sub_epi32(_mm256_madd_epi16(acc, _mm256_set1_epi16(1)), v_set32(8 * sum));
}
#endif
