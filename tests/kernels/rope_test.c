/* rope: every row of simd/rope/rope.def against the reference, bit for bit; and the reference against rotations. */
#include "tests/check/check.h"

#include <math.h>
#include <string.h>

#include "simd/kernels.h"

/* Both kernels have one signature. A head of `extra` more elements than are rotated; those stay. */
static void check_head(tb_rope_norm_t *kernel, tb_rope_norm_t *ref, size_t n_rot, size_t extra, enum tb_check_gen gen,
                       struct tb_rng *rng) {
  tb_check_case("n_rot %zu of %zu, %s", n_rot, n_rot + extra, tb_gen_name(gen));
  const size_t d = n_rot + extra;
  float *x = tb_guard_new(d * sizeof *x, 4), *want = tb_guard_new(d * sizeof *want, 4);
  float *c = tb_guard_new(n_rot / 2 * sizeof *c, 4), *s = tb_guard_new(n_rot / 2 * sizeof *s, 4);
  tb_gen_floats(x, d, gen, rng);
  memcpy(want, x, d * sizeof *x);
  for (size_t i = 0; i < n_rot / 2; i++) {
    double angle = (double)(tb_rng_next(rng) % 100000) * pow(1e4, -2.0 * (double)i / (double)n_rot);
    c[i] = (float)cos(angle);
    s[i] = (float)sin(angle);
  }
  kernel(x, c, s, n_rot);
  ref(want, c, s, n_rot);
  tb_check_same("x", x, want, d, sizeof *x);
  tb_guard_free(x);
  tb_guard_free(want);
  tb_guard_free(c);
  tb_guard_free(s);
}

static void each_case(const struct tb_check_row *row, tb_rope_norm_t *ref) {
  struct tb_rng rng = {21};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t n_rot = 2; n_rot <= 264; n_rot += n_rot < 80 ? 2 : (tb_check_short() ? 46 : 6))
      check_head((tb_rope_norm_t *)row->kernel, ref, n_rot, n_rot % 5, gen, &rng);
}

static void test_rope_norm(void **state) { each_case(tb_check_begin(state), tb_rope_norm_ref); }
static void test_rope_neox(void **state) { each_case(tb_check_begin(state), tb_rope_neox_ref); }

/* A quarter turn takes (a, b) to (-b, a). */
static void test_quarter_turn(void **state) {
  (void)state;
  const float zero[3] = {0}, one[3] = {1, 1, 1};
  float x[7] = {1, 2, 3, 4, 5, 6, 7}, y[7] = {1, 2, 3, 4, 5, 6, 7};
  const float want_norm[7] = {-2, 1, -4, 3, -6, 5, 7}, want_neox[7] = {-4, -5, -6, 1, 2, 3, 7};
  tb_rope_norm_ref(x, zero, one, 6);
  tb_rope_neox_ref(y, zero, one, 6);
  for (int i = 0; i < 7; i++) {
    assert_true(x[i] == want_norm[i]);
    assert_true(y[i] == want_neox[i]);
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_quarter_turn),
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn)
#include "simd/rope/rope.def"
#undef TB_ROW
};

int main(void) { return tb_check_main("rope", tests, sizeof tests / sizeof *tests); }
