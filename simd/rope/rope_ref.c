#include "simd/rope/rope.h"

#include "simd/kernels.h"

static void rotate(float *a, float *b, float c, float s) {
  float ac = *a * c, bs = *b * s, as = *a * s, bc = *b * c;
  *a = ac - bs;
  *b = as + bc;
}

void tb_rope_norm_ref(float *x, const float *cos, const float *sin, size_t n_rot) {
  for (size_t i = 0; i < n_rot / 2; i++) rotate(&x[2 * i], &x[2 * i + 1], cos[i], sin[i]);
}

void tb_rope_neox_ref(float *x, const float *cos, const float *sin, size_t n_rot) {
  for (size_t i = 0; i < n_rot / 2; i++) rotate(&x[i], &x[i + n_rot / 2], cos[i], sin[i]);
}
