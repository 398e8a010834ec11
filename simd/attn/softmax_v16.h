/* attn_max and attn_exp for every ISA (simd/attn/attn.h): include after the ISA's vec header. */
#include "simd/kernels.h"

#include "simd/vec/vec_math.h"

float TB_FN(attn_max)(const float *s, size_t n) {
  if (n < 16) {
    float m = s[0];
    for (size_t i = 1; i < n; i++) m = s[i] > m ? s[i] : m;
    return m;
  }
  v16 m = v16_load(s + n - 16); /* overlaps the last whole group */
  for (size_t i = 0; i + 16 <= n; i += 16) m = v16_max(m, v16_load(s + i));
  return v16_hmax(m);
}

float TB_FN(attn_exp)(float *s, size_t n, float m) {
  const v16 top = v16_set1(m);
  v16 sum = v16_zero();
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    v16 e = v16_exp_fast(v16_sub(v16_load(s + i), top));
    v16_store(s + i, e);
    sum = v16_add(sum, e);
  }
  if (i < n) { /* read back, so that missing lanes add 0 */
    v16_store_n(s + i, v16_exp_fast(v16_sub(v16_load_n(s + i, n - i), top)), n - i);
    sum = v16_add(sum, v16_load_n(s + i, n - i));
  }
  return v16_hsum(sum);
}
