/* attn_accum: every row against the reference, bit for bit; the reference against sums in double. */
#include "tests/check/check.h"

#include <math.h>
#include <string.h>

#include "simd/kernels.h"

static const size_t sizes[] = {32, 64, 96, 128, 160, 256, 512};
static const size_t heads[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
enum { HEADS = sizeof heads / sizeof *heads };
static size_t count(void) { return tb_check_short() ? 4 : sizeof sizes / sizeof *sizes; }

static void check_weights(tb_attn_weights_t *kernel, size_t n_q, const float *p, size_t ldp, const uint8_t *scale, int base,
                          size_t tokens) {
  int8_t *w[2];
  float *a[2], *b[2];
  for (int i = 0; i < 2; i++) {
    w[i] = tb_guard_new((n_q - 1) * TB_KV_BLOCK + tokens, 4);
    memset(w[i], 0, (n_q - 1) * TB_KV_BLOCK + tokens);
    a[i] = tb_guard_new(n_q * sizeof(float), 4);
    b[i] = tb_guard_new(n_q * sizeof(float), 4);
    (i ? tb_attn_weights_ref : kernel)(w[i], a[i], b[i], p, ldp, n_q, scale, tb_scale8_base_bits(base), base % 3 ? 1.5f : 1.0f,
                                        tokens);
  }
  tb_check_same("a", a[0], a[1], n_q, sizeof(float));
  tb_check_same("w", w[0], w[1], (n_q - 1) * TB_KV_BLOCK + tokens, 1);
  tb_check_same("b", b[0], b[1], n_q, sizeof(float));
  for (int i = 0; i < 2; i++) {
    tb_guard_free(w[i]);
    tb_guard_free(a[i]);
    tb_guard_free(b[i]);
  }
}

static void test_attn_weights(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  static const int bases[] = {-126, -40, -8, 0, 20, 60};
  struct tb_rng rng = {21};
  for (size_t h = 0; h < HEADS; h++)
    for (size_t i = 0; i < 6; i++)
      for (int kind = 0; kind < 4; kind++) { /* 0 ordinary, 1 one token has it all, 2 nothing, 3 zero scales */
        const size_t tokens = kind ? TB_KV_PART * (1 + tb_rng_next(&rng) % 5) : TB_KV_BLOCK;
        tb_check_case("%zu heads, base %d, kind %d, %zu tokens", heads[h], bases[i], kind, tokens);
        const size_t ldp = TB_KV_BLOCK + 7, n = (heads[h] - 1) * ldp + tokens;
        float *p = tb_guard_new(n * sizeof *p, 4);
        uint8_t *scale = tb_guard_new(tokens, 1);
        for (size_t j = 0; j < n; j++) p[j] = kind == 2 ? 0 : kind == 1 ? (j % ldp == tokens / 2 ? 1 : 1e-9f) : expf(6 * tb_rng_normal(&rng) - 6);
        for (size_t j = 0; j < tokens; j++) scale[j] = (uint8_t)(kind == 3 ? 0 : tb_rng_next(&rng));
        check_weights((tb_attn_weights_t *)row->kernel, heads[h], p, ldp, scale, bases[i], tokens);
        tb_guard_free(p);
        tb_guard_free(scale);
      }
}

static void check_accum(tb_attn_accum_values2_t *kernel, tb_attn_accum_values2_t *ref, size_t bytes, size_t planes, size_t n_q,
                        bool ternary, bool extreme, size_t first, size_t tokens, struct tb_rng *rng) {
  const size_t ldo = planes + 3, n = n_q * ldo;
  int8_t *w = tb_guard_new(n_q * TB_KV_BLOCK, 4);
  float *a = tb_guard_new(n_q * sizeof *a, 4), *got = tb_guard_new(n * sizeof *got, 4), *want = tb_guard_new(n * sizeof *want, 4);
  float *b = tb_guard_new(n_q * sizeof *b, 4);
  unsigned char *block = tb_guard_new(bytes, 64);
  for (size_t i = 0; i < bytes; i++)
    block[i] = (unsigned char)(extreme ? 255 : ternary ? (256 * (tb_rng_next(rng) % 243) + 242) / 243 : tb_rng_next(rng));
  for (size_t g = 0; g < n_q; g++) {
    a[g] = tb_rng_unit(rng);
    b[g] = tb_rng_normal(rng);
    for (size_t t = 0; t < TB_KV_BLOCK; t++) w[g * TB_KV_BLOCK + t] = (int8_t)(extreme ? 127 : tb_rng_next(rng) % 128);
  }
  for (size_t i = 0; i < n; i++) got[i] = want[i] = tb_rng_normal(rng);
  kernel(got, ldo, w, a, b, n_q, block, planes, first, tokens);
  ref(want, ldo, w, a, b, n_q, block, planes, first, tokens);
  tb_check_same("o", got, want, n, sizeof(float));
  tb_guard_free(w);
  tb_guard_free(a);
  tb_guard_free(got);
  tb_guard_free(want);
  tb_guard_free(b);
  tb_guard_free(block);
}

static void accum_cases(void **state, tb_attn_accum_values2_t *ref, size_t (*bytes)(size_t), bool ternary) {
  const struct tb_check_row *row = tb_check_begin(state);
  struct tb_rng rng = {22};
  for (size_t i = 0; i < count(); i++)
    for (size_t h = 0; h < HEADS; h++)
      for (int extreme = 0; extreme < 2; extreme++) {
        tb_check_case("%zu planes, %zu heads%s", sizes[i], heads[h], extreme ? ", extreme" : "");
        check_accum((tb_attn_accum_values2_t *)row->kernel, ref, bytes(sizes[i]), sizes[i], heads[h], ternary, extreme, 0, TB_KV_BLOCK,
                    &rng);
        const size_t unit = ternary ? 20 : 16, all = TB_KV_BLOCK / unit, first = tb_rng_next(&rng) % all;
        const size_t n = 1 + tb_rng_next(&rng) % (all - first);
        tb_check_case("%zu planes, %zu heads%s, %zu × %zu tokens from %zu on", sizes[i], heads[h], extreme ? ", extreme" : "", n,
                      unit, first * unit);
        check_accum((tb_attn_accum_values2_t *)row->kernel, ref, bytes(sizes[i]), sizes[i], heads[h], ternary, extreme,
                    first * unit, n * unit, &rng);
      }
}

static void test_attn_accum_values2(void **state) { accum_cases(state, tb_attn_accum_values2_ref, tb_values2_bytes, false); }
static void test_attn_accum_ternary(void **state) { accum_cases(state, tb_attn_accum_ternary_ref, tb_ternary_bytes, true); }

/* Weights and sums of the reference together, within the rounding of the weights to 7 bits. */
static void test_formula(void **state) {
  (void)state;
  enum { PLANES = 32 };
  struct tb_rng rng = {23};
  static uint8_t codes[TB_KV_BLOCK * PLANES];
  static unsigned char block[PLANES * 40];
  float p[TB_KV_BLOCK], o[PLANES], a, b;
  uint8_t scale[TB_KV_BLOCK];
  int8_t w[TB_KV_BLOCK];
  for (size_t t = 0; t < TB_KV_BLOCK; t++) {
    p[t] = tb_rng_unit(&rng);
    scale[t] = (uint8_t)(112 + tb_rng_next(&rng) % 32); /* 2^7 … 2^9 above the base */
  }
  for (size_t i = 0; i < sizeof codes; i++) codes[i] = (uint8_t)(tb_rng_next(&rng) % 3);
  for (int ternary = 0; ternary < 2; ternary++) {
    memset(o, 0, sizeof o);
    (ternary ? tb_kvpack_ternary_ref : tb_kvpack_values2_ref)(block, codes, PLANES);
    tb_attn_weights_ref(w, &a, &b, p, TB_KV_BLOCK, 1, scale, tb_scale8_base_bits(-8), ternary ? 1.0f : 1.5f, TB_KV_BLOCK);
    (ternary ? tb_attn_accum_ternary_ref : tb_attn_accum_values2_ref)(o, PLANES, w, &a, &b, 1, block, PLANES, 0, TB_KV_BLOCK);
    for (size_t c = 0; c < PLANES; c++) {
      double want = 0, slack = 0;
      for (size_t t = 0; t < TB_KV_BLOCK; t++) {
        double s = ldexp(1 + scale[t] % 16 / 16.0, scale[t] / 16 - 8), u = codes[t * PLANES + c] - (ternary ? 1 : 1.5);
        want += p[t] * s * u;
        slack += fabs(u) * a * 0.5;
      }
      assert_true(fabs(o[c] - want) <= slack + 1e-3);
    }
  }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_formula),
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn)
#include "simd/attn_accum/attn_accum.def"
#undef TB_ROW
};

int main(void) { return tb_check_main("attn_accum", tests, sizeof tests / sizeof *tests); }
