/* attn_weights for x86 (simd/attn_accum/attn_accum.h): include after the ISA's vec header. Up to four query heads at
 * a time, as attn_fold. */
#include "simd/kernels.h"

TB_INLINE void weigh(int8_t *w, float *a, float *b, const float *p, size_t ldp, size_t n, const uint8_t *scale,
                     uint32_t base_bits, float centre, size_t tokens) {
  float x[4][TB_KV_BLOCK], m[4], sums[4];
  v16 most[4];
  i32 sum[4];
  for (size_t g = 0; g < 4; g++) {
    most[g] = v16_zero();
    sum[g] = i32_zero();
  }
  for (size_t t = 0; t < tokens; t += 16) {
    const v16 s = v16_load_scale8(scale + t, base_bits);
    for (size_t g = 0; g < n; g++) {
      const v16 y = v16_mul(v16_load(p + g * ldp + t), s);
      most[g] = v16_max(y, most[g]);
      v16_store(x[g] + t, y);
    }
  }
  v16_hmax4(m, most[0], most[1], most[2], most[3]);
  for (size_t g = 0; g < n; g++) {
    const v16 inverse = v16_set1(m[g] >= 0x1p-100f ? 127.0f / m[g] : 0.0f);
    for (size_t t = 0; t < tokens; t += 16)
      sum[g] = v16_store_codes(w + g * TB_KV_BLOCK + t, v16_mul(v16_load(x[g] + t), inverse), sum[g]);
  }
  i32_hsum4(sums, sum[0], sum[1], sum[2], sum[3]);
  for (size_t g = 0; g < n; g++) {
    a[g] = m[g] >= 0x1p-100f ? m[g] / 127.0f : 0.0f;
    b[g] = -(centre * a[g]) * sums[g];
  }
}

void TB_FN(attn_weights) TB_ATTN_WEIGHTS_ARGS {
  for (; n_q >= 4; n_q -= 4, w += 4 * TB_KV_BLOCK, a += 4, b += 4, p += 4 * ldp)
    weigh(w, a, b, p, ldp, 4, scale, base_bits, centre, n);
  if (n_q == 3) weigh(w, a, b, p, ldp, 3, scale, base_bits, centre, n);
  else if (n_q == 2) weigh(w, a, b, p, ldp, 2, scale, base_bits, centre, n);
  else if (n_q == 1) weigh(w, a, b, p, ldp, 1, scale, base_bits, centre, n);
}
