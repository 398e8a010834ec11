/* gemv: y[r] = Σ_i W[r][i] · x[i], rows of weights in file order, one activation column. Decode's kernel.
 *
 *   y     rows floats, written; must not alias anything
 *   w     first row; rows are row_bytes apart (row_bytes = tb_row_bytes(format, k)), any alignment ≥ 2
 *   x     one column (simd/act.h). Block formats read q, d, s; f32, f16 and bf16 read f
 *   No byte outside the rows is read. Rows are independent: cutting the row range changes no bit.
 *
 * Contract BOUND: with exact arithmetic a_i = d·q (block formats) or f_i (float formats), and M_i = |W_i| or, for
 * formats with a minimum (W = scale·code ± minimum, two parts that may cancel), M_i = |scale·code| + |minimum|:
 *   |y - Σ W·a| ≤ (k/32 + 16) · 2^-24 · 4 · Σ M·|a| + k · 2^-130.
 * Derivation: products inside a group of 16 or 32 are exact integers (< 2^24); each group contributes at most four
 * roundings (two scale products, conversion, fused add), and groups are summed in chains of at most k/32 with a
 * final tree of at most 16. Float formats sum in at least 8 parallel chains: k/8 terms each, bounded by the same
 * expression with k/8 instead of k/32. The last term is underflow: a product of two tiny scales may lose 2^-150
 * before it meets a sum of codes below 2^20.
 * The reference accumulates in double. */
#ifndef TB_SIMD_GEMV_H
#define TB_SIMD_GEMV_H

#include "simd/act.h"

#define TB_GEMV_ARGS (float *y, const void *w, size_t row_bytes, size_t rows, const struct tb_acts *x)
typedef void tb_gemv_t TB_GEMV_ARGS;

/* gemv_runs: TB_GEMV_RUNS runs of `rows` neighbouring rows. Run s begins s · apart rows behind w and goes to y + s · ldy;
 * bits, bounds and the rest as in gemv. For tiers that read the runs side by side, each of them as a stream that goes on
 * where the call before ended; tiers whose streams are neighbouring rows have none. */
enum { TB_GEMV_RUNS = 4 };
#define TB_GEMV_RUNS_ARGS                                                                                              \
  (float *y, size_t ldy, const void *w, size_t row_bytes, size_t rows, size_t apart, const struct tb_acts *x)
typedef void tb_gemv_runs_t TB_GEMV_RUNS_ARGS;

#endif
