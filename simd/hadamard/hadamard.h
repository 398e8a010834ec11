/* hadamard: the normalised Walsh-Hadamard transform of d floats in place, d a power of two, 16 … 512:
 *   y_i = d^-1/2 · Σ_j (-1)^popcount(i & j) · x_j
 * It is its own inverse and preserves lengths and dot products: rotating keys and queries, or values and what is summed
 * from them, spreads outliers over all channels before quantisation (QuaRot, arXiv 2404.00456).
 * Contract EXACT: stages of distance 1, 2, 4 … d/2, each (a, b) to (a + b, a - b), then one product with d^-1/2 rounded
 * to float. The error against real arithmetic is at most (log2(d) + 2) · 2^-24 · Σ|x_j| · d^-1/2. */
#ifndef TB_SIMD_HADAMARD_H
#define TB_SIMD_HADAMARD_H

#include <stddef.h>

#define TB_HADAMARD_ARGS (float *x, size_t d)
typedef void tb_hadamard_t TB_HADAMARD_ARGS;

#endif
