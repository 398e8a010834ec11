#include "simd/hadamard/hadamard.h"

#include <math.h>
#include "simd/kernels.h"

void tb_hadamard_ref(float *x, size_t d) {
  for (size_t h = 1; h < d; h *= 2)
    for (size_t i = 0; i < d; i++) {
      if (i & h) continue;
      float a = x[i], b = x[i + h];
      x[i] = a + b;
      x[i + h] = a - b;
    }
  const float scale = (float)(1.0 / sqrt((double)d));
  for (size_t i = 0; i < d; i++) x[i] *= scale;
}
