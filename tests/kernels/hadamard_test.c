/* hadamard: every row of simd/hadamard/hadamard.def against the reference, bit for bit; and the reference against the
 * matrix. */
#include "tests/check/check.h"

#include <math.h>
#include <string.h>

#include "simd/kernels.h"

static void test_hadamard(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  struct tb_rng rng = {51};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t d = 16; d <= 512; d *= 2)
      for (int turn = 0; turn < (tb_check_short() ? 2 : 20); turn++) {
        tb_check_case("d %zu, %s", d, tb_gen_name(gen));
        float *x = tb_guard_new(d * sizeof *x, 4), *want = tb_guard_new(d * sizeof *want, 4);
        tb_gen_floats(x, d, gen, &rng);
        memcpy(want, x, d * sizeof *x);
        ((tb_hadamard_t *)row->kernel)(x, d);
        tb_hadamard_ref(want, d);
        tb_check_same("x", x, want, d, sizeof *x);
        tb_guard_free(x);
        tb_guard_free(want);
      }
}

static void test_matrix(void **state) {
  (void)state;
  struct tb_rng rng = {52};
  float x[512], y[512];
  double want[512], bound[512];
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t d = 16; d <= 512; d *= 2) {
      tb_check_case("d %zu, %s", d, tb_gen_name(gen));
      tb_gen_floats(x, d, gen, &rng);
      double size = 0;
      for (size_t j = 0; j < d; j++) size += fabs((double)x[j]);
      for (size_t i = 0; i < d; i++) {
        want[i] = 0;
        for (size_t j = 0; j < d; j++) want[i] += __builtin_parityl(i & j) ? -(double)x[j] : x[j];
        want[i] /= sqrt((double)d);
        bound[i] = (log2((double)d) + 2) * 0x1p-24 * size / sqrt((double)d) + 0x1p-149;
      }
      memcpy(y, x, sizeof y);
      tb_hadamard_ref(y, d);
      tb_check_bound("y", y, want, bound, d);
      tb_hadamard_ref(y, d);
      for (size_t i = 0; i < d; i++) {
        want[i] = x[i];
        bound[i] = 2 * (log2((double)d) + 3) * 0x1p-24 * size + 0x1p-140;
      }
      tb_check_bound("x back", y, want, bound, d);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_matrix),
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn)
#include "simd/hadamard/hadamard.def"
#undef TB_ROW
};

int main(void) { return tb_check_main("hadamard", tests, sizeof tests / sizeof *tests); }
