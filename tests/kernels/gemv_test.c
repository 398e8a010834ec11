/* gemv: every row of simd/gemv/gemv.def within its bound, and the same bits however the rows are cut. gemv_runs: those
 * bits. */
#include "tests/check/check.h"

#include <stdlib.h>
#include <string.h>

#include "simd/kernels.h"
#include "tests/kernels/expect.h"

/* Each cut of the rows ends its output and its weights at an inaccessible page. */
static void check_cut(tb_gemv_t *kernel, enum tb_format format, const unsigned char *w, size_t first, size_t rows,
                      const struct tb_acts *x, const float *whole) {
  const size_t row_bytes = tb_row_bytes(format, x->k);
  unsigned char *part = tb_guard_new(rows * row_bytes, format == TB_FMT_f32 ? 4 : 2);
  float *y = tb_guard_new(rows * sizeof *y, 4);
  memcpy(part, w + first * row_bytes, rows * row_bytes);
  kernel(y, part, row_bytes, rows, x);
  tb_check_same("y of a cut", y, whole + first, rows, sizeof *y);
  tb_guard_free(part);
  tb_guard_free(y);
}

static void check_one(const struct tb_check_row *row, size_t rows, size_t k, enum tb_check_gen gen, struct tb_rng *rng) {
  tb_check_case("rows %zu, k %zu, %s", rows, k, tb_gen_name(gen));
  tb_gemv_t *kernel = (tb_gemv_t *)row->kernel;
  struct tb_acts x = tb_check_acts(k, 1, gen, rng);
  const size_t row_bytes = tb_row_bytes(row->format, k);
  unsigned char *w = tb_guard_new(rows * row_bytes, row->format == TB_FMT_f32 ? 4 : 2);
  float *y = tb_guard_new(rows * sizeof *y, 4);
  double *want = malloc(rows * sizeof *want), *bound = malloc(rows * sizeof *bound);
  assert_true(want && bound);
  tb_gen_weights(w, row->format, rows, k, gen, rng);
  expect_product(want, bound, w, row->format, rows, &x, 1, false);
  kernel(y, w, row_bytes, rows, &x);
  tb_check_bound("y", y, want, bound, rows);
  const size_t at = tb_rng_next(rng) % rows;
  check_cut(kernel, row->format, w, 0, at + 1, &x, y);
  check_cut(kernel, row->format, w, at, 1, &x, y);
  check_cut(kernel, row->format, w, at, rows - at, &x, y);
  free(want);
  free(bound);
  tb_guard_free(w);
  tb_guard_free(y);
  tb_check_acts_free(&x);
}

#if defined(__x86_64__) /* no other tier has gemv_runs */
/* Runs that lie `gap` rows apart, read in two steps; what lies between them stays as it was. */
static void check_runs(const struct tb_check_row *row, size_t rows, size_t gap, size_t k, struct tb_rng *rng) {
  tb_check_case("runs of %zu rows, %zu between them, k %zu", rows, gap, k);
  tb_gemv_runs_t *kernel = (tb_gemv_runs_t *)row->kernel;
  struct tb_kernels tier;
  tb_kernels_init(&tier, row->isa);
  struct tb_acts x = tb_check_acts(k, 1, TB_GEN_RANDOM, rng);
  const size_t row_bytes = tb_row_bytes(row->format, k), apart = rows + gap;
  const size_t all = (TB_GEMV_RUNS - 1) * apart + rows, ldy = apart + 1, n_y = (TB_GEMV_RUNS - 1) * ldy + rows;
  unsigned char *w = tb_guard_new(all * row_bytes, row->format == TB_FMT_f32 ? 4 : 2);
  float *y = tb_guard_new(n_y * sizeof *y, 4), *whole = malloc(all * sizeof *whole), *want = malloc(n_y * sizeof *want);
  assert_true(whole && want);
  tb_gen_weights(w, row->format, all, k, TB_GEN_RANDOM, rng);
  tier.gemv[row->format](whole, w, row_bytes, all, &x);
  for (size_t i = 0; i < n_y; i++) {
    const size_t within = i % ldy;
    want[i] = within < rows ? whole[i / ldy * apart + within] : -7;
    y[i] = -7;
  }
  const size_t first = rows / 3;
  kernel(y, ldy, w, row_bytes, first, apart, &x);
  kernel(y + first, ldy, w + first * row_bytes, row_bytes, rows - first, apart, &x);
  tb_check_same("y", y, want, n_y, sizeof *y);
  free(whole);
  free(want);
  tb_guard_free(w);
  tb_guard_free(y);
  tb_check_acts_free(&x);
}

static void test_gemv_runs(void **state) {
  static const size_t blocks[] = {1, 2, 3, 4, 5, 8, 11}, floats[] = {1, 15, 16, 32, 45, 129, 1000};
  const struct tb_check_row *row = tb_check_begin(state);
  const bool block = tb_formats[row->format].block_values > 1;
  struct tb_rng rng = {5};
  for (size_t rows = 1; rows <= 9; rows += 4)
    for (size_t gap = 0; gap < 3; gap += 2)
      for (size_t i = 0; i < 7; i++)
        check_runs(row, rows, gap, block ? blocks[i] * tb_formats[row->format].block_values : floats[i], &rng);
}
#endif

static void test_gemv(void **state) {
  static const size_t all_rows[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 17, 33}, short_rows[] = {1, 3, 9};
  static const size_t blocks[] = {1, 2, 3, 4, 5, 7, 8, 9, 11, 16, 31, 33}, short_blocks[] = {1, 2, 5};
  static const size_t floats[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65, 100, 127, 128, 257, 1000, 1031},
                      short_floats[] = {1, 7, 32, 45, 129};
  const struct tb_check_row *row = tb_check_begin(state);
  const bool quick = tb_check_short(), block = tb_formats[row->format].block_values > 1;
  const size_t *rows = quick ? short_rows : all_rows, n_rows = quick ? 3 : 11;
  const size_t *ks = block ? (quick ? short_blocks : blocks) : (quick ? short_floats : floats);
  const size_t n_ks = block ? (quick ? 3 : 12) : (quick ? 5 : 20);
  struct tb_rng rng = {4};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t i = 0; i < n_rows; i++)
      for (size_t j = 0; j < n_ks; j++) check_one(row, rows[i], ks[j] * tb_formats[row->format].block_values, gen, &rng);
  check_one(row, 9, 5792 / tb_formats[row->format].block_values * tb_formats[row->format].block_values, TB_GEN_ONE_END, &rng);
}

static const struct CMUnitTest tests[] = {
#define TB_ROW_FMT(fn, fmt, isa) TB_CHECK_ROW_FMT(fn, fmt, isa, test_##fn)
#include "simd/gemv/gemv.def"
#undef TB_ROW_FMT
};

int main(void) { return tb_check_main("gemv", tests, sizeof tests / sizeof *tests); }
