/* 16 sums16 as two registers of 8, for cluster_lanes.h; EIGHT(acc, x, q) does one of them. */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

typedef struct {
  __m256i a, b;
} sums16;

TB_INLINE sums16 lanes_zero(void) { return (sums16){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
TB_INLINE void scores8(__m256i acc, int32_t sum, float scale, const float *dx, float offset, const float *bx, float *s) {
  const __m256 dot = _mm256_cvtepi32_ps(_mm256_sub_epi32(acc, _mm256_set1_epi32(sum)));
  const __m256 a = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_loadu_ps(dx));
  const __m256 b = _mm256_mul_ps(_mm256_set1_ps(offset), _mm256_loadu_ps(bx));
  _mm256_storeu_ps(s, _mm256_fmadd_ps(a, dot, b));
}
