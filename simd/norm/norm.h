/* norm: y_i = x_i · w_i / sqrt(mean(x²) + eps)   (RMSNorm, arXiv 1910.07467). y may be x. w may be NULL (all ones).
 * Contract BOUND: |y - exact| ≤ (n/16 + 16) · 2^-24 · |exact|: the sum of squares runs in at least 8 chains (all terms
 * positive, so the relative error is at most the number of additions per chain), the rest is four roundings. */
#ifndef TB_SIMD_NORM_H
#define TB_SIMD_NORM_H

#include <stddef.h>

#define TB_NORM_RMS_ARGS (float *y, const float *x, const float *w, size_t n, float eps)
typedef void tb_norm_rms_t TB_NORM_RMS_ARGS;

#endif
