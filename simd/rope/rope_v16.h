/* rope for every ISA (simd/rope/rope.h): include after the ISA's vec header. */
#include "simd/kernels.h"

#include <string.h>

void TB_FN(rope_norm)(float *x, const float *cos, const float *sin, size_t n_rot) {
  const size_t pairs = n_rot / 2;
  size_t i = 0;
  for (; i + 8 <= pairs; i += 8) v16_store(x + 2 * i, v16_rotate_pairs(v16_load(x + 2 * i), cos + i, sin + i));
  if (i == pairs) return;
  float c[8] = {0}, s[8] = {0};
  memcpy(c, cos + i, (pairs - i) * sizeof *c);
  memcpy(s, sin + i, (pairs - i) * sizeof *s);
  const size_t left = 2 * (pairs - i);
  v16_store_n(x + 2 * i, v16_rotate_pairs(v16_load_n(x + 2 * i, left), c, s), left);
}

void TB_FN(rope_neox)(float *x, const float *cos, const float *sin, size_t n_rot) {
  const size_t pairs = n_rot / 2;
  float *y = x + pairs;
  size_t i = 0;
  for (; i + 16 <= pairs; i += 16) {
    v16 a = v16_load(x + i), b = v16_load(y + i), c = v16_load(cos + i), s = v16_load(sin + i);
    v16_store(x + i, v16_sub(v16_mul(a, c), v16_mul(b, s)));
    v16_store(y + i, v16_add(v16_mul(a, s), v16_mul(b, c)));
  }
  if (i == pairs) return;
  const size_t left = pairs - i;
  v16 a = v16_load_n(x + i, left), b = v16_load_n(y + i, left);
  v16 c = v16_load_n(cos + i, left), s = v16_load_n(sin + i, left);
  v16_store_n(x + i, v16_sub(v16_mul(a, c), v16_mul(b, s)), left);
  v16_store_n(y + i, v16_add(v16_mul(a, s), v16_mul(b, c)), left);
}
