/* quant: floats to 8-bit activation codes (simd/act.h). For each group of 32:
 *     m = max |x|,  d = m / 127,  q = round-half-to-even(x · (127 / m)),  s = sums of 16 codes;
 * m == 0, or so small that 127/m overflows, gives zero codes. k is a multiple of 32, x is finite. Contract EXACT. */
#ifndef TB_SIMD_QUANT_H
#define TB_SIMD_QUANT_H

#include <stddef.h>
#include <stdint.h>

#define TB_QUANT_Q8_ARGS (int8_t *q, float *d, int16_t *s, const float *x, size_t k)
typedef void tb_quant_q8_t TB_QUANT_Q8_ARGS;

#endif
