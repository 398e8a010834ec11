/* The exponentials of simd/vec/vec_math.h as functions that a test can call: include after an ISA's vec header. */
#include "simd/vec/vec_math.h"
#include "tests/kernels/exp_test.h"

void TB_FN(exp_ours)(float *y, const float *x, size_t n) {
  for (size_t i = 0; i + 16 <= n; i += 16) v16_store(y + i, v16_exp_ours(v16_load(x + i)));
}

void TB_FN(exp_built)(float *y, const float *x, size_t n) {
  for (size_t i = 0; i + 16 <= n; i += 16) v16_store(y + i, v16_exp(v16_load(x + i)));
}
