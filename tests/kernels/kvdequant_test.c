/* kvdequant: every row against the reference, bit for bit, on random codes and hostile scales. */
#include "tests/check/check.h"

#include <string.h>

#include "simd/kernels.h"

struct setup {
  unsigned char *block;
  float *step, *low, *got, *want;
  size_t planes, ldx;
};

static struct setup setup_new(size_t planes, size_t bytes, size_t steps, unsigned gen, bool ternary, struct tb_rng *rng) {
  struct setup s = {.planes = planes, .ldx = planes + 3};
  const size_t n = TB_KV_BLOCK * s.ldx;
  s.block = tb_guard_new(bytes, 64);
  for (size_t i = 0; i < bytes; i++) s.block[i] = (unsigned char)(ternary ? (256 * (tb_rng_next(rng) % 243) + 242) / 243 : tb_rng_next(rng));
  s.step = tb_guard_new(steps * sizeof(float), 4);
  s.low = tb_guard_new(steps * sizeof(float), 4);
  s.got = tb_guard_new(n * sizeof(float), 4);
  s.want = tb_guard_new(n * sizeof(float), 4);
  tb_gen_floats(s.step, steps, (enum tb_check_gen)gen, rng);
  tb_gen_floats(s.low, steps, (enum tb_check_gen)gen, rng);
  for (size_t i = 0; i < n; i++) s.got[i] = s.want[i] = tb_rng_normal(rng);
  return s;
}

static void setup_check(struct setup *s) {
  tb_check_same("x", s->got, s->want, TB_KV_BLOCK * s->ldx, sizeof(float)); /* gaps between rows included */
  tb_guard_free(s->block);
  tb_guard_free(s->step);
  tb_guard_free(s->low);
  tb_guard_free(s->got);
  tb_guard_free(s->want);
}

static const size_t sizes[] = {32, 64, 96, 128, 256};
#define FOR_CASES                                                                                                      \
  for (unsigned gen = 0; gen < TB_GEN_COUNT; gen++)                                                                    \
    for (size_t i = 0; i < (tb_check_short() ? 3u : 5u); i++)                                                          \
      for (int add = 0; add < 2; add++)

static void test_kvdequant_keys2(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  struct tb_rng rng = {5};
  FOR_CASES {
    tb_check_case("%zu planes, %s, %s", sizes[i], tb_gen_name(gen), add ? "added" : "stored");
    struct setup s = setup_new(sizes[i], tb_keys2_bytes(sizes[i]), sizes[i], gen, false, &rng);
    ((tb_kvdequant_keys2_t *)row->kernel)(s.got, s.ldx, s.block, s.step, add ? NULL : s.low, s.planes);
    tb_kvdequant_keys2_ref(s.want, s.ldx, s.block, s.step, add ? NULL : s.low, s.planes);
    setup_check(&s);
  }
}

static void check_values(void **state, tb_kvdequant_values2_t *ref, size_t (*bytes)(size_t), bool ternary) {
  const struct tb_check_row *row = tb_check_begin(state);
  struct tb_rng rng = {6};
  FOR_CASES {
    tb_check_case("%zu planes, %s, %s", sizes[i], tb_gen_name(gen), add ? "added" : "stored");
    struct setup s = setup_new(sizes[i], bytes(sizes[i]), TB_KV_BLOCK, gen, ternary, &rng);
    ((tb_kvdequant_values2_t *)row->kernel)(s.got, s.ldx, s.block, s.step, add, s.planes);
    ref(s.want, s.ldx, s.block, s.step, add, s.planes);
    setup_check(&s);
  }
}

static void test_kvdequant_values2(void **state) { check_values(state, tb_kvdequant_values2_ref, tb_values2_bytes, false); }
static void test_kvdequant_ternary(void **state) { check_values(state, tb_kvdequant_ternary_ref, tb_ternary_bytes, true); }

/* The reference against the formula, through packing. */
static void test_formula(void **state) {
  (void)state;
  enum { PLANES = 32 };
  static uint8_t codes[TB_KV_BLOCK * PLANES];
  static unsigned char block[PLANES * 40];
  static float x[TB_KV_BLOCK * PLANES], step[TB_KV_BLOCK], low[PLANES];
  struct tb_rng rng = {7};
  for (size_t i = 0; i < TB_KV_BLOCK; i++) step[i] = (float)(1 + i);
  for (size_t i = 0; i < PLANES; i++) low[i] = -(float)i;
  for (size_t i = 0; i < sizeof codes; i++) codes[i] = (uint8_t)(tb_rng_next(&rng) % 3);
  tb_kvpack_keys2_ref(block, codes, PLANES);
  tb_kvdequant_keys2_ref(x, PLANES, block, step, low, PLANES);
  for (size_t i = 0; i < sizeof codes; i++) assert_true(x[i] == (float)codes[i] * step[i % PLANES] + low[i % PLANES]);
  tb_kvpack_values2_ref(block, codes, PLANES);
  tb_kvdequant_values2_ref(x, PLANES, block, step, false, PLANES);
  for (size_t i = 0; i < sizeof codes; i++) assert_true(x[i] == ((float)codes[i] - 1.5f) * step[i / PLANES]);
  tb_kvpack_ternary_ref(block, codes, PLANES);
  tb_kvdequant_ternary_ref(x, PLANES, block, step, true, PLANES);
  for (size_t i = 0; i < sizeof codes; i++)
    assert_true(x[i] == ((float)codes[i] - 1.5f) * step[i / PLANES] + ((float)codes[i] - 1.0f) * step[i / PLANES]);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_formula),
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn)
#include "simd/kvdequant/kvdequant.def"
#undef TB_ROW
};

int main(void) { return tb_check_main("kvdequant", tests, sizeof tests / sizeof *tests); }
