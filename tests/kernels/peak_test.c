/* peak: every row of simd/peak/peak.def multiplies as often as it says. */
#include "tests/check/check.h"

#include "simd/kernels.h"

static void test_dot_peak(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  static const size_t rounds[] = {0, 1, 2, 7, 4095, 4096, 4097, 10000};
  uint64_t each = 0;
  for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++) {
    tb_check_case("%zu rounds", rounds[i]);
    uint32_t sum = 12345;
    const uint64_t n = ((tb_dot_peak_t *)row->kernel)(&sum, rounds[i]);
    if (rounds[i] == 1) each = n;
    assert_int_equal(sum, (uint32_t)n);
    assert_int_equal(n, each * rounds[i]);
  }
  assert_true(each > 0);
}

static const struct CMUnitTest tests[] = {
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn)
#include "simd/peak/peak.def"
#undef TB_ROW
};

int main(void) {
  return tb_check_main("peak", tests, sizeof tests / sizeof *tests);
}
