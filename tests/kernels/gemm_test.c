/* gemm: every row of simd/gemm/gemm.def within its bound, the same bits however rows and columns are cut, and whatever is
 * kept from one call to the next. */
#include "tests/check/check.h"

#include <stdlib.h>
#include <string.h>

#include "simd/kernels.h"
#include "tests/kernels/expect.h"

struct problem {
  tb_gemm_t *kernel;
  enum tb_format format;
  size_t rows, n_cols, row_bytes;
  struct tb_acts x;
  unsigned char *w;
  float *y; /* ldy = rows */
  void *scratch;
};

/* Columns are ldy = rows + 5 apart; the floats between them must stay as they were. */
static void check_cut(const struct problem *p, size_t row, size_t rows, size_t col, size_t cols) {
  const size_t ldy = rows + 5;
  unsigned char *w = tb_guard_new(rows * p->row_bytes, p->format == TB_FMT_f32 ? 4 : 2);
  float *y = tb_guard_new((cols * ldy - 5) * sizeof *y, 4);
  memcpy(w, p->w + row * p->row_bytes, rows * p->row_bytes);
  for (size_t i = 0; i < cols * ldy - 5; i++) y[i] = 77.0f;
  struct tb_acts x = expect_columns(&p->x, col);
  p->kernel(y, ldy, w, p->row_bytes, rows, &x, cols, p->scratch);
  for (size_t c = 0; c < cols; c++) {
    tb_check_same("y of a cut", y + c * ldy, p->y + (col + c) * p->rows + row, rows, sizeof *y);
    for (size_t i = rows; i < ldy && c + 1 < cols; i++) assert_true(y[c * ldy + i] == 77.0f);
  }
  tb_guard_free(w);
  tb_guard_free(y);
}

static void check_one(const struct tb_check_row *row, size_t rows, size_t k, size_t n_cols, enum tb_check_gen gen,
                      struct tb_rng *rng, void *scratch) {
  tb_check_case("rows %zu, k %zu, columns %zu, %s", rows, k, n_cols, tb_gen_name(gen));
  struct problem p = {(tb_gemm_t *)row->kernel, row->format, rows, n_cols, tb_row_bytes(row->format, k),
                      tb_check_acts(k, n_cols, gen, rng), NULL, NULL, scratch};
  p.w = tb_guard_new(rows * p.row_bytes, row->format == TB_FMT_f32 ? 4 : 2);
  p.y = tb_guard_new(rows * n_cols * sizeof *p.y, 4);
  double *want = malloc(rows * n_cols * sizeof *want), *bound = malloc(rows * n_cols * sizeof *bound);
  assert_true(want && bound);
  tb_gen_weights(p.w, row->format, rows, k, gen, rng);
  expect_product(want, bound, p.w, row->format, rows, &p.x, n_cols, row->isa == TB_ISA_avx512bf16);
  p.kernel(p.y, rows, p.w, p.row_bytes, rows, &p.x, n_cols, scratch);
  tb_check_bound("y", p.y, want, bound, rows * n_cols);
  const size_t r = tb_rng_next(rng) % rows, c = tb_rng_next(rng) % n_cols;
  check_cut(&p, 0, r + 1, 0, c + 1);
  check_cut(&p, r, rows - r, c, n_cols - c);
  check_cut(&p, r, 1, c, 1);
  free(want);
  free(bound);
  tb_guard_free(p.w);
  tb_guard_free(p.y);
  tb_check_acts_free(&p.x);
}

/* Shapes: rows, blocks of k, columns. */
static const size_t shapes[][3] = {{1, 1, 1},  {2, 3, 2},   {3, 1, 5},   {5, 2, 3},   {7, 5, 4},    {8, 4, 8},   {15, 3, 6},
                                   {16, 2, 7}, {17, 1, 9},  {16, 9, 12}, {31, 1, 13}, {33, 2, 16},  {32, 3, 17}, {47, 1, 24},
                                   {48, 2, 31}, {49, 1, 33}, {64, 1, 64}, {65, 2, 40}, {16, 17, 70}, {9, 33, 10}};
/* Emulated runs: the smallest shapes, then the edges of the kernels' blocking in k (1056) and in rows. */
static const size_t short_shapes[][3] = {{1, 1, 1}, {8, 4, 8}, {15, 3, 6}, {9, 33, 5}, {65, 2, 9}};
static const size_t float_ks[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 65, 100, 127, 255, 256, 257, 1031};

/* What a kernel keeps of columns with a number is that of these columns, whatever else was multiplied meanwhile. */
static void check_kept(const struct tb_check_row *row, enum tb_format other, size_t rows, size_t k, size_t columns,
                       void *scratch) {
  enum { SETS = 2 };
  tb_check_case("kept, with %s between, rows %zu, k %zu, columns %zu", tb_formats[other].name, rows, k, columns);
  tb_gemm_t *kernel = (tb_gemm_t *)row->kernel;
  struct tb_kernels best; /* a model's other matrices are multiplied by whatever is best for them */
  tb_kernels_init(&best, tb_isa_detect());
  struct tb_rng rng = {6};
  struct tb_acts x[SETS] = {tb_check_acts(k, columns, TB_GEN_RANDOM, &rng), tb_check_acts(k, columns, TB_GEN_RANDOM, &rng)};
  const size_t n = rows * columns, row_bytes = tb_row_bytes(row->format, k), other_bytes = tb_row_bytes(other, k);
  float *want = malloc(SETS * n * sizeof *want), *y = malloc(n * sizeof *y);
  unsigned char *w = malloc(rows * row_bytes), *other_w = malloc(rows * other_bytes);
  assert_true(want && y && w && other_w);
  tb_gen_weights(w, row->format, rows, k, TB_GEN_RANDOM, &rng);
  tb_gen_weights(other_w, other, rows, k, TB_GEN_RANDOM, &rng);
  memset(scratch, TB_CHECK_POISON, TB_GEMM_SCRATCH);
  memset(scratch, 0, TB_GEMM_KEPT);
  for (size_t set = 0; set < SETS; set++) {
    x[set].id = 0;
    kernel(want + set * n, rows, w, row_bytes, rows, &x[set], columns, scratch);
    x[set].id = 1 + set;
  }
  for (int step = 0; step < 6; step++) { /* every set twice, then the first again */
    const int set = step / 2 % SETS;
    if (step > 2) best.gemm[other](y, rows, other_w, other_bytes, rows, &x[set], columns, scratch);
    kernel(y, rows, w, row_bytes, rows, &x[set], columns, scratch);
    tb_check_same("y", y, want + (size_t)set * n, n, sizeof *y);
  }
  free(want);
  free(y);
  free(w);
  free(other_w);
  for (int set = 0; set < SETS; set++) tb_check_acts_free(&x[set]);
}

static void test_gemm(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  const size_t(*shape)[3] = tb_check_short() ? short_shapes : shapes;
  const size_t block = tb_formats[row->format].block_values;
  const size_t n = tb_check_short() ? sizeof short_shapes / sizeof *short_shapes : sizeof shapes / sizeof *shapes;
  void *scratch = tb_guard_new(TB_GEMM_SCRATCH, 64);
  struct tb_rng rng = {5};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t i = 0; i < n; i++) {
      const size_t n_ks = sizeof float_ks / sizeof *float_ks;
      const size_t k = block > 1 ? shape[i][1] * block : float_ks[(i + (size_t)gen * 7) % n_ks];
      memset(scratch, TB_CHECK_POISON, TB_GEMM_SCRATCH);
      check_one(row, shape[i][0], k, shape[i][2], gen, &rng, scratch);
    }
  for (enum tb_format other = 0; other < TB_FMT_COUNT; other++) check_kept(row, other, 17, 768, 3, scratch);
  if (!tb_check_short()) { /* more columns, and more of k than are taken at once */
    check_one(row, 70, 1280, 200, TB_GEN_RANDOM, &rng, scratch);
    check_one(row, 33, 768, 600, TB_GEN_RANDOM, &rng, scratch);
    check_kept(row, TB_FMT_bf16, 1, 2048, 512, scratch);
    check_kept(row, TB_FMT_bf16, 1, 4608, 512, scratch); /* more than there is room for */
  }
  tb_guard_free(scratch);
}

static const struct CMUnitTest tests[] = {
#define TB_ROW_FMT(fn, fmt, isa) TB_CHECK_ROW_FMT(fn, fmt, isa, test_gemm)
#include "simd/gemm/gemm.def"
#undef TB_ROW_FMT
};

int main(void) { return tb_check_main("gemm", tests, sizeof tests / sizeof *tests); }
