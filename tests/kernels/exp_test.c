/* exp: the vector exponential with and without SLEEF, both in every build: each within 1.01 ulp, together within one unit
 * in the last place, and ours with the same bits on every ISA. */
#include "tests/kernels/exp_test.h"

#include <math.h>
#include <stdlib.h>

#include "simd/half.h"
#include "tests/check/check.h"

enum { N = 4096 };

/* One unit in the last place of a float near e. */
static double ulp_of(double e) {
  int exponent;
  frexp(e, &exponent);
  return ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

static void check_values(const char *what, const float *y, const float *x) {
  double want[N], bound[N];
  for (int i = 0; i < N; i++) {
    want[i] = exp((double)x[i]);
    bound[i] = 1.01 * ulp_of(want[i]);
  }
  tb_check_bound(what, y, want, bound, N);
}

static void test_range(void **state, tb_exp_fn *other) {
  const struct tb_check_row *row = tb_check_begin(state);
  float x[N], y[N], z[N];
  const float step = tb_check_short() ? 0.004f : 0.00013f;
  for (float at = -103; at < 88.6f; at = x[N - 1] + step) {
    tb_check_case("from %g", (double)at);
    for (int i = 0; i < N; i++) x[i] = fminf(at + (float)i * step, 88.7f);
    ((tb_exp_fn *)row->kernel)(y, x, N);
    check_values("y", y, x);
    other(z, x, N);
    for (int i = 0; i < N; i++)
      if (labs((long)tb_float_bits(y[i]) - (long)tb_float_bits(z[i])) > 1) fail_msg("x %.9g: %.9g and %.9g", x[i], y[i], z[i]);
  }
  const float edge[16] = {0, -0.0f, 89, 200, 3e38f, INFINITY, -110, -3e38f, -INFINITY, NAN, 1e-40f, -1e-40f, 1, -1, 88.72f, -87.3f};
  ((tb_exp_fn *)row->kernel)(y, edge, 16);
  for (int i = 0; i < 16; i++) {
    float want = (float)exp((double)edge[i]);
    if (isnan(want)) assert_true(isnan(y[i]));
    else assert_true(y[i] == want || fabsf(y[i] - want) <= 1.2e-7f * want);
  }
}

/* FNV-1a over the bits of a fixed list of results: the same number on every ISA. */
static void check_hash(tb_exp_fn *ours) {
  uint64_t hash = 0xcbf29ce484222325u;
  float x[N], y[N];
  for (int k = 0; k < 8; k++) {
    for (int i = 0; i < N; i++) x[i] = (float)(k * N + i) * 0x1.7p-8f - 100.0f;
    ours(y, x, N);
    for (int i = 0; i < N; i++) hash = (hash ^ tb_float_bits(y[i])) * 0x100000001b3u;
  }
  if (hash != 0xfbc2180bbfdcb427u) fail_msg("the bits of v16_exp_ours changed: %llx", (unsigned long long)hash);
}

#define PAIR(tier)                                                                                                     \
  static void test_exp_ours_##tier(void **state) {                                                                     \
    test_range(state, tb_exp_built_##tier);                                                                            \
    check_hash(tb_exp_ours_##tier);                                                                                    \
  }                                                                                                                    \
  static void test_exp_built_##tier(void **state) { test_range(state, tb_exp_ours_##tier); }
#define ROWS(tier)                                                                                                     \
  TB_CHECK_ROW(exp_ours, tier, test_exp_ours_##tier)                                                                   \
  TB_CHECK_ROW(exp_built, tier, test_exp_built_##tier)

#if defined(__x86_64__)
PAIR(avx2)
PAIR(avx512)
#else
PAIR(neon)
#endif

static const struct CMUnitTest tests[] = {
#if defined(__x86_64__)
    ROWS(avx2) ROWS(avx512)
#else
    ROWS(neon)
#endif
};

int main(void) { return tb_check_main("exp", tests, sizeof tests / sizeof *tests); }
