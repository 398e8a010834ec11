/* quant: every row of simd/quant/quant.def against the reference, bit for bit; and the reference against its formula. */
#include "tests/check/check.h"

#include <math.h>

#include "simd/half.h"
#include "simd/kernels.h"

struct out {
  int8_t *q;
  float *d;
  int16_t *s;
};

static struct out out_new(size_t k) {
  return (struct out){tb_guard_new(k, 64), tb_guard_new(k / 32 * sizeof(float), 64), tb_guard_new(k / 16 * sizeof(int16_t), 64)};
}

static void out_free(struct out *o) {
  tb_guard_free(o->q);
  tb_guard_free(o->d);
  tb_guard_free(o->s);
}

static void check_values(tb_quant_q8_t *kernel, const float *x, size_t k) {
  struct out got = out_new(k), want = out_new(k);
  kernel(got.q, got.d, got.s, x, k);
  tb_quant_q8_ref(want.q, want.d, want.s, x, k);
  tb_check_same("d", got.d, want.d, k / 32, sizeof *got.d);
  tb_check_same("q", got.q, want.q, k, sizeof *got.q);
  tb_check_same("s", got.s, want.s, k / 16, sizeof *got.s);
  out_free(&got);
  out_free(&want);
}

static void test_quant_q8(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  struct tb_rng rng = {2};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t k = 32; k <= (tb_check_short() ? 128u : 2048u); k += 32) {
      tb_check_case("k %zu, %s", k, tb_gen_name(gen));
      float *x = tb_guard_new(k * sizeof *x, 4);
      tb_gen_floats(x, k, gen, &rng);
      check_values((tb_quant_q8_t *)row->kernel, x, k);
      tb_guard_free(x);
    }
}

/* Ties of the rounding, and magnitudes around the one below which a group counts as zero. */
static void test_quant_q8_edges(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  float x[32];
  for (int i = 0; i < 32; i++) x[i] = (float)i - 15.5f;
  x[31] = 127; /* scale 1: the others are ties */
  tb_check_case("ties");
  check_values((tb_quant_q8_t *)row->kernel, x, 32);
  for (float m = 0x1p-149f; m < 0x1p-100f; m *= 1.37f + 0x1p-149f / m) {
    tb_check_case("magnitude %g", (double)m);
    for (int i = 0; i < 32; i++) x[i] = i % 3 ? m : -m / 2;
    check_values((tb_quant_q8_t *)row->kernel, x, 32);
  }
}

static void test_formula(void **state) {
  (void)state;
  float x[64];
  struct tb_rng rng = {3};
  tb_gen_floats(x, 64, TB_GEN_RANDOM, &rng);
  int8_t q[64];
  float d[2];
  int16_t s[4];
  tb_quant_q8_ref(q, d, s, x, 64);
  for (int i = 0; i < 64; i++) assert_true(fabsf(x[i] - d[i / 32] * q[i]) <= 0.501f * d[i / 32]);
  for (int g = 0; g < 4; g++) {
    int sum = 0;
    for (int i = 0; i < 16; i++) sum += q[16 * g + i];
    assert_int_equal(s[g], sum);
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_formula),
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn) TB_CHECK_ROW(fn, isa, test_##fn##_edges)
#include "simd/quant/quant.def"
#undef TB_ROW
};

int main(void) { return tb_check_main("quant", tests, sizeof tests / sizeof *tests); }
