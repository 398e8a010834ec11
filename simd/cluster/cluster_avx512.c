#include "simd/vec/vec_avx512.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "simd/vec/vnni.h"

typedef __m512i sums16;
typedef __m512i codes64; /* codes + 128: the instruction wants one unsigned factor */

TB_INLINE sums16 lanes_zero(void) { return _mm512_setzero_si512(); }
TB_INLINE codes64 line_load(const void *p) { return _mm512_xor_si512(_mm512_load_si512(p), _mm512_set1_epi8(-128)); }
#define LANES_STEP(acc, x, q) tb_dot512(acc, x, _mm512_set1_epi32(tb_dword(q)))
TB_INLINE void lanes_scores(sums16 acc, int32_t sum, float scale, const float *dx, float offset, const float *bx,
                            float *s) {
  const __m512 dot = _mm512_cvtepi32_ps(_mm512_sub_epi32(acc, _mm512_set1_epi32(128 * sum)));
  const __m512 a = _mm512_mul_ps(_mm512_set1_ps(scale), _mm512_loadu_ps(dx));
  const __m512 b = _mm512_mul_ps(_mm512_set1_ps(offset), _mm512_loadu_ps(bx));
  _mm512_storeu_ps(s, _mm512_fmadd_ps(a, dot, b));
}
TB_INLINE void bins16(uint8_t *bin, const float *p) {
  __m512i at = _mm512_sub_epi32(_mm512_srli_epi32(_mm512_loadu_si512(p), 20), _mm512_set1_epi32(761));
  at = _mm512_min_epi32(_mm512_max_epi32(at, _mm512_setzero_si512()), _mm512_set1_epi32(255));
  _mm_storeu_si128((void *)bin, _mm512_cvtepi32_epi8(at));
}

#include "simd/cluster/cluster_lanes.h"
#include "simd/cluster/cluster_v16.h"
