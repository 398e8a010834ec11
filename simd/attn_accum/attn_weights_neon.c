/* attn_weights for NEON (simd/attn_accum/attn_accum.h). Up to four query heads at a time, as attn_fold. */
#include "simd/vec/vec_neon.h"

#include "simd/kernels.h"

TB_INLINE void weigh(int8_t *w, float *a, float *b, const float *p, size_t ldp, size_t n, const uint8_t *scale,
                     uint32_t base_bits, float centre, size_t tokens) {
  float scales[TB_KV_BLOCK], m[4], sums[4];
  float32x4_t most[4]; /* one register per head: the largest of a set is the same in any order */
  v16 inverse[4];
  int16x8_t sum[4];
  for (size_t g = 0; g < 4; g++) {
    most[g] = vdupq_n_f32(0);
    sum[g] = vdupq_n_s16(0);
  }
  for (size_t t = 0; t < tokens; t += 16) {
    const v16 s = v16_load_scale8(scale + t, base_bits);
    v16_store(scales + t, s);
    for (size_t g = 0; g < n; g++) {
      const v16 y = v16_mul(v16_load(p + g * ldp + t), s);
      most[g] = vmaxq_f32(vmaxq_f32(vmaxq_f32(y.a, y.b), vmaxq_f32(y.c, y.d)), most[g]);
    }
  }
  v16_largest(m, most[0], most[1], most[2], most[3]);
  for (size_t g = 0; g < n; g++) inverse[g] = v16_set1(m[g] >= 0x1p-100f ? 127.0f / m[g] : 0.0f);
  for (size_t t = 0; t < tokens; t += 16) {
    const v16 s = v16_load(scales + t);
    for (size_t g = 0; g < n; g++) {
      const v16 y = v16_mul(v16_load(p + g * ldp + t), s);
      sum[g] = v16_store_codes(w + g * TB_KV_BLOCK + t, v16_mul(y, inverse[g]), sum[g]);
    }
  }
  v16_code_sums(sums, sum[0], sum[1], sum[2], sum[3]);
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
