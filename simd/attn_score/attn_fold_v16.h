/* attn_fold for x86 (simd/attn_score/attn_score.h): include after the ISA's vec header. Up to four query heads at a
 * time: their chains of dependent steps, from the largest value to the scale, run side by side. */
#include "simd/kernels.h"

TB_INLINE void fold(int8_t *codes, float *a, float *b, const float *q, size_t ldq, size_t n, const uint16_t *step,
                    const uint16_t *mid, size_t planes) {
  float v[4][TB_KV_PLANES_MAX], m[4], middles[4], sums[4];
  v16 most[4], middle[4];
  i32 sum[4];
  for (size_t g = 0; g < 4; g++) {
    most[g] = middle[g] = v16_zero();
    sum[g] = i32_zero();
  }
  for (size_t c = 0; c < planes; c += 16) {
    const v16 s = v16_load_f16(step + c), between = mid ? v16_load_f16(mid + c) : v16_zero();
    for (size_t g = 0; g < n; g++) {
      const v16 x = v16_load(q + g * ldq + c), y = v16_mul(x, s);
      most[g] = v16_max(v16_abs(y), most[g]);
      middle[g] = v16_fma(x, between, middle[g]);
      v16_store(v[g] + c, y);
    }
  }
  v16_hmax4(m, most[0], most[1], most[2], most[3]);
  v16_hsum4(middles, middle[0], middle[1], middle[2], middle[3]);
  for (size_t g = 0; g < n; g++) {
    const v16 inverse = v16_set1(m[g] >= 0x1p-100f ? 127.0f / m[g] : 0.0f);
    for (size_t c = 0; c < planes; c += 16) sum[g] = v16_store_codes(codes + g * planes + c, v16_mul(v16_load(v[g] + c), inverse), sum[g]);
  }
  i32_hsum4(sums, sum[0], sum[1], sum[2], sum[3]);
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
