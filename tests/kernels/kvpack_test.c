/* kvpack: every row against the reference, bit for bit; every code pattern survives packing; the 243 groups of five
 * trits, exhaustively. */
#include "tests/check/check.h"

#include <string.h>

#include "simd/kernels.h"

static const size_t sizes[] = {32, 64, 96, 128, 160, 256, 1024};
enum { SIZES = sizeof sizes / sizeof *sizes };

static size_t count(void) { return tb_check_short() ? 4 : SIZES; }

static void fill(uint8_t *codes, size_t n, unsigned levels, unsigned pattern, struct tb_rng *rng) {
  for (size_t i = 0; i < n; i++)
    codes[i] = (uint8_t)(pattern == 0 ? tb_rng_next(rng) % levels : pattern == 1 ? levels - 1 : pattern == 2 ? 0 : i % levels);
}

/* Packs random, extreme and counting codes with the kernel and the reference. */
static void check_pack(tb_kvpack_keys2_t *kernel, tb_kvpack_keys2_t *ref, size_t (*bytes)(size_t), unsigned levels) {
  struct tb_rng rng = {1};
  for (size_t i = 0; i < count(); i++)
    for (unsigned pattern = 0; pattern < 4; pattern++) {
      const size_t planes = sizes[i], n = TB_KV_BLOCK * planes;
      tb_check_case("%zu planes, pattern %u", planes, pattern);
      uint8_t *codes = tb_guard_new(n, 1);
      unsigned char *got = tb_guard_new(bytes(planes), 64), *want = tb_guard_new(bytes(planes), 64);
      fill(codes, n, levels, pattern, &rng);
      kernel(got, codes, planes);
      ref(want, codes, planes);
      tb_check_same("block", got, want, bytes(planes), 1);
      tb_guard_free(codes);
      tb_guard_free(got);
      tb_guard_free(want);
    }
}

#define TEST(layout, levels)                                                                                           \
  static void test_kvpack_##layout(void **state) {                                                                     \
    const struct tb_check_row *row = tb_check_begin(state);                                                            \
    check_pack((tb_kvpack_keys2_t *)row->kernel, tb_kvpack_##layout##_ref, tb_##layout##_bytes, levels);               \
  }
TEST(keys2, 4)
TEST(values2, 4)
TEST(ternary, 3)

/* Every code has bits of its own: all-ones codes fill the block, and one code moved touches one byte. */
static void test_two_bits_per_code(void **state) {
  (void)state;
  enum { PLANES = 96 };
  static uint8_t codes[TB_KV_BLOCK * PLANES];
  static unsigned char block[PLANES * 40], ones[PLANES * 40];
  memset(ones, 0xff, sizeof ones);
  memset(codes, 3, sizeof codes);
  assert_int_equal(tb_keys2_bytes(PLANES), sizeof block);
  assert_int_equal(tb_values2_bytes(PLANES), sizeof block);
  tb_kvpack_keys2_ref(block, codes, PLANES);
  assert_memory_equal(block, ones, sizeof block);
  tb_kvpack_values2_ref(block, codes, PLANES);
  assert_memory_equal(block, ones, sizeof block);
}

/* The documented places, spelled out once: token 17 + 32, plane 13; token 6, planes 70 and 37 of 96. */
static void test_places(void **state) {
  (void)state;
  struct tb_kv_place p = tb_keys2_place(64, 49, 13);
  assert_int_equal(p.byte, (8 + 1) * 64 + 1 * 4 + 1); /* second token group, line 1, lane 1, byte 1 */
  assert_int_equal(p.at, 4 + 2);
  p = tb_values2_place(96, 6, 70);
  assert_int_equal(p.byte, 64 * 40 + 1 * 32 + 6 * 4 + 2);
  assert_int_equal(p.at, 0);
  p = tb_values2_place(96, 6, 37);
  assert_int_equal(p.byte, 1 * 64 + 5 * 4 + 2);
  assert_int_equal(p.at, 4);
  p = tb_ternary_place(96, 26, 80);
  assert_int_equal(p.byte, 64 * 32 + (1 * 2 + 1) * 64 + 0 * 4 + 2);
  assert_int_equal(p.at, 1);
}

/* All 243 groups of five trits through bytes, and the arithmetic of the decoder on each. */
static void test_every_trit_group(void **state) {
  (void)state;
  enum { PLANES = 32 };
  static uint8_t codes[TB_KV_BLOCK * PLANES];
  static unsigned char block[PLANES * 32];
  bool seen[256] = {false};
  for (unsigned v = 0; v < 243; v++) {
    unsigned rest = v;
    for (int k = 4; k >= 0; k--, rest /= 3) codes[4 * k * PLANES] = (uint8_t)(rest % 3);
    tb_kvpack_ternary_ref(block, codes, PLANES);
    assert_false(seen[block[0]]);
    seen[block[0]] = true;
    unsigned y = block[0];
    for (int k = 0; k < 5; k++, y = 3 * y & 255) {
      assert_int_equal(3 * y >> 8, codes[4 * k * PLANES]);
      assert_int_equal((y >= 86) + (y >= 171), codes[4 * k * PLANES]); /* what vector code may use instead */
    }
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_two_bits_per_code),
    cmocka_unit_test(test_places),
    cmocka_unit_test(test_every_trit_group),
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn)
#include "simd/kvpack/kvpack.def"
#undef TB_ROW
};

int main(void) { return tb_check_main("kvpack", tests, sizeof tests / sizeof *tests); }
