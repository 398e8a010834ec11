/* norm: y_i = x_i · w_i / sqrt(mean(x²) + eps)   (RMSNorm, arXiv 1910.07467). y may be x. w may be NULL (all ones).
 *   norm_rms:     n floats
 *   norm_rms_q8:  the same floats, and their 8-bit codes as quant_q8 (simd/quant/quant.h) makes them; n is a multiple
 *                 of 32
 * Contract EXACT. The squares are summed in double precision, where each is exact, in 16 chains (i mod 16) that are
 * then added as i + (i+8), i + (i+4), (0+1) + (2+3); 1/sqrt is rounded to float; then two float products. For
 * eps ≥ 2^-100 and |x| ≤ 2^125 a result is within 4 · 2^-24 of the real number, relatively, whatever n is. x finite. */
#ifndef TB_SIMD_NORM_H
#define TB_SIMD_NORM_H

#include <stddef.h>
#include <stdint.h>

#define TB_NORM_RMS_ARGS (float *y, const float *x, const float *w, size_t n, float eps)
#define TB_NORM_RMS_Q8_ARGS                                                                                            \
  (float *y, int8_t *q, float *d, int16_t *s, const float *x, const float *w, size_t n, float eps)

typedef void tb_norm_rms_t TB_NORM_RMS_ARGS;
typedef void tb_norm_rms_q8_t TB_NORM_RMS_Q8_ARGS;

#endif
