/* norm: every row of simd/norm/norm.def against the reference, bit for bit; and the reference against real numbers. */
#include "tests/check/check.h"

#include <math.h>
#include <string.h>

#include "simd/kernels.h"

static const size_t sizes[] = {1,  2,  3,  7,  8,   9,   15,  16,  17,  24,  31,  32,  33,   48,
                               63, 64, 72, 80, 100, 128, 129, 255, 257, 576, 896, 1000, 2048, 4097};
static size_t n_sizes(void) { return tb_check_short() ? 20 : sizeof sizes / sizeof *sizes; }

static float *floats(size_t n, enum tb_check_gen gen, struct tb_rng *rng) {
  float *x = tb_guard_new(n * sizeof *x, 4);
  tb_gen_floats(x, n, gen, rng);
  return x;
}

static void check_rms(tb_norm_rms_t *kernel, const float *x, const float *w, size_t n, float eps) {
  float *y = tb_guard_new(n * sizeof *y, 4), *want = tb_guard_new(n * sizeof *want, 4);
  tb_norm_rms_ref(want, x, w, n, eps);
  kernel(y, x, w, n, eps);
  tb_check_same("y", y, want, n, sizeof *y);
  memcpy(y, x, n * sizeof *y);
  kernel(y, y, w, n, eps);
  tb_check_same("y in place", y, want, n, sizeof *y);
  tb_guard_free(y);
  tb_guard_free(want);
}

static void check_rms_q8(tb_norm_rms_q8_t *kernel, const float *x, const float *w, size_t n, float eps) {
  float *y = tb_guard_new(n * sizeof *y, 4), *want = tb_guard_new(n * sizeof *want, 4);
  int8_t *q = tb_guard_new(n, 1), *want_q = tb_guard_new(n, 1);
  float *d = tb_guard_new(n / 32 * sizeof *d, 4), *want_d = tb_guard_new(n / 32 * sizeof *d, 4);
  int16_t *s = tb_guard_new(n / 16 * sizeof *s, 2), *want_s = tb_guard_new(n / 16 * sizeof *s, 2);
  tb_norm_rms_q8_ref(want, want_q, want_d, want_s, x, w, n, eps);
  kernel(y, q, d, s, x, w, n, eps);
  tb_check_same("y", y, want, n, sizeof *y);
  tb_check_same("q", q, want_q, n, sizeof *q);
  tb_check_same("d", d, want_d, n / 32, sizeof *d);
  tb_check_same("s", s, want_s, n / 16, sizeof *s);
  void *all[] = {y, want, q, want_q, d, want_d, s, want_s};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tb_guard_free(all[i]);
}

static void each_case(const struct tb_check_row *row, bool q8) {
  struct tb_rng rng = {11};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t i = 0; i < n_sizes(); i++) {
      const size_t n = sizes[i];
      if (q8 && n % 32) continue;
      float *x = floats(n, gen, &rng), *w = floats(n, i % 2 ? TB_GEN_RANDOM : gen, &rng);
      const float eps = i % 3 ? 1e-5f : 1e-6f;
      for (int with = 0; with < 2; with++) {
        tb_check_case("n %zu, %s, %s weights", n, tb_gen_name(gen), with ? "with" : "no");
        if (q8) check_rms_q8((tb_norm_rms_q8_t *)row->kernel, x, with ? w : NULL, n, eps);
        else check_rms((tb_norm_rms_t *)row->kernel, x, with ? w : NULL, n, eps);
      }
      tb_guard_free(x);
      tb_guard_free(w);
    }
}

static void test_norm_rms(void **state) { each_case(tb_check_begin(state), false); }
static void test_norm_rms_q8(void **state) { each_case(tb_check_begin(state), true); }

static void test_accuracy(void **state) {
  (void)state;
  static float x[5000], w[5000], y[5000];
  static double want[5000], bound[5000];
  struct tb_rng rng = {12};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++) {
    const float grow = gen == TB_GEN_OUTLIER ? 0x1p90f : 1.0f; /* squares beyond the range of float */
    tb_gen_floats(x, 5000, gen, &rng);
    tb_gen_floats(w, 5000, TB_GEN_RANDOM, &rng);
    for (size_t i = 0; i < 5000; i++) x[i] *= grow;
    tb_norm_rms_ref(y, x, w, 5000, 1e-6f);
    long double sum = 0;
    for (size_t i = 0; i < 5000; i++) sum += (long double)x[i] * x[i];
    for (size_t i = 0; i < 5000; i++) {
      want[i] = (double)(x[i] / sqrtl(sum / 5000 + (double)1e-6f) * w[i]);
      bound[i] = 4 * 0x1p-24 * fabs(want[i]) + 0x1p-148;
    }
    tb_check_case("%s", tb_gen_name(gen));
    tb_check_bound("y", y, want, bound, 5000);
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_accuracy),
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn)
#include "simd/norm/norm.def"
#undef TB_ROW
};

int main(void) { return tb_check_main("norm", tests, sizeof tests / sizeof *tests); }
