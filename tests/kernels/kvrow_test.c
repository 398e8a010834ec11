/* kvrow: every row against the reference, bit for bit, with groups of every size and channels in any order; the reference
 * against the published formula. FP8: every code, and rounding at every boundary. */
#include "tests/check/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "simd/half.h"
#include "simd/kernels.h"

enum { WIDTH_MAX = 1024, ROWS = 5 };

/* A description with its arrays; `even`: groups of that many channels, else of random sizes from 1 on. */
struct kind {
  struct tb_kvrow f;
  uint16_t ends[WIDTH_MAX];
  float clip[WIDTH_MAX];
  int16_t order[WIDTH_MAX], place[WIDTH_MAX];
};

static void kind_make(struct kind *k, size_t width, unsigned levels, size_t even, unsigned flags, struct tb_rng *rng) {
  k->f = (struct tb_kvrow){.n_groups = 0, .levels = levels, .width = width, .ends = k->ends, .clip = k->clip, .shrink = flags & 1, .f8 = flags & 2};
  for (size_t c = 0; c < width; k->f.n_groups++) {
    c += even ? even : 1 + tb_rng_next(rng) % 40;
    if (c > width) c = width;
    k->ends[k->f.n_groups] = (uint16_t)c;
    k->clip[k->f.n_groups] = 0.5f + 0.5f * tb_rng_unit(rng);
  }
  if (!(flags & 4)) return;
  for (size_t c = 0; c < width; c++) k->order[c] = (int16_t)c;
  for (size_t c = width - 1; c > 0; c--) {
    const size_t other = tb_rng_next(rng) % (c + 1);
    const int16_t t = k->order[c];
    k->order[c] = k->order[other];
    k->order[other] = t;
  }
  for (size_t c = 0; c < width; c++) k->place[k->order[c]] = (int16_t)c;
  k->f.order = k->order;
  k->f.place = k->place;
}

#define FOR_CASES                                                                                                      \
  static const size_t widths[] = {32, 64, 100, 512, 1024};                                                             \
  static struct kind k;                                                                                                \
  struct tb_rng rng = {41};                                                                                            \
  for (size_t i = 0; i < (tb_check_short() ? 4u : 5u); i++)                                                            \
    for (unsigned gen = 0; gen < TB_GEN_COUNT; gen++)                                                                  \
      for (unsigned flags = 0; flags < 16; flags++)

static void case_make(struct kind *k, size_t width, unsigned gen, unsigned flags, struct tb_rng *rng) {
  kind_make(k, width, flags & 8 ? 3 : 4, gen % 2 ? 32 : 0, flags, rng);
  tb_check_case("%zu channels, %zu groups, %s, %u levels%s%s%s", width, k->f.n_groups, tb_gen_name((enum tb_check_gen)gen), k->f.levels,
                k->f.shrink ? ", shrink" : "", k->f.f8 ? ", fp8" : "", k->f.order ? ", reordered" : "");
}

static void test_kvrow_pack(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  FOR_CASES {
    case_make(&k, widths[i], gen, flags, &rng);
    const size_t stride = tb_kvrow_bytes(&k.f) + 3, bytes = (ROWS - 1) * stride + tb_kvrow_bytes(&k.f), ldx = widths[i] + 2;
    const size_t n = (ROWS - 1) * ldx + widths[i];
    float *x = tb_guard_new(n * sizeof *x, 4);
    unsigned char *got = tb_guard_new(bytes, 1), *want = tb_guard_new(bytes, 1);
    tb_gen_floats(x, n, (enum tb_check_gen)gen, &rng);
    memset(got, 0, bytes);
    memset(want, 0, bytes);
    ((tb_kvrow_pack_t *)row->kernel)(got, stride, &k.f, x, ldx, ROWS);
    tb_kvrow_pack_ref(want, stride, &k.f, x, ldx, ROWS);
    tb_check_same("rows", got, want, bytes, 1);
    tb_guard_free(x);
    tb_guard_free(got);
    tb_guard_free(want);
  }
}

static void test_kvrow_expand(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  FOR_CASES {
    case_make(&k, widths[i], gen, flags, &rng);
    const size_t row_bytes = tb_kvrow_bytes(&k.f), stride = row_bytes + 1, first = gen % 3 * (widths[i] / 4), count = widths[i] / 2 - gen;
    const size_t ldx = count + 3, n = (ROWS - 1) * ldx + count;
    unsigned char *rows = tb_guard_new((ROWS - 1) * stride + row_bytes, 1);
    float *x = malloc(ROWS * widths[i] * sizeof *x), *got = tb_guard_new(n * sizeof *got, 4), *want = tb_guard_new(n * sizeof *want, 4);
    assert_non_null(x);
    tb_gen_floats(x, ROWS * widths[i], (enum tb_check_gen)gen, &rng);
    tb_kvrow_pack_ref(rows, stride, &k.f, x, widths[i], ROWS);
    memset(got, 0, n * sizeof *got);
    memset(want, 0, n * sizeof *want);
    ((tb_kvrow_expand_t *)row->kernel)(got, ldx, &k.f, rows, stride, ROWS, first, count);
    tb_kvrow_expand_ref(want, ldx, &k.f, rows, stride, ROWS, first, count);
    tb_check_same("x", got, want, n, sizeof *got);
    free(x);
    tb_guard_free(rows);
    tb_guard_free(got);
    tb_guard_free(want);
  }
}

/* ----------------------------------------------------------------------------------------------- the reference */

/* Energy of what a row loses, in dB of its own, for normal values in groups of 128 with fp16 parameters. */
static double decibels(unsigned levels, float clip) {
  enum { WIDTH = 1024, N = 64 };
  static struct kind k;
  static float x[N * WIDTH], back[N * WIDTH];
  static unsigned char rows[N * WIDTH];
  struct tb_rng rng = {43};
  kind_make(&k, WIDTH, levels, 128, 0, &rng);
  for (size_t g = 0; g < k.f.n_groups; g++) k.clip[g] = clip;
  for (size_t i = 0; i < N * WIDTH; i++) x[i] = tb_rng_normal(&rng);
  tb_kvrow_pack_ref(rows, WIDTH, &k.f, x, WIDTH, N);
  tb_kvrow_expand_ref(back, WIDTH, &k.f, rows, WIDTH, N, 0, WIDTH);
  double lost = 0, all = 0;
  for (size_t i = 0; i < N * WIDTH; i++) {
    lost += pow(x[i] - back[i], 2);
    all += pow(x[i], 2);
  }
  return -10 * log10(lost / all);
}

/* What the formula gives for normal values (Monte Carlo in double): 6.01, 6.79 and 9.25 dB with four levels clipped at 1,
 * 0.92 and 0.55, 2.75 and 3.35 dB with three at 1 and 0.92. */
static void test_known_errors(void **state) {
  (void)state;
  assert_true(fabs(decibels(4, 1) - 6.01) < 0.2);
  assert_true(fabs(decibels(4, 0.92f) - 6.79) < 0.2);
  assert_true(fabs(decibels(4, 0.55f) - 9.25) < 0.2);
  assert_true(fabs(decibels(3, 1) - 2.75) < 0.2);
  assert_true(fabs(decibels(3, 0.92f) - 3.35) < 0.2);
}

/* A group beside zero: 8 … 12 clipped by 0.92 is cut at 7.36 and 11.04 as published, at 8.16 and 11.84 about its middle. */
static void test_one_sided_group(void **state) {
  (void)state;
  static struct kind k;
  struct tb_rng rng = {44};
  float x[32], back[32];
  unsigned char row[64];
  for (size_t i = 0; i < 32; i++) x[i] = 8 + 4 * (float)i / 31;
  for (unsigned shrink = 0; shrink < 2; shrink++) {
    kind_make(&k, 32, 4, 32, shrink, &rng);
    k.clip[0] = 0.92f;
    tb_kvrow_pack_ref(row, sizeof row, &k.f, x, 32, 1);
    tb_kvrow_expand_ref(back, 32, &k.f, row, sizeof row, 1, 0, 32);
    assert_true(fabsf(back[31] - (shrink ? 11.84f : 11.04f)) < 0.02f);
    assert_true(fabsf(back[0] - (shrink ? 8.16f : 7.36f + (11.04f - 7.36f) / 3)) < 0.02f);
  }
}

static void test_f8_codes(void **state) {
  (void)state;
  assert_true(tb_f8_to_f32(0x7e) == 448 && tb_f8_to_f32(0x38) == 1 && tb_f8_to_f32(1) == 0x1p-9f && tb_f8_to_f32(0x88) == -0x1p-6f);
  assert_true(isnan(tb_f8_to_f32(0x7f)) && tb_f32_to_f8(NAN) == 0x7f);
  assert_true(tb_f32_to_f8(1e9f) == 0x7e && tb_f32_to_f8(-INFINITY) == 0xfe && tb_f32_to_f8(-0.0f) == 0x80);
  for (unsigned h = 0; h < 0x7e; h++) {
    const float low = tb_f8_to_f32((uint8_t)h), high = tb_f8_to_f32((uint8_t)(h + 1)), middle = (low + high) / 2;
    assert_int_equal(tb_f32_to_f8(low), h);
    assert_int_equal(tb_f32_to_f8(-low), 0x80 | h);
    assert_int_equal(tb_f32_to_f8(middle), h % 2 ? h + 1 : h);
    assert_int_equal(tb_f32_to_f8(nextafterf(middle, 0)), h);
    assert_int_equal(tb_f32_to_f8(nextafterf(middle, 500)), h + 1);
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_f8_codes),
    cmocka_unit_test(test_known_errors),
    cmocka_unit_test(test_one_sided_group),
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn)
#include "simd/kvrow/kvrow.def"
#undef TB_ROW
};

int main(void) { return tb_check_main("kvrow", tests, sizeof tests / sizeof *tests); }
