/* Vectors of simd/attn/score_blocks_x86.h with 512 bits and VNNI: 16 tokens. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include "simd/vec/inline.h"

#define TB_FN(name) tb_##name##_avx512

enum { TOKENS = 16 };
typedef __m512i vint;
typedef __m512 vflt;

TB_INLINE vint v_set32(int32_t x) { return _mm512_set1_epi32(x); }
TB_INLINE vint v_unpacklo32(vint a, vint b) { return _mm512_unpacklo_epi32(a, b); }
TB_INLINE vint v_unpackhi32(vint a, vint b) { return _mm512_unpackhi_epi32(a, b); }
TB_INLINE vint v_unpacklo64(vint a, vint b) { return _mm512_unpacklo_epi64(a, b); }
TB_INLINE vint v_unpackhi64(vint a, vint b) { return _mm512_unpackhi_epi64(a, b); }
TB_INLINE vint v_low_nibbles(vint a) { return _mm512_and_si512(a, _mm512_set1_epi8(15)); }
TB_INLINE vint v_high_nibbles(vint a) { return v_low_nibbles(_mm512_srli_epi16(a, 4)); }
TB_INLINE __m128i v_row(const unsigned char *p) { return _mm_loadu_si128((const void *)p); }
TB_INLINE vint v_rows(const unsigned char *p, size_t four) {
  vint a = _mm512_castsi128_si512(v_row(p));
  a = _mm512_inserti32x4(a, v_row(p + four), 1);
  a = _mm512_inserti32x4(a, v_row(p + 2 * four), 2);
  return _mm512_inserti32x4(a, v_row(p + 3 * four), 3);
}

TB_INLINE vflt v_setf(float x) { return _mm512_set1_ps(x); }
TB_INLINE vflt v_half(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p)); }
TB_INLINE vflt v_float(vint x) { return _mm512_cvtepi32_ps(x); }
TB_INLINE vflt v_mul(vflt a, vflt b) { return _mm512_mul_ps(a, b); }
TB_INLINE vflt v_addf(vflt a, vflt b) { return _mm512_add_ps(a, b); }
TB_INLINE void v_store_n(float *p, vflt x, size_t n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x); }

/* Unsigned times signed, so signed codes are raised by 128 and 128·Σq is taken off. */
TB_INLINE vint v_start_q8(int sum) { return v_set32(-128 * sum); }
TB_INLINE vint v_dot_q8(vint acc, vint k, vint q) {
  return _mm512_dpbusd_epi32(acc, _mm512_xor_si512(k, _mm512_set1_epi8(-128)), q);
}
TB_INLINE vint v_start_q4(int sum) { return v_set32(-8 * sum); }
TB_INLINE vint v_dot_q4(vint acc, vint k, vint q) { return _mm512_dpbusd_epi32(acc, k, q); }
TB_INLINE vint v_finish_q4(vint acc, int sum) {
  (void)sum;
  return acc;
}

#include "simd/attn/score_blocks_x86.h"
