/* merge: every row of simd/merge/merge.def against the reference, bit for bit, in place and not. */
#include "tests/check/check.h"

#include <string.h>

#include "simd/half.h"
#include "simd/kernels.h"

static void test_merge_scale(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  struct tb_rng rng = {61};
  static const size_t sizes[] = {0, 1, 2, 15, 16, 17, 31, 32, 160, 161};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
      for (size_t heads = 1; heads <= 5; heads += 2) {
        const size_t n = sizes[i], ld = n + 3;
        tb_check_case("n %zu, %zu heads, %s", n, heads, tb_gen_name(gen));
        float *x = tb_guard_new(heads * ld * sizeof *x, 4), *y = tb_guard_new(heads * ld * sizeof *y, 4);
        float *want = tb_guard_new(heads * ld * sizeof *want, 4);
        uint16_t *m = tb_guard_new(n * sizeof *m, 2);
        tb_gen_floats(x, heads * ld, gen, &rng);
        for (size_t t = 0; t < n; t++) m[t] = tb_f32_to_f16(tb_rng_unit(&rng) * (t % 7 ? 4.0f : 1e-5f));
        memcpy(y, x, heads * ld * sizeof *x);
        memcpy(want, x, heads * ld * sizeof *x);
        tb_merge_scale_ref(want, ld, x, ld, heads, m, n);
        ((tb_merge_scale_t *)row->kernel)(y, ld, x, ld, heads, m, n);
        tb_check_same("y", y, want, heads * ld, sizeof *y);
        ((tb_merge_scale_t *)row->kernel)(x, ld, x, ld, heads, m, n);
        tb_check_same("x in place", x, want, heads * ld, sizeof *x);
        tb_guard_free(x), tb_guard_free(y), tb_guard_free(want), tb_guard_free(m);
      }
}

static const struct CMUnitTest tests[] = {
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn)
#include "simd/merge/merge.def"
#undef TB_ROW
};

int main(void) { return tb_check_main("merge", tests, sizeof tests / sizeof *tests); }
