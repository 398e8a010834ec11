/* dequant: every row of simd/dequant/dequant.def against the reference, bit for bit. */
#include "tests/check/check.h"

#include "simd/half.h"
#include "simd/kernels.h"

static void check_one(const struct tb_check_row *row, size_t k, enum tb_check_gen gen, struct tb_rng *rng) {
  tb_check_case("k %zu, %s", k, tb_gen_name(gen));
  struct tb_kernels ref;
  tb_kernels_init(&ref, 0);
  const size_t bytes = tb_row_bytes(row->format, k);
  void *w = tb_guard_new(bytes, 2);
  float *got = tb_guard_new(k * sizeof *got, 4), *want = tb_guard_new(k * sizeof *want, 4);
  tb_gen_weights(w, row->format, 1, k, gen, rng);
  ((tb_dequant_t *)row->kernel)(got, w, k);
  ref.dequant[row->format](want, w, k);
  tb_check_same("y", got, want, k, sizeof *got);
  tb_guard_free(w);
  tb_guard_free(got);
  tb_guard_free(want);
}

static void test_dequant(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  const size_t block = tb_formats[row->format].block_values, most = tb_check_short() ? 5 : 40;
  struct tb_rng rng = {1};
  for (int gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t n = 1; n <= most; n++) check_one(row, n * block, gen, &rng);
}

/* All 65536 bit patterns of the 16-bit formats that are not NaN. */
static void test_half_exhaustive(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 65536; h++) {
    float f = tb_f16_to_f32((uint16_t)h), b = tb_bf16_to_f32((uint16_t)h);
    if ((h & 0x7fff) <= 0x7c00) assert_int_equal(tb_f32_to_f16(f), h);
    if ((h & 0x7fff) <= 0x7f80) assert_int_equal(tb_f32_to_bf16(b), h);
  }
  assert_int_equal(tb_f32_to_f16(0x1.ffep15f), 0x7c00); /* just above the largest: infinity */
  assert_int_equal(tb_f32_to_f16(0x1p-25f), 0);         /* a tie, to even */
  assert_int_equal(tb_f32_to_f16(0x1.8p-24f), 2);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_half_exhaustive),
#define TB_ROW_FMT(fn, fmt, isa) TB_CHECK_ROW_FMT(fn, fmt, isa, test_dequant)
#include "simd/dequant/dequant.def"
#undef TB_ROW_FMT
};

int main(void) { return tb_check_main("dequant", tests, sizeof tests / sizeof *tests); }
