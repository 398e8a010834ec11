/* dequant: k stored weights of one row to floats (embedding rows, tests, the reference of gemv and gemm).
 * k is a multiple of the format's block. Contract EXACT: every operation is a float product or sum in the order that
 * the reference writes, without fused multiply-add. */
#ifndef TB_SIMD_DEQUANT_H
#define TB_SIMD_DEQUANT_H

#include <stddef.h>

#define TB_DEQUANT_ARGS (float *y, const void *w, size_t k)
typedef void tb_dequant_t TB_DEQUANT_ARGS;

#endif
