#include "simd/vec/vnni.h"

#define TB_FN(name) tb_##name##_avxvnni

#include "simd/cluster/cluster_x86.h"

typedef sums16 codes64; /* codes + 128 */

TB_INLINE codes64 line_load(const int8_t *p) {
  const __m256i sign = _mm256_set1_epi8(-128);
  return (codes64){_mm256_xor_si256(_mm256_load_si256((const void *)p), sign),
                _mm256_xor_si256(_mm256_load_si256((const void *)(p + 32)), sign)};
}
TB_INLINE sums16 lanes_step(sums16 acc, codes64 x, __m256i q) {
  return (sums16){tb_dot256(acc.a, x.a, q), tb_dot256(acc.b, x.b, q)};
}
#define LANES_STEP(acc, x, q) lanes_step(acc, x, _mm256_set1_epi32(tb_dword(q)))
TB_INLINE void lanes_scores(sums16 acc, int32_t sum, float scale, const float *dx, float offset, const float *bx,
                            float *s) {
  scores8(acc.a, 128 * sum, scale, dx, offset, bx, s);
  scores8(acc.b, 128 * sum, scale, dx + 8, offset, bx + 8, s + 8);
}

#include "simd/cluster/cluster_lanes.h"
