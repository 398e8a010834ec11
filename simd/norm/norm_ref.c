#include "simd/norm/norm.h"

#include <math.h>
#include "simd/kernels.h"

void tb_norm_rms_ref(float *y, const float *x, const float *w, size_t n, float eps) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
  double scale = 1.0 / sqrt(sum / (double)n + eps);
  for (size_t i = 0; i < n; i++) y[i] = (float)(x[i] * scale * (w ? w[i] : 1.0f));
}
