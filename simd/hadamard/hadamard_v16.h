/* hadamard for every ISA (simd/hadamard/hadamard.h): include after the ISA's vec header.
 * Distances 1 … 32 of 64 values run in registers; greater ones go over memory, the last of them with the scale. */
#include "simd/kernels.h"

#include <math.h>

TB_INLINE void butterfly(v16 *a, v16 *b) {
  const v16 sum = v16_add(*a, *b);
  *b = v16_sub(*a, *b);
  *a = sum;
}

/* `width` v16 (1, 2 or 4): their own transform, times scale. */
TB_INLINE void transform(float *x, int width, v16 scale) {
  v16 v[4];
  TB_UNROLL for (int i = 0; i < width; i++) v[i] = v16_hadamard(v16_load(x + 16 * i));
  if (width > 1) butterfly(&v[0], &v[1]);
  if (width > 2) {
    butterfly(&v[2], &v[3]);
    butterfly(&v[0], &v[2]);
    butterfly(&v[1], &v[3]);
  }
  TB_UNROLL for (int i = 0; i < width; i++) v16_store(x + 16 * i, v16_mul(v[i], scale));
}

/* The stage of distance h ≥ 64. */
TB_INLINE void stage(float *x, size_t d, size_t h, v16 scale) {
  for (size_t i = 0; i < d; i += 2 * h)
    for (size_t j = i; j < i + h; j += 16) {
      v16 a = v16_load(x + j), b = v16_load(x + j + h);
      butterfly(&a, &b);
      v16_store(x + j, v16_mul(a, scale));
      v16_store(x + j + h, v16_mul(b, scale));
    }
}

void TB_FN(hadamard)(float *x, size_t d) {
  const v16 one = v16_set1(1.0f), scale = v16_set1((float)(1.0 / sqrt((double)d)));
  if (d == 16) transform(x, 1, scale);
  else if (d == 32) transform(x, 2, scale);
  else
    for (size_t i = 0; i < d; i += 64) transform(x + i, 4, d == 64 ? scale : one);
  for (size_t h = 64; h < d; h *= 2) stage(x, d, h, 2 * h == d ? scale : one);
}
