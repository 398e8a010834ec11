/* Matrix products on bf16 pairs. The right operand is packed into panels of 64 columns: [columns/64][k/2][64] pairs. */
#ifndef TRAINER_MATRIX_H
#define TRAINER_MATRIX_H

#include <stdbool.h>
#include "vector.h"

/* C (m × n floats, row stride ldc) = A (m × k) · B, or += when `accumulate`. m is a multiple of 4, n of 64, k of 2. */
void multiply(int m, int n, int k, const bf16 *a, int lda, const pair *b, float *c, int ldc, bool accumulate);

/* C (4 × 64) += Σ_i A[r·row_stride + i·step] · B[i]: the kernel under everything, for left operands of other layouts.
 */
void multiply_tile(int n_pairs, const pair *a, int row_stride, int step, const pair *b, float *c, int ldc);

/* G (n × k) += dY^T (m × n) · X (m × k): gradient of a matrix. `left` and `right` are scratch of
 * OUTER_ROWS × the wider of n and k floats. */
enum { OUTER_ROWS = 256 };
void add_outer(int n, int k, int m, const bf16 *dy, int ldy, const bf16 *x, int ldx, float *g, pair *left, pair *right);

/* Packs a right operand from its transpose (n rows of k values), or from itself (k rows of n values). */
void pack_transpose(const bf16 *source, int stride, int n, int k, pair *packed);
void pack(const bf16 *source, int stride, int k, int n, pair *packed);

/* 16 × 16 transposition of 32-bit words. */
void transpose16(const pair *source, int stride, pair *target, int target_stride);

#endif
