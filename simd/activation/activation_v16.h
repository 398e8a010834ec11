/* activation for every ISA (simd/activation/activation.h): include after the ISA's vec header. */
#include "simd/kernels.h"

#include "simd/vec/vec_math.h"
#include "simd/vec/vec_quant.h"

TB_INLINE v16 silu(v16 x, v16 up) {
  v16 e = v16_exp(v16_sub(v16_zero(), x));
  return v16_mul(v16_div(x, v16_add(v16_set1(1.0f), e)), up);
}

TB_INLINE v16 gelu(v16 x, v16 up) {
  /* -2u = x·(a + b·x²), a = -2·sqrt(2/pi), b = 0.044715·a; an overflow ends in exp(±inf), which is right. */
  v16 t = v16_fma(v16_mul(x, x), v16_set1(-0.07135481627260025f), v16_set1(-1.5957691216057308f));
  v16 e = v16_exp(v16_mul(x, t));
  return v16_mul(v16_div(x, v16_add(v16_set1(1.0f), e)), up);
}

enum { PIECE = 1024 }; /* floats whose codes follow at once, while they are in L1 */

#define ACTIVATION(fn)                                                                                                 \
  void TB_FN(fn##_mul)(float *y, const float *gate, const float *up, size_t n) {                                       \
    size_t i = 0;                                                                                                      \
    for (; i + 16 <= n; i += 16) v16_store(y + i, fn(v16_load(gate + i), v16_load(up + i)));                           \
    if (i < n) v16_store_n(y + i, fn(v16_load_n(gate + i, n - i), v16_load_n(up + i, n - i)), n - i);                  \
  }                                                                                                                    \
  void TB_FN(fn##_mul_q8)(float *y, int8_t *q, float *d, int16_t *s, const float *gate, const float *up, size_t n) {   \
    for (size_t i = 0; i < n; i += PIECE) {                                                                            \
      const size_t m = n - i < PIECE ? n - i : PIECE;                                                                  \
      TB_FN(fn##_mul)(y + i, gate + i, up + i, m);                                                                     \
      v16_quant_row(q + i, d + i / 32, s + i / 16, y + i, m);                                                          \
    }                                                                                                                  \
  }
ACTIVATION(silu)
ACTIVATION(gelu)
