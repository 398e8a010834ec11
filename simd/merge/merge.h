/* merge: rows of scores or weights times one magnitude per token, for layers that share their directions (MiniCache,
 * arXiv 2405.14366):   y[g·ldy + t] = x[g·ldx + t] · magnitude[t]      t < n, g < n_q
 * magnitude is fp16. y may be x. Contract EXACT: one product per value. No alignment needed. */
#ifndef TB_SIMD_MERGE_H
#define TB_SIMD_MERGE_H

#include <stddef.h>
#include <stdint.h>

#define TB_MERGE_SCALE_ARGS                                                                                            \
  (float *y, size_t ldy, const float *x, size_t ldx, size_t n_q, const uint16_t *magnitude, size_t n)
typedef void tb_merge_scale_t TB_MERGE_SCALE_ARGS;

#endif
