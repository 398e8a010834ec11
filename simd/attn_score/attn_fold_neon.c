/* attn_fold for NEON (simd/attn_score/attn_score.h). Up to four query heads at a time: steps are converted once for them,
 * and their chains from the largest value to the scale run side by side. */
#include "simd/vec/vec_neon.h"

#include "simd/kernels.h"

TB_INLINE void fold(int8_t *codes, float *a, float *b, const float *q, size_t ldq, size_t n, const uint16_t *step,
                    const uint16_t *mid, size_t planes) {
  float steps[TB_KV_PLANES_MAX], m[4], middles[4], sums[4];
  float32x4_t most[4]; /* one register per head: the largest of a set is the same in any order */
  v16 middle[4], inverse[4];
  int16x8_t sum[4];
  for (size_t g = 0; g < 4; g++) {
    most[g] = vdupq_n_f32(0);
    middle[g] = v16_zero();
    sum[g] = vdupq_n_s16(0);
  }
#define QUARTER(part, at)                                                                                              \
  do {                                                                                                                 \
    const float32x4_t s = v16_half4(step + c + (at)), between = mid ? v16_half4(mid + c + (at)) : vdupq_n_f32(0);      \
    vst1q_f32(steps + c + (at), s);                                                                                    \
    for (size_t g = 0; g < n; g++) {                                                                                   \
      const float32x4_t x = vld1q_f32(q + g * ldq + c + (at));                                                         \
      most[g] = vmaxq_f32(vabsq_f32(vmulq_f32(x, s)), most[g]);                                                        \
      middle[g].part = vfmaq_f32(middle[g].part, x, between);                                                          \
    }                                                                                                                  \
  } while (0)
  for (size_t c = 0; c < planes; c += 16) {
    QUARTER(a, 0);
    QUARTER(b, 4);
    QUARTER(c, 8);
    QUARTER(d, 12);
  }
#undef QUARTER
  v16_largest(m, most[0], most[1], most[2], most[3]);
  v16_hsum4(middles, middle[0], middle[1], middle[2], middle[3]);
  for (size_t g = 0; g < n; g++) inverse[g] = v16_set1(m[g] >= 0x1p-100f ? 127.0f / m[g] : 0.0f);
  for (size_t c = 0; c < planes; c += 16) {
    const v16 s = v16_load(steps + c);
    for (size_t g = 0; g < n; g++) {
      const v16 y = v16_mul(v16_load(q + g * ldq + c), s);
      sum[g] = v16_store_codes(codes + g * planes + c, v16_mul(y, inverse[g]), sum[g]);
    }
  }
  v16_code_sums(sums, sum[0], sum[1], sum[2], sum[3]);
  for (size_t g = 0; g < n; g++) {
    a[g] = m[g] >= 0x1p-100f ? m[g] / 127.0f : 0.0f;
    const float centre = 1.5f * a[g] * sums[g];
    b[g] = middles[g] - centre;
  }
}

void TB_FN(attn_fold) TB_ATTN_FOLD_ARGS {
  for (; n_q >= 4; n_q -= 4, codes += 4 * planes, a += 4, b += 4, q += 4 * ldq)
    fold(codes, a, b, q, ldq, 4, step, mid, planes);
  if (n_q == 3) fold(codes, a, b, q, ldq, 3, step, mid, planes);
  else if (n_q == 2) fold(codes, a, b, q, ldq, 2, step, mid, planes);
  else if (n_q == 1) fold(codes, a, b, q, ldq, 1, step, mid, planes);
}
