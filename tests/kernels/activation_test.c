/* activation: every row of simd/activation/activation.def within its bound of the real function, equal bits on all
 * vector tiers, and codes equal to those of quant_q8. */
#include "tests/check/check.h"

#include <math.h>
#include <string.h>

#include "simd/kernels.h"

struct member {
  double (*exact)(double gate);
  bool relative; /* to the result, or to gate · up */
  tb_silu_mul_t *lowest; /* vector tier of this CPU, NULL when there is none */
};

static double silu(double x) { return x / (1 + exp(-x)); }
static double gelu(double x) {
  /* as x / (1 + exp(-2u)): the form with tanh cancels */
  return x / (1 + exp(-2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

static struct member member_of(bool is_silu) {
  struct tb_kernels k;
  unsigned have = tb_isa_detect() & (TB_ISA_avx2 | TB_ISA_neon);
  tb_kernels_init(&k, have);
  struct member m = {is_silu ? silu : gelu, is_silu, NULL};
  if (have) m.lowest = is_silu ? k.silu_mul : k.gelu_mul;
  return m;
}

static void check_values(const struct member *m, const float *y, const float *gate, const float *up, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double size = fabs((double)gate[i] * up[i]), want = m->exact(gate[i]) * up[i];
    double tiny = (m->relative ? 0x1p-120 : 0x1p-149) * fabs((double)up[i]) + 0x1p-149;
    double bound = 0x1p-21 * (m->relative ? fabs(want) : size) + tiny;
    tb_check_bound("y", y + i, &want, &bound, 1);
  }
}

static void check_plain(const struct tb_check_row *row, const struct member *m, const float *gate, const float *up,
                        size_t n) {
  tb_silu_mul_t *kernel = (tb_silu_mul_t *)row->kernel;
  float *y = tb_guard_new(n * sizeof *y, 4), *z = tb_guard_new(n * sizeof *z, 4);
  kernel(y, gate, up, n);
  check_values(m, y, gate, up, n);
  memcpy(z, gate, n * sizeof *z);
  kernel(z, z, up, n);
  tb_check_same("y over gate", z, y, n, sizeof *z);
  memcpy(z, up, n * sizeof *z);
  kernel(z, gate, z, n);
  tb_check_same("y over up", z, y, n, sizeof *z);
  if (row->isa && m->lowest) {
    m->lowest(z, gate, up, n);
    tb_check_same("y of the lowest tier", z, y, n, sizeof *z);
  }
  tb_guard_free(y);
  tb_guard_free(z);
}

static void check_q8(const struct tb_check_row *row, const struct member *m, const float *gate, const float *up, size_t n) {
  float *y = tb_guard_new(n * sizeof *y, 4);
  int8_t *q = tb_guard_new(n, 1), *want_q = tb_guard_new(n, 1);
  float *d = tb_guard_new(n / 32 * sizeof *d, 4), *want_d = tb_guard_new(n / 32 * sizeof *d, 4);
  int16_t *s = tb_guard_new(n / 16 * sizeof *s, 2), *want_s = tb_guard_new(n / 16 * sizeof *s, 2);
  ((tb_silu_mul_q8_t *)row->kernel)(y, q, d, s, gate, up, n);
  check_values(m, y, gate, up, n);
  tb_quant_q8_ref(want_q, want_d, want_s, y, n);
  tb_check_same("q", q, want_q, n, sizeof *q);
  tb_check_same("d", d, want_d, n / 32, sizeof *d);
  tb_check_same("s", s, want_s, n / 16, sizeof *s);
  void *all[] = {y, q, want_q, d, want_d, s, want_s};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tb_guard_free(all[i]);
}

static void each_case(const struct tb_check_row *row, bool is_silu, bool q8) {
  static const size_t sizes[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 96, 100, 511, 576, 2048, 8200};
  const struct member m = member_of(is_silu);
  struct tb_rng rng = {31};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t i = 0; i < (tb_check_short() ? 14 : sizeof sizes / sizeof *sizes); i++) {
      const size_t n = sizes[i];
      if (q8 && n % 32) continue;
      tb_check_case("n %zu, %s", n, tb_gen_name(gen));
      float *gate = tb_guard_new(n * sizeof *gate, 4), *up = tb_guard_new(n * sizeof *up, 4);
      tb_gen_floats(gate, n, gen, &rng);
      tb_gen_floats(up, n, i % 2 ? TB_GEN_RANDOM : gen, &rng);
      if (gen == TB_GEN_RANDOM)
        for (size_t j = 0; j < n; j++) gate[j] *= (float)(1 << i % 8); /* up to some hundreds, where exp overflows */
      if (q8) check_q8(row, &m, gate, up, n);
      else check_plain(row, &m, gate, up, n);
      tb_guard_free(gate);
      tb_guard_free(up);
    }
}

/* The whole line, finely: range reduction has its worst cases at odd places. */
static void sweep(const struct tb_check_row *row, bool is_silu) {
  enum { N = 1024 };
  const struct member m = member_of(is_silu);
  float gate[N], up[N], y[N];
  for (int i = 0; i < N; i++) up[i] = 1;
  const float step = tb_check_short() ? 0.0371f : 0.000371f;
  for (float at = -130; at < 130; at = gate[N - 1] + step) {
    for (int i = 0; i < N; i++) gate[i] = at + (float)i * step;
    ((tb_silu_mul_t *)row->kernel)(y, gate, up, N);
    tb_check_case("gate from %g", (double)at);
    check_values(&m, y, gate, up, N);
  }
}

static void test_silu_mul(void **state) {
  each_case(tb_check_begin(state), true, false);
  sweep(*state, true);
}
static void test_gelu_mul(void **state) {
  each_case(tb_check_begin(state), false, false);
  sweep(*state, false);
}
static void test_silu_mul_q8(void **state) { each_case(tb_check_begin(state), true, true); }
static void test_gelu_mul_q8(void **state) { each_case(tb_check_begin(state), false, true); }

static const struct CMUnitTest tests[] = {
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn)
#include "simd/activation/activation.def"
#undef TB_ROW
};

int main(void) { return tb_check_main("activation", tests, sizeof tests / sizeof *tests); }
