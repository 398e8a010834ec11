/* Vector exponentials under test: `ours` needs no library, `built` is what this build's kernels use (SLEEF, or ours). */
#ifndef TB_TESTS_EXP_TEST_H
#define TB_TESTS_EXP_TEST_H

#include <stddef.h>

typedef void tb_exp_fn(float *y, const float *x, size_t n); /* n is a multiple of 16 */
tb_exp_fn tb_exp_ours_avx2, tb_exp_built_avx2, tb_exp_ours_avx512, tb_exp_built_avx512, tb_exp_ours_neon, tb_exp_built_neon;

#endif
