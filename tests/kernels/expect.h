/* What gemv and gemm must give, and how closely: the contract of simd/gemv/gemv.h in double precision. */
#ifndef TB_TESTS_KERNELS_EXPECT_H
#define TB_TESTS_KERNELS_EXPECT_H

#include "tests/check/check.h"

/* want and bound: n_cols runs of `rows` values. pairs: the columns are rounded to bf16, as simd/gemm/gemm.h says. */
void expect_product(double *want, double *bound, const void *w, enum tb_format format, size_t rows,
                    const struct tb_acts *x, size_t n_cols, bool pairs);

/* Column c of x and those after it. */
struct tb_acts expect_columns(const struct tb_acts *x, size_t c);

#endif
