#include "simd/quant/quant.h"

#include <math.h>
#include "simd/kernels.h"

void tb_quant_q8_ref(int8_t *q, float *d, int16_t *s, const float *x, size_t k) {
  for (size_t b = 0; b < k / 32; b++) {
    const float *xb = x + 32 * b;
    float m = 0;
    for (int i = 0; i < 32; i++) m = fmaxf(m, fabsf(xb[i]));
    d[b] = m / 127.0f;
    float inverse = m > 0 ? 127.0f / m : 0.0f;
    if (inverse > 3.4e38f) inverse = 0.0f; /* m is so small that 127/m overflows: the group counts as zero */
    int sum[2] = {0, 0};
    for (int i = 0; i < 32; i++) {
      const float whole = rintf(xb[i] * inverse);
      const int code = whole == whole ? (int)whole : 0;
      q[32 * b + (size_t)i] = (int8_t)code;
      sum[i / 16] += code;
    }
    s[2 * b] = (int16_t)sum[0];
    s[2 * b + 1] = (int16_t)sum[1];
  }
}
