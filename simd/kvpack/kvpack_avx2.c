#include <immintrin.h>
#include "simd/vec/inline.h"

#define TB_FN(name) tb_##name##_avx2

typedef __m128i b16;

TB_INLINE b16 b16_load(const void *p) { return _mm_loadu_si128(p); }
TB_INLINE void b16_store(void *p, b16 v) { _mm_storeu_si128(p, v); }
TB_INLINE b16 b16_or(b16 x, b16 y) { return _mm_or_si128(x, y); }
TB_INLINE b16 b16_up2(b16 v) { return _mm_slli_epi16(v, 2); }
TB_INLINE b16 b16_up4(b16 v) { return _mm_slli_epi16(v, 4); }
TB_INLINE b16 b16_high(b16 v) { return _mm_unpackhi_epi64(v, v); }
TB_INLINE b16 b16_add3(b16 v, b16 c) { return _mm_add_epi8(_mm_add_epi8(v, v), _mm_add_epi8(v, c)); }

/* ⌈256·v/243⌉ = v + ⌊(13·v + 242)/243⌋; the quotient of n ≤ 3388 by 243 is (16·n · 4316 >> 16) >> 8, as 4316 exceeds
 * 2^20/243 by less than 1/5000 of it. */
TB_INLINE __m128i thirteenths(__m128i v) {
  const __m128i n = _mm_add_epi16(_mm_mullo_epi16(v, _mm_set1_epi16(16 * 13)), _mm_set1_epi16(16 * 242));
  return _mm_srli_epi16(_mm_mulhi_epu16(n, _mm_set1_epi16(4316)), 8);
}
TB_INLINE b16 b16_trits(b16 v) {
  const __m128i zero = _mm_setzero_si128();
  const __m128i low = thirteenths(_mm_unpacklo_epi8(v, zero)), high = thirteenths(_mm_unpackhi_epi8(v, zero));
  return _mm_add_epi8(v, _mm_packus_epi16(low, high));
}

TB_INLINE void b16_columns(b16 r[4]) {
  const __m128i a = _mm_unpacklo_epi32(r[0], r[1]), b = _mm_unpacklo_epi32(r[2], r[3]);
  const __m128i c = _mm_unpackhi_epi32(r[0], r[1]), d = _mm_unpackhi_epi32(r[2], r[3]);
  r[0] = _mm_unpacklo_epi64(a, b);
  r[1] = _mm_unpackhi_epi64(a, b);
  r[2] = _mm_unpacklo_epi64(c, d);
  r[3] = _mm_unpackhi_epi64(c, d);
}

TB_INLINE void b16_interleave_low(unsigned char *p, const b16 v[4]) {
  const __m128i a = _mm_unpacklo_epi8(v[0], v[1]), b = _mm_unpacklo_epi8(v[2], v[3]);
  b16_store(p, _mm_unpacklo_epi16(a, b));
  b16_store(p + 16, _mm_unpackhi_epi16(a, b));
}
TB_INLINE void b16_interleave(unsigned char *p, const b16 v[4]) {
  const __m128i a = _mm_unpackhi_epi8(v[0], v[1]), b = _mm_unpackhi_epi8(v[2], v[3]);
  b16_interleave_low(p, v);
  b16_store(p + 32, _mm_unpacklo_epi16(a, b));
  b16_store(p + 48, _mm_unpackhi_epi16(a, b));
}

#include "simd/kvpack/kvpack_b16.h"
