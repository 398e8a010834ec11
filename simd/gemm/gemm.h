/* gemm: y[c·ldy + r] = Σ_i W[r][i] · x_c[i] for n_cols activation columns. Prefill's kernel.
 *
 *   y        column c starts at y + c·ldy (ldy ≥ rows); written
 *   w        as in gemv
 *   x        n_cols ≥ 1 columns (simd/act.h)
 *   scratch  TB_GEMM_SCRATCH bytes aligned to 64, the caller's, one per thread: the kernel unpacks a panel of rows
 *            there and blocks k and the columns as suits its registers. The first TB_GEMM_KEPT bytes, zeros before the
 *            first call, say of which columns (x->id) the rest still holds something: the caller writes nothing there,
 *            nor to the rest between two calls with the same x->id
 *   No byte outside the rows is read. An output's bits do not depend on how rows or columns were cut into calls.
 *
 * Contract BOUND: as gemv. bf16 with avx512bf16, which multiplies pairs of bf16: f_i is rounded to bf16 first (eight
 * significant bits, ties to even), weights and columns below 2^-126 count as 0, and the last term is k · 2^-126. */
#ifndef TB_SIMD_GEMM_H
#define TB_SIMD_GEMM_H

#include "simd/act.h"

enum { TB_GEMM_SCRATCH = 512 * 1024, TB_GEMM_KEPT = 64 };

#define TB_GEMM_ARGS                                                                                                   \
  (float *y, size_t ldy, const void *w, size_t row_bytes, size_t rows, const struct tb_acts *x, size_t n_cols,         \
   void *scratch)
typedef void tb_gemm_t TB_GEMM_ARGS;

#endif
