/* quant for every ISA (simd/quant/quant.h): include after the ISA's vec header. */
#include "simd/kernels.h"

#include "simd/vec/vec_quant.h"

void TB_FN(quant_q8)(int8_t *q, float *d, int16_t *s, const float *x, size_t k) { v16_quant_row(q, d, s, x, k); }
