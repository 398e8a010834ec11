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

TB_INLINE v16 scaled(v16 x, v16 scale, const float *w, size_t i) {
  x = v16_mul(x, scale);
  return w ? v16_mul(x, v16_load(w + i)) : x;
}

TB_INLINE void norm_apply(float *y, const float *x, const float *w, size_t n, v16 scale) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) v16_store(y + i, scaled(v16_load(x + i), scale, w, i));
  if (i == n) return;
  const size_t left = n - i;
  v16 v = v16_mul(v16_load_n(x + i, left), scale);
  v16_store_n(y + i, w ? v16_mul(v, v16_load_n(w + i, left)) : v, left);
}

void TB_FN(norm_rms)(float *y, const float *x, const float *w, size_t n, float eps) {
  norm_apply(y, x, w, n, v16_set1(norm_scale(x, n, eps)));
}

/* The codes follow in pieces that stay in L1. */
void TB_FN(norm_rms_q8)(float *y, int8_t *q, float *d, int16_t *s, const float *x, const float *w, size_t n,
                        float eps) {
  enum { PIECE = 1024 };
  const v16 scale = v16_set1(norm_scale(x, n, eps));
  for (size_t i = 0; i < n; i += PIECE) {
    const size_t m = n - i < PIECE ? n - i : PIECE;
    norm_apply(y + i, x + i, w ? w + i : w, m, scale);
    v16_quant_row(q + i, d + i / 32, s + i / 16, y + i, m);
  }
}
