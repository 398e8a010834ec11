#include "simd/vec/vec_avx2.h"
#include "simd/kvdequant/keys16_x86.h"

typedef struct { __m256i a, b; } dwords;
typedef __m256 codebook;

TB_INLINE dwords dwords_load(const unsigned char *line) {
  return (dwords){_mm256_load_si256((const void *)line), _mm256_load_si256((const void *)(line + 32))};
}
TB_INLINE dwords dwords_load_narrow(const unsigned char *line) {
  const __m256i w = _mm256_load_si256((const void *)line);
  return (dwords){w, _mm256_srli_epi32(w, 2)};
}
TB_INLINE __m256i triple(__m256i y) { return _mm256_add_epi8(y, _mm256_add_epi8(y, y)); }
TB_INLINE dwords dwords_triple(dwords y) { return (dwords){triple(y.a), triple(y.b)}; }

/* The number of thresholds 256/3 and 512/3 that a byte reaches. */
TB_INLINE __m256i trits(__m256i y) {
  __m256i third = _mm256_cmpeq_epi8(_mm256_max_epu8(y, _mm256_set1_epi8(86)), y);
  __m256i thirds = _mm256_cmpeq_epi8(_mm256_max_epu8(y, _mm256_set1_epi8((char)171)), y);
  return _mm256_sub_epi8(_mm256_setzero_si256(), _mm256_add_epi8(third, thirds));
}
TB_INLINE dwords dwords_trits(dwords y) { return (dwords){trits(y.a), trits(y.b)}; }

TB_INLINE codebook codebook_of(float step, float centre) {
  const __m128 l = levels4(step, centre);
  return _mm256_set_m128(l, l);
}
TB_INLINE v16 dwords_level(dwords w, unsigned at, codebook l) {
  return v16_of(_mm256_permutevar_ps(l, _mm256_srli_epi32(w.a, (int)at)),
                _mm256_permutevar_ps(l, _mm256_srli_epi32(w.b, (int)at)));
}

#include "simd/kvdequant/kvdequant_v16.h"
