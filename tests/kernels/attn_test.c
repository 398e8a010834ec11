/* attn: every row of simd/attn/attn.def against the reference, bit for bit, and the reference within the stated bound of
 * real arithmetic. */
#include "tests/check/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "simd/half.h"
#include "simd/kernels.h"
#include "tests/kernels/attn_cases.h"

static const size_t all_heads[] = {4, 1, 2, 3, 7, 8, 5, 16}, all_rows[] = {1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 65, 100};
static const size_t short_heads[] = {4, 1, 7}, short_rows[] = {1, 5, 17, 34};

/* Calls `check` for heads × rows × head sizes × kinds of data: a diagonal part of all combinations. */
static void each_case(const struct tb_check_row *row, void (*check)(const struct attn_case *c)) {
  const bool quick = tb_check_short(), blocks = tb_formats[row->format].block_values > 1;
  const size_t n_heads = quick ? 3 : 8, n_rows = quick ? 4 : 14;
  struct tb_rng rng = {41};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t i = 0; i < n_heads; i++)
      for (size_t j = 0; j < n_rows; j++)
        for (size_t l = 0; l < attn_n_sizes(quick, blocks); l++) {
          if ((i + 3 * j + 5 * l + (size_t)gen) % (quick ? 3 : 13)) continue;
          struct attn_case c = {.row = row, .d = attn_size(quick, blocks, l), .gen = (enum tb_check_gen)gen};
          c.n_q = (quick ? short_heads : all_heads)[i];
          c.n = (quick ? short_rows : all_rows)[j];
          tb_check_case("n_q %zu, rows %zu, d %zu, %s", c.n_q, c.n, c.d, tb_gen_name(c.gen));
          attn_case_begin(&c, &rng);
          check(&c);
          attn_case_end(&c);
        }
}

/* ---------------------------------------------------------------------------------------------------- score */

static void check_score(const struct attn_case *c) {
  tb_attn_score_t *kernel = (tb_attn_score_t *)c->row->kernel;
  struct tb_kernels ref;
  tb_kernels_init(&ref, 0);
  const size_t lds = c->n + 3, out = (c->n_q - 1) * lds + c->n;
  float *s = tb_guard_new(out * sizeof *s, 4), *want = tb_guard_new(out * sizeof *want, 4);
  ref.attn_score[c->row->format](want, lds, &c->q, c->n_q, c->rows, c->stride, c->n, c->d);
  kernel(s, lds, &c->q, c->n_q, c->rows, c->stride, c->n, c->d);
  tb_check_same("s", s, want, out, sizeof *s);
  for (size_t g = 0; g < c->n_q && c->row->isa == 0; g++)
    for (size_t t = 0; t < c->n; t++) {
      double sum = 0, size = 0, bound;
      for (size_t i = 0; i < c->d; i++) {
        double term = attn_value(c, t, i) * attn_query(c, g, i);
        sum += term;
        size += fabs(term);
      }
      bound = (attn_blocks(c) ? (double)c->d / 32 + 3 : (double)c->d / 16 + 7) * 0x1p-24 * size + (double)c->d * 0x1p-130;
      tb_check_bound("s", s + g * lds + t, &sum, &bound, 1);
    }
  tb_guard_free(s);
  tb_guard_free(want);
}

static void test_attn_score(void **state) { each_case(tb_check_begin(state), check_score); }

/* ---------------------------------------------------------------------------------------------------- accum */

static void check_accum(const struct attn_case *c) {
  tb_attn_accum_t *kernel = (tb_attn_accum_t *)c->row->kernel;
  struct tb_kernels ref;
  tb_kernels_init(&ref, 0);
  const size_t ldp = c->n + 2, n_p = (c->n_q - 1) * ldp + c->n, out = c->n_q * c->d;
  float *p = tb_guard_new(n_p * sizeof *p, 4), *acc = tb_guard_new(out * sizeof *acc, 4);
  float *want = tb_guard_new(out * sizeof *want, 4), *start = tb_guard_new(out * sizeof *start, 4);
  struct tb_rng rng = {c->n * 977 + c->d};
  tb_gen_floats(p, n_p, c->gen, &rng);
  tb_gen_floats(start, out, TB_GEN_RANDOM, &rng);
  memcpy(acc, start, out * sizeof *acc);
  memcpy(want, start, out * sizeof *want);
  ref.attn_accum[c->row->format](want, p, ldp, c->n_q, c->rows, c->stride, c->n, c->d);
  kernel(acc, p, ldp, c->n_q, c->rows, c->stride, c->n, c->d);
  tb_check_same("acc", acc, want, out, sizeof *acc);
  const double chain = (double)(c->n < 32 ? c->n : 32) + (double)c->n / 32 + 3;
  for (size_t g = 0; g < c->n_q && c->row->isa == 0; g++)
    for (size_t i = 0; i < c->d; i++) {
      double sum = start[g * c->d + i], size = fabs(sum), bound;
      for (size_t t = 0; t < c->n; t++) {
        double term = (double)p[g * ldp + t] * attn_value(c, t, i);
        sum += term;
        size += fabs(term);
      }
      bound = chain * 0x1p-24 * size + (double)c->n * 0x1p-130;
      tb_check_bound("acc", acc + g * c->d + i, &sum, &bound, 1);
    }
  if (c->n > 32) { /* two calls, cut at a multiple of 32 */
    memcpy(acc, start, out * sizeof *acc);
    kernel(acc, p, ldp, c->n_q, c->rows, c->stride, 32, c->d);
    kernel(acc, p + 32, ldp, c->n_q, c->rows + 32 * c->stride, c->stride, c->n - 32, c->d);
    tb_check_same("acc in two calls", acc, want, out, sizeof *acc);
  }
  tb_guard_free(p);
  tb_guard_free(acc);
  tb_guard_free(want);
  tb_guard_free(start);
}

static void test_attn_accum(void **state) { each_case(tb_check_begin(state), check_accum); }

/* -------------------------------------------------------------------------------------------------- softmax */

static void test_attn_max(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  struct tb_rng rng = {43};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t n = 1; n < 150; n += n < 70 ? 1 : 13)
      for (int at = 0; at < 3; at++) {
        tb_check_case("n %zu, %s, %d", n, tb_gen_name(gen), at);
        float *s = tb_guard_new(n * sizeof *s, 4);
        tb_gen_floats(s, n, gen, &rng);
        if (at == 1) s[tb_rng_next(&rng) % n] = 3e38f;
        if (at == 2)
          for (size_t i = 0; i < n; i++) s[i] = tb_rng_next(&rng) % 3 ? -INFINITY : s[i];
        assert_true(((tb_attn_max_t *)row->kernel)(s, n) == tb_attn_max_ref(s, n));
        tb_guard_free(s);
      }
}

static void check_exp(tb_attn_exp_t *kernel, const float *x, size_t n, float m) {
  float *s = tb_guard_new(n * sizeof *s, 4), *want = tb_guard_new(n * sizeof *want, 4);
  memcpy(s, x, n * sizeof *s);
  memcpy(want, x, n * sizeof *want);
  float sum = kernel(s, n, m), want_sum = tb_attn_exp_ref(want, n, m);
  tb_check_same("s", s, want, n, sizeof *s);
  tb_check_same("sum", &sum, &want_sum, 1, sizeof sum);
  for (size_t i = 0; i < n; i++) {
    double exact = exp((double)(x[i] - m)), bound = 0x1p-17 * exact + (x[i] - m < -80 ? exact : 0);
    tb_check_bound("s", s + i, &exact, &bound, 1);
  }
  tb_guard_free(s);
  tb_guard_free(want);
}

static void test_attn_exp(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  struct tb_rng rng = {44};
  float x[512];
  for (size_t n = 1; n < 300; n += n < 70 ? 1 : 17) {
    tb_check_case("n %zu", n);
    for (size_t i = 0; i < n; i++) x[i] = 30 * tb_rng_normal(&rng);
    if (n % 3 == 0) x[tb_rng_next(&rng) % n] = -INFINITY;
    if (n % 5 == 0) x[tb_rng_next(&rng) % n] = -3e38f;
    check_exp((tb_attn_exp_t *)row->kernel, x, n, tb_attn_max_ref(x, n) + 1e-3f);
  }
  const float step = tb_check_short() ? 0.0101f : 0.000313f; /* the whole range, finely */
  for (float at = -90; at < 88; at = x[511] + step) {
    tb_check_case("from %g", (double)at);
    for (int i = 0; i < 512; i++) x[i] = fminf(at + (float)i * step, 88.0f);
    check_exp((tb_attn_exp_t *)row->kernel, x, 512, 0);
  }
}

/* ---------------------------------------------------------------------------------------------------- tiles */

struct tile {
  size_t rows, middle, columns; /* C: rows × columns, sums of `middle` terms */
  float *a, *b, *c, *want;
  size_t lda, ldb, ldc;
};

static struct tile tile_new(size_t rows, size_t middle, size_t columns, bool b_rows_are_columns, enum tb_check_gen gen,
                            struct tb_rng *rng) {
  struct tile t = {.rows = rows, .middle = middle, .columns = columns};
  const size_t b_rows = b_rows_are_columns ? columns : middle, b_columns = b_rows_are_columns ? middle : columns;
  t.lda = middle + 1;
  t.ldb = b_columns + 2;
  t.ldc = columns + 3;
  const size_t na = (rows - 1) * t.lda + middle, nb = (b_rows - 1) * t.ldb + b_columns, nc = (rows - 1) * t.ldc + columns;
  t.a = tb_guard_new(na * sizeof(float), 4);
  t.b = tb_guard_new(nb * sizeof(float), 4);
  t.c = tb_guard_new(nc * sizeof(float), 4);
  t.want = tb_guard_new(nc * sizeof(float), 4);
  tb_gen_floats(t.a, na, gen, rng);
  tb_gen_floats(t.b, nb, gen, rng);
  tb_gen_floats(t.c, nc, TB_GEN_RANDOM, rng);
  memcpy(t.want, t.c, nc * sizeof(float));
  return t;
}

static void tile_free(struct tile *t) {
  float *all[] = {t->a, t->b, t->c, t->want};
  for (int i = 0; i < 4; i++) tb_guard_free(all[i]);
}

/* c is what the reference gives; the reference gives start + A·B within the bound, start = 0 when NULL. */
static void tile_check(const struct tb_check_row *row, const struct tile *t, const float *start, bool b_rows_are_columns) {
  tb_check_same("c", t->c, t->want, (t->rows - 1) * t->ldc + t->columns, sizeof(float));
  if (row->isa) return;
  const double chain = (double)(t->middle < 64 ? t->middle : 64) + (double)t->middle / 64 + 2;
  for (size_t i = 0; i < t->rows; i++)
    for (size_t j = 0; j < t->columns; j++) {
      double sum = start ? start[i * t->ldc + j] : 0, size = fabs(sum), bound;
      for (size_t k = 0; k < t->middle; k++) {
        double term = (double)t->a[i * t->lda + k] * t->b[b_rows_are_columns ? j * t->ldb + k : k * t->ldb + j];
        sum += term;
        size += fabs(term);
      }
      bound = chain * 0x1p-24 * size + (double)t->middle * 0x1p-140;
      tb_check_bound("c", t->c + i * t->ldc + j, &sum, &bound, 1);
    }
}

static void each_tile(const struct tb_check_row *row, void (*check)(const struct tb_check_row *, size_t, size_t, size_t,
                                                                    enum tb_check_gen, struct tb_rng *)) {
  static const size_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 64}, outer[] = {1, 3, 8, 15, 16, 17, 31, 40, 64, 65, 100, 130};
  static const size_t inner[] = {1, 2, 8, 16, 33, 63, 64, 65, 72, 128, 150};
  const size_t skip = tb_check_short() ? 31 : 7;
  struct tb_rng rng = {45};
  size_t turn = 0;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (size_t j = 0; j < sizeof outer / sizeof *outer; j++)
      for (size_t k = 0; k < sizeof inner / sizeof *inner; k++)
        for (int gen = 0; gen < TB_GEN_COUNT; gen++) {
          if (turn++ % skip) continue;
          tb_check_case("rows %zu, columns %zu, terms %zu, %s", rows[i], outer[j], inner[k], tb_gen_name(gen));
          check(row, rows[i], outer[j], inner[k], gen, &rng);
        }
}

static void check_qk(const struct tb_check_row *row, size_t nq, size_t nk, size_t d, enum tb_check_gen gen,
                     struct tb_rng *rng) {
  struct tile t = tile_new(nq, d, nk, true, gen, rng);
  tb_tile_qk_ref(t.want, t.ldc, t.a, t.lda, nq, t.b, t.ldb, nk, d);
  ((tb_tile_qk_t *)row->kernel)(t.c, t.ldc, t.a, t.lda, nq, t.b, t.ldb, nk, d);
  tile_check(row, &t, NULL, true);
  tile_free(&t);
}

static void check_pv(const struct tb_check_row *row, size_t nq, size_t d, size_t nk, enum tb_check_gen gen,
                     struct tb_rng *rng) {
  struct tile t = tile_new(nq, nk, d, false, gen, rng);
  const size_t bytes = ((nq - 1) * t.ldc + d) * sizeof(float);
  float *start = malloc(bytes);
  assert_non_null(start);
  memcpy(start, t.c, bytes);
  tb_tile_pv_ref(t.want, t.ldc, t.a, t.lda, nq, t.b, t.ldb, nk, d);
  ((tb_tile_pv_t *)row->kernel)(t.c, t.ldc, t.a, t.lda, nq, t.b, t.ldb, nk, d);
  tile_check(row, &t, start, false);
  free(start);
  tile_free(&t);
}

static void test_tile_qk(void **state) { each_tile(tb_check_begin(state), check_qk); }
static void test_tile_pv(void **state) { each_tile(tb_check_begin(state), check_pv); }

/* ---------------------------------------------------------------------------------------------- stored rows */

static void each_row(const struct tb_check_row *row, void (*check)(const struct tb_check_row *, const float *, size_t)) {
  const bool blocks = tb_formats[row->format].block_values > 1;
  struct tb_rng rng = {46};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t l = 0; l < attn_n_sizes(false, blocks); l++)
      for (int turn = 0; turn < (tb_check_short() ? 2 : 10); turn++) {
        const size_t d = attn_size(false, blocks, l);
        tb_check_case("d %zu, %s", d, tb_gen_name(gen));
        float *x = tb_guard_new(d * sizeof *x, 4);
        tb_gen_floats(x, d, gen, &rng);
        if (turn % 3 == 1) /* ties: halves of steps, equal magnitudes of both signs */
          for (size_t i = 0; i < d; i++) x[i] = (float)((int)(tb_rng_next(&rng) % 33) - 16) * 0.5f;
        if (turn % 3 == 2) /* around the limits of binary16 and of the reciprocal */
          for (size_t i = 0; i < d; i++) x[i] = ldexpf(x[i], (int)(tb_rng_next(&rng) % 40) - 26 - (turn > 5 ? 105 : 0));
        check(row, x, d);
        tb_guard_free(x);
      }
}

static void check_pack(const struct tb_check_row *row, const float *x, size_t d) {
  struct tb_kernels ref;
  tb_kernels_init(&ref, 0);
  const size_t bytes = tb_row_bytes(row->format, d);
  unsigned char *got = tb_guard_new(bytes, 1), *want = tb_guard_new(bytes, 1);
  ((tb_kvpack_t *)row->kernel)(got, x, d);
  ref.kvpack[row->format](want, x, d);
  tb_check_same("row", got, want, bytes, 1);
  float *back = tb_guard_new(d * sizeof *back, 4);
  ref.kvdequant[row->format](back, got, d); /* the rounding itself: half a step of the block at most, q4_0 one at its end */
  if (row->format == TB_FMT_q8_0 || row->format == TB_FMT_q4_0)
    for (size_t b = 0; b < d; b += 32) {
      float m = 0;
      for (size_t i = b; i < b + 32; i++) m = fmaxf(m, fabsf(x[i]));
      if (m > 6e4f || m < 0.1f) continue; /* where the scale is a plain binary16 */
      for (size_t i = b; i < b + 32; i++) assert_true(fabsf(x[i] - back[i]) <= m * (row->format == TB_FMT_q8_0 ? 0.0049f : 0.13f));
    }
  tb_guard_free(back);
  tb_guard_free(got);
  tb_guard_free(want);
}

static void check_dequant(const struct tb_check_row *row, const float *x, size_t d) {
  struct tb_kernels ref;
  tb_kernels_init(&ref, 0);
  struct tb_rng rng = {d * 7919 + tb_float_bits(x[0])};
  unsigned char *stored = tb_guard_new(tb_row_bytes(row->format, d), 1);
  tb_gen_weights(stored, row->format, 1, d, (enum tb_check_gen)(tb_rng_next(&rng) % TB_GEN_COUNT), &rng);
  float *got = tb_guard_new(d * sizeof *got, 4), *want = tb_guard_new(d * sizeof *want, 4);
  ((tb_kvdequant_t *)row->kernel)(got, stored, d);
  ref.kvdequant[row->format](want, stored, d);
  tb_check_same("x", got, want, d, sizeof *got);
  tb_guard_free(stored);
  tb_guard_free(got);
  tb_guard_free(want);
}

static void test_kvpack(void **state) { each_row(tb_check_begin(state), check_pack); }
static void test_kvdequant(void **state) { each_row(tb_check_begin(state), check_dequant); }

static const struct CMUnitTest tests[] = {
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn)
#define TB_ROW_FMT(fn, fmt, isa) TB_CHECK_ROW_FMT(fn, fmt, isa, test_##fn)
#include "simd/attn/attn.def"
#undef TB_ROW
#undef TB_ROW_FMT
};

int main(void) { return tb_check_main("attn", tests, sizeof tests / sizeof *tests); }
