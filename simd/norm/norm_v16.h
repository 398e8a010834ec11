/* norm for every ISA (simd/norm/norm.h): include after the ISA's vec header. */
#include "simd/kernels.h"

#include <math.h>
#include "simd/vec/vec_quant.h"

static float norm_scale(const float *x, size_t n, float eps) {
  d16 sum = d16_zero();
  size_t i = 0;
  for (; i + 16 <= n; i += 16) sum = d16_add_squares(sum, v16_load(x + i));
  if (i < n) sum = d16_add_squares(sum, v16_load_n(x + i, n - i));
  return (float)(1.0 / sqrt(d16_hsum(sum) / (double)n + (double)eps));
}

void TB_FN(norm_rms)(float *y, const float *x, const float *w, size_t n, float eps) {
  const v16 scale = v16_set1(norm_scale(x, n, eps));
  size_t i = 0;
  if (w) {
    for (; i + 16 <= n; i += 16) v16_store(y + i, v16_mul(v16_mul(v16_load(x + i), scale), v16_load(w + i)));
    if (i < n) v16_store_n(y + i, v16_mul(v16_mul(v16_load_n(x + i, n - i), scale), v16_load_n(w + i, n - i)), n - i);
  } else {
    for (; i + 16 <= n; i += 16) v16_store(y + i, v16_mul(v16_load(x + i), scale));
    if (i < n) v16_store_n(y + i, v16_mul(v16_load_n(x + i, n - i), scale), n - i);
  }
}

void TB_FN(norm_rms_q8)(float *y, int8_t *q, float *d, int16_t *s, const float *x, const float *w, size_t n,
                        float eps) {
  const v16 scale = v16_set1(norm_scale(x, n, eps)), one = v16_set1(1.0f);
  for (size_t i = 0; i + 32 <= n; i += 32) {
    v16 a = v16_mul(v16_mul(v16_load(x + i), scale), w ? v16_load(w + i) : one);
    v16 b = v16_mul(v16_mul(v16_load(x + i + 16), scale), w ? v16_load(w + i + 16) : one);
    v16_store(y + i, a);
    v16_store(y + i + 16, b);
    v16_quant_q8(q + i, d + i / 32, s + i / 16, a, b);
  }
}
