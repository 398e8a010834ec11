#include "simd/norm/norm.h"

#include <math.h>
#include "simd/kernels.h"

void tb_norm_rms_ref(float *y, const float *x, const float *w, size_t n, float eps) {
  double sum[16] = {0};
  for (size_t i = 0; i < n; i++) sum[i % 16] += (double)x[i] * x[i];
  for (int i = 0; i < 8; i++) sum[i] += sum[i + 8];
  for (int i = 0; i < 4; i++) sum[i] += sum[i + 4];
  double mean = ((sum[0] + sum[1]) + (sum[2] + sum[3])) / (double)n;
  float scale = (float)(1.0 / sqrt(mean + (double)eps));
  for (size_t i = 0; i < n; i++) y[i] = w ? x[i] * scale * w[i] : x[i] * scale;
}

void tb_norm_rms_q8_ref(float *y, int8_t *q, float *d, int16_t *s, const float *x, const float *w, size_t n, float eps) {
  tb_norm_rms_ref(y, x, w, n, eps);
  tb_quant_q8_ref(q, d, s, y, n);
}
