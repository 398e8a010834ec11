/* attn_score: every row against the reference, bit for bit; the reference against sums in double over its own codes. */
#include "tests/check/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "simd/half.h"
#include "simd/kernels.h"

static const size_t sizes[] = {32, 64, 96, 128, 256, 512};
static const size_t heads[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
enum { HEADS = sizeof heads / sizeof *heads };
static size_t count(void) { return tb_check_short() ? 4 : sizeof sizes / sizeof *sizes; }

static void halves(uint16_t *h, size_t n, enum tb_check_gen gen, struct tb_rng *rng) {
  float *x = malloc(n * sizeof *x);
  tb_gen_floats(x, n, gen, rng);
  for (size_t i = 0; i < n; i++) h[i] = tb_f32_to_f16(fminf(fmaxf(x[i], -6e4f), 6e4f));
  free(x);
}

struct fold {
  int8_t *codes;
  float *a, *b;
};

static struct fold fold_new(size_t n_q, size_t planes) {
  return (struct fold){tb_guard_new(n_q * planes, 4), tb_guard_new(n_q * sizeof(float), 4),
                       tb_guard_new(n_q * sizeof(float), 4)};
}

static void fold_free(struct fold *f) {
  tb_guard_free(f->codes);
  tb_guard_free(f->a);
  tb_guard_free(f->b);
}

static void check_fold(tb_attn_fold_t *kernel, size_t planes, size_t n_q, bool with_mid, enum tb_check_gen gen, struct tb_rng *rng) {
  const size_t ldq = planes + 5;
  struct fold got = fold_new(n_q, planes), want = fold_new(n_q, planes);
  float *q = tb_guard_new(((n_q - 1) * ldq + planes) * sizeof *q, 4);
  uint16_t *step = tb_guard_new(planes * 2, 2), *mid = tb_guard_new(planes * 2, 2);
  tb_gen_floats(q, (n_q - 1) * ldq + planes, gen, rng);
  halves(step, planes, gen, rng);
  halves(mid, planes, gen, rng);
  kernel(got.codes, got.a, got.b, q, ldq, n_q, step, with_mid ? mid : NULL, planes);
  tb_attn_fold_ref(want.codes, want.a, want.b, q, ldq, n_q, step, with_mid ? mid : NULL, planes);
  tb_check_same("a", got.a, want.a, n_q, sizeof(float));
  tb_check_same("code", got.codes, want.codes, n_q * planes, 1);
  tb_check_same("b", got.b, want.b, n_q, sizeof(float));
  fold_free(&got);
  fold_free(&want);
  tb_guard_free(q);
  tb_guard_free(step);
  tb_guard_free(mid);
}

static void test_attn_fold(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  struct tb_rng rng = {11};
  for (unsigned gen = 0; gen < TB_GEN_COUNT; gen++)
    for (size_t i = 0; i < count(); i++)
      for (size_t h = 0; h < HEADS; h += 3) {
        tb_check_case("%zu planes, %zu heads, %s", sizes[i], heads[h], tb_gen_name(gen));
        check_fold((tb_attn_fold_t *)row->kernel, sizes[i], heads[h], (i + gen) % 3, gen, &rng);
      }
}

static void check_score(tb_attn_score_keys2_t *kernel, size_t planes, size_t n_q, bool add, bool extreme, size_t first, size_t tokens,
                        struct tb_rng *rng) {
  const size_t lds = TB_KV_BLOCK + 3, n = n_q * lds;
  struct fold f = fold_new(n_q, planes);
  unsigned char *block = tb_guard_new(tb_keys2_bytes(planes), 64);
  float *got = tb_guard_new(n * sizeof *got, 4), *want = tb_guard_new(n * sizeof *want, 4);
  for (size_t i = 0; i < tb_keys2_bytes(planes); i++) block[i] = (unsigned char)(extreme ? 0xff : tb_rng_next(rng));
  for (size_t i = 0; i < n_q * planes; i++)
    f.codes[i] = (int8_t)(extreme ? (i / planes % 2 ? -127 : 127) : (int)(tb_rng_next(rng) % 255) - 127);
  for (size_t g = 0; g < n_q; g++) {
    f.a[g] = tb_rng_unit(rng);
    f.b[g] = tb_rng_normal(rng);
  }
  for (size_t i = 0; i < n; i++) got[i] = want[i] = tb_rng_normal(rng);
  kernel(got, lds, f.codes, f.a, f.b, add, n_q, block, planes, first, tokens);
  tb_attn_score_keys2_ref(want, lds, f.codes, f.a, f.b, add, n_q, block, planes, first, tokens);
  tb_check_same("s", got, want, n, sizeof(float));
  fold_free(&f);
  tb_guard_free(block);
  tb_guard_free(got);
  tb_guard_free(want);
}

static void test_attn_score_keys2(void **state) {
  const struct tb_check_row *row = tb_check_begin(state);
  struct tb_rng rng = {12};
  for (size_t i = 0; i < count(); i++)
    for (size_t h = 0; h < HEADS; h++)
      for (int variant = 0; variant < 4; variant++) {
        tb_check_case("%zu planes, %zu heads, variant %d", sizes[i], heads[h], variant);
        check_score((tb_attn_score_keys2_t *)row->kernel, sizes[i], heads[h], variant & 1, variant & 2, 0, TB_KV_BLOCK, &rng);
        const size_t first = tb_rng_next(&rng) % 5, parts = 1 + tb_rng_next(&rng) % (5 - first);
        tb_check_case("%zu planes, %zu heads, variant %d, %zu parts from %zu on", sizes[i], heads[h], variant, parts, first);
        check_score((tb_attn_score_keys2_t *)row->kernel, sizes[i], heads[h], variant & 1, variant & 2, first * TB_KV_PART,
                    parts * TB_KV_PART, &rng);
      }
  tb_check_case("most planes");
  check_score((tb_attn_score_keys2_t *)row->kernel, TB_KV_PLANES_MAX, 2, false, true, 0, TB_KV_BLOCK, &rng);
}

/* Fold and score of the reference together: q · (mid + step·(u - 1.5)), within the rounding of the query to 8 bits. */
static void test_formula(void **state) {
  (void)state;
  enum { PLANES = 64, N_Q = 2 };
  struct tb_rng rng = {13};
  static uint8_t codes[TB_KV_BLOCK * PLANES];
  static unsigned char block[PLANES * 40];
  float q[N_Q * PLANES], a[N_Q], b[N_Q], s[N_Q * TB_KV_BLOCK];
  uint16_t step[PLANES], mid[PLANES];
  int8_t folded[N_Q * PLANES];
  tb_gen_floats(q, N_Q * PLANES, TB_GEN_RANDOM, &rng);
  halves(step, PLANES, TB_GEN_RANDOM, &rng);
  halves(mid, PLANES, TB_GEN_RANDOM, &rng);
  for (size_t i = 0; i < sizeof codes; i++) codes[i] = (uint8_t)(tb_rng_next(&rng) % 4);
  tb_kvpack_keys2_ref(block, codes, PLANES);
  tb_attn_fold_ref(folded, a, b, q, PLANES, N_Q, step, mid, PLANES);
  tb_attn_score_keys2_ref(s, TB_KV_BLOCK, folded, a, b, false, N_Q, block, PLANES, 0, TB_KV_BLOCK);
  for (size_t g = 0; g < N_Q; g++)
    for (size_t t = 0; t < TB_KV_BLOCK; t++) {
      double want = 0, slack = 0;
      for (size_t c = 0; c < PLANES; c++) {
        double u = codes[t * PLANES + c] - 1.5;
        want += q[g * PLANES + c] * ((double)tb_f16_to_f32(mid[c]) + tb_f16_to_f32(step[c]) * u);
        slack += fabs(u) * a[g] * 0.5;
      }
      assert_true(fabs(s[g * TB_KV_BLOCK + t] - want) <= slack + 1e-3);
    }
}

static void test_silence(void **state) {
  (void)state;
  enum { PLANES = 32 };
  float q[PLANES] = {0}, a, b;
  uint16_t step[PLANES], mid[PLANES] = {0};
  int8_t codes[PLANES];
  memset(step, 0x11, sizeof step);
  tb_attn_fold_ref(codes, &a, &b, q, PLANES, 1, step, mid, PLANES);
  assert_true(a == 0 && b == 0);
  for (int i = 0; i < PLANES; i++) q[i] = 0x1p-120f; /* below the limit */
  tb_attn_fold_ref(codes, &a, &b, q, PLANES, 1, step, mid, PLANES);
  assert_true(a == 0 && b == 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_formula),
    cmocka_unit_test(test_silence),
#define TB_ROW(fn, isa) TB_CHECK_ROW(fn, isa, test_##fn)
#include "simd/attn_score/attn_score.def"
#undef TB_ROW
};

int main(void) { return tb_check_main("attn_score", tests, sizeof tests / sizeof *tests); }
