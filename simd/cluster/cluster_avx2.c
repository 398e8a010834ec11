#include "simd/vec/vec_avx2.h"

#include "simd/cluster/cluster_x86.h"
#include "simd/vec/dword.h"

/* Magnitudes, and the codes themselves for their signs: |x|·(±q) pairs stay below 2·127² < 2^15. */
typedef struct {
  __m256i a, b, abs_a, abs_b;
} codes64;

TB_INLINE codes64 line_load(const int8_t *p) {
  const __m256i a = _mm256_load_si256((const void *)p), b = _mm256_load_si256((const void *)(p + 32));
  return (codes64){a, b, _mm256_abs_epi8(a), _mm256_abs_epi8(b)};
}
TB_INLINE __m256i eight(__m256i acc, __m256i x, __m256i abs_x, __m256i q) {
  const __m256i pairs = _mm256_maddubs_epi16(abs_x, _mm256_sign_epi8(q, x));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
TB_INLINE sums16 lanes_step(sums16 acc, codes64 x, __m256i q) {
  return (sums16){eight(acc.a, x.a, x.abs_a, q), eight(acc.b, x.b, x.abs_b, q)};
}
#define LANES_STEP(acc, x, q) lanes_step(acc, x, _mm256_set1_epi32(tb_dword(q)))
TB_INLINE void lanes_scores(sums16 acc, int32_t sum, float scale, const float *dx, float offset, const float *bx,
                            float *s) {
  (void)sum;
  scores8(acc.a, 0, scale, dx, offset, bx, s);
  scores8(acc.b, 0, scale, dx + 8, offset, bx + 8, s + 8);
}
TB_INLINE __m256i bins8(const float *p) {
  __m256i at = _mm256_srli_epi32(_mm256_loadu_si256((const void *)p), 20);
  at = _mm256_max_epi32(_mm256_sub_epi32(at, _mm256_set1_epi32(761)), _mm256_setzero_si256());
  return _mm256_min_epi32(at, _mm256_set1_epi32(255));
}
TB_INLINE void bins16(uint8_t *bin, const float *p) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(bins8(p), bins8(p + 8)), 0xd8);
  _mm_storeu_si128((void *)bin, _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

#include "simd/cluster/cluster_lanes.h"
#include "simd/cluster/cluster_v16.h"
