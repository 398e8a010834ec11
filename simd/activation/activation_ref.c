#include "simd/activation/activation.h"

#include <math.h>
#include "simd/kernels.h"

void tb_silu_mul_ref(float *y, const float *gate, const float *up, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = (float)(gate[i] / (1.0 + exp(-(double)gate[i])) * up[i]);
}

void tb_gelu_mul_ref(float *y, const float *gate, const float *up, size_t n) {
  const double sqrt_2_over_pi = 0.79788456080286535588;
  for (size_t i = 0; i < n; i++) {
    double x = gate[i];
    y[i] = (float)(0.5 * x * (1.0 + tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x))) * up[i]);
  }
}

void tb_silu_mul_q8_ref(float *y, int8_t *q, float *d, int16_t *s, const float *gate, const float *up, size_t n) {
  tb_silu_mul_ref(y, gate, up, n);
  tb_quant_q8_ref(q, d, s, y, n);
}

void tb_gelu_mul_q8_ref(float *y, int8_t *q, float *d, int16_t *s, const float *gate, const float *up, size_t n) {
  tb_gelu_mul_ref(y, gate, up, n);
  tb_quant_q8_ref(q, d, s, y, n);
}
