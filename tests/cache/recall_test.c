/* Recall: what is chosen, what a choice may leave out, and that rows which changed places are still themselves. What every
 * policy promises (chunks, threads, bytes, saving) is held by conformance_test.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/rng.h"
#include "cache/cache.h"
#include "simd/isa.h"

enum { HEADS = 4, KV = 2, D = 32, CTX = 1400, TOPICS = 24, WINDOW = 32, SINKS = 4, NEEDLE = 77 };

static float topics[TOPICS][KV * D], keys[CTX * KV * D], values[CTX * KV * D];
static struct tb_kv_shape shape = {.n_head = HEADS, .n_kv = KV, .d_k = D, .d_v = D, .scale = 0.2f};

/* Keys of a token lie around one of few topics; NEEDLE stands alone. */
static int setup(void **state) {
  (void)state;
  struct tb_rng rng = {21};
  for (int i = 0; i < TOPICS * KV * D; i++)
    topics[i / (KV * D)][i % (KV * D)] = 1.5f * tb_rng_normal(&rng);
  for (uint32_t t = 0, topic = 0; t < CTX; t++) {
    if (t % 7 == 0) topic = (uint32_t)(tb_rng_next(&rng) % TOPICS);
    for (uint32_t c = 0; c < KV * D; c++) {
      keys[t * KV * D + c] = topics[topic][c] + 0.5f * tb_rng_normal(&rng);
      values[t * KV * D + c] = tb_rng_normal(&rng);
    }
  }
  for (uint32_t c = 0; c < KV * D; c++)
    keys[NEEDLE * KV * D + c] = 3 * tb_rng_normal(&rng);
  return 0;
}

struct rig {
  struct tb_plan_layer plan;
  struct tb_cache_config config;
  struct tb_kernels kernels;
  struct tb_team *team;
  struct tb_cache *cache;
};

/* type: of keys, and of values where nothing follows behind a slash. */
static void rig_make(struct rig *r, const char *type, uint32_t recall) {
  unsigned mask = 0;
  const char *reason;
  struct tb_error err = {0};
  assert_true(tb_isa_select(getenv("TB_ISA"), &mask, &reason));
  memset(r, 0, sizeof *r);
  r->plan = (struct tb_plan_layer){.window = WINDOW, .sinks = SINKS, .recall = recall, .cluster = 16};
  const char *values_type = strchr(type, '/') ? strchr(type, '/') + 1 : type;
  memcpy(r->plan.type_k, type, strcspn(type, "/"));
  memcpy(r->plan.type_v, values_type, strlen(values_type));
  r->config = (struct tb_cache_config){
      .n_layer = 1, .shapes = &shape, .plan = &r->plan, .n_ctx = CTX, .n_batch = 512, .n_threads = 2};
  tb_kernels_init(&r->kernels, mask);
  assert_int_equal(tb_team_create(&r->team, 2, &tb_system_allocator, NULL), TB_OK);
  if (tb_cache_create(&r->cache, &r->config, &r->kernels, r->team, &tb_system_allocator, &err)) fail_msg("%s", err.text);
}

static void rig_free(struct rig *r) {
  tb_cache_free(r->cache);
  tb_team_free(r->team);
}

/* Appends tokens from … to-1; q and out belong to the last one and may be NULL. */
static void step(struct rig *r, uint32_t from, uint32_t to, const float *q, float *out) {
  static float k[512 * KV * D], v[512 * KV * D], unused[512 * HEADS * D], no_q[512 * HEADS * D];
  const size_t n = (size_t)(to - from) * KV * D;
  memcpy(k, keys + (size_t)from * KV * D, n * sizeof *k);
  memcpy(v, values + (size_t)from * KV * D, n * sizeof *v);
  tb_cache_step(r->cache, to - from);
  tb_cache_append(r->cache, 0, k, v);
  tb_cache_attend(r->cache, 0, q ? q : no_q, out ? out : unused);
}

static void fill(struct rig *r, uint32_t from, uint32_t to) {
  for (uint32_t at = from; at < to; at += 512)
    step(r, at, to - at < 512 ? to : at + 512, NULL, NULL);
}

/* A query for every head along a row of keys. */
static void aim(float *q, const float *row, float strength) {
  for (uint32_t h = 0; h < HEADS; h++)
    for (uint32_t c = 0; c < D; c++)
      q[h * D + c] = strength * row[h / (HEADS / KV) * D + c];
}

static double distance(const float *a, const float *b) {
  double error = 0, sum = 0;
  for (int i = 0; i < HEADS * D; i++) {
    error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    sum += (double)b[i] * b[i];
  }
  return sqrt(error / sum);
}

static void test_full_budget_is_dense(void **state) {
  (void)state;
  static const char *const types[] = {"f32", "f16", "q8_0", "q4_0"};
  float q[HEADS * D], dense[HEADS * D], all[HEADS * D];
  aim(q, topics[3], 1);
  for (int i = 0; i < 4; i++) {
    struct rig a, b;
    rig_make(&a, types[i], 0);
    rig_make(&b, types[i], CTX);
    for (uint32_t n = 300; n <= 1300; n += 250) {
      fill(&a, n == 300 ? 0 : n - 250, n - 1);
      fill(&b, n == 300 ? 0 : n - 250, n - 1);
      step(&a, n - 1, n, q, dense);
      step(&b, n - 1, n, q, all);
      assert_true(distance(all, dense) < 1e-5);
    }
    rig_free(&a);
    rig_free(&b);
  }
}

/* The more tokens, the nearer to all of them; an eighth suffices where keys have topics. */
static void test_more_is_better(void **state) {
  (void)state;
  float q[HEADS * D], dense[HEADS * D], some[HEADS * D];
  struct rig a;
  double before[4] = {1e9, 1e9, 1e9, 1e9};
  static const uint32_t budgets[] = {32, 64, 160, 320, 640, 1280};
  for (int b = 0; b < 6; b++) {
    struct rig r;
    rig_make(&a, "f32", 0);
    rig_make(&r, "f32", budgets[b]);
    fill(&a, 0, 1300);
    fill(&r, 0, 1300);
    for (uint32_t i = 0; i < 4; i++) {
      aim(q, topics[i], 1);
      step(&a, 1300 + i, 1301 + i, q, dense);
      step(&r, 1300 + i, 1301 + i, q, some);
      const double error = distance(some, dense);
      assert_true(error <= before[i] * 1.02 + 1e-6);
      if (budgets[b] == 160) assert_true(error < 0.2);
      before[i] = error;
    }
    struct tb_recalled n;
    tb_cache_recalled(r.cache, &n);
    assert_int_equal(n.steps, 4 * KV);
    assert_true(n.attended <= n.steps * (budgets[b] + WINDOW + SINKS + 320 + 4) && n.chosen >= n.again);
    rig_free(&a);
    rig_free(&r);
  }
}

/* One token far back that a late query is about. */
static void test_needle(void **state) {
  (void)state;
  static const char *const types[] = {"f16", "skvqx2"};
  float q[HEADS * D], dense[HEADS * D], some[HEADS * D];
  for (int i = 0; i < 2; i++) {
    struct rig a, r;
    rig_make(&a, types[i], 0);
    rig_make(&r, types[i], 64);
    fill(&a, 0, 1300);
    fill(&r, 0, 1300);
    aim(q, keys + NEEDLE * KV * D, 1);
    step(&a, 1300, 1301, q, dense);
    step(&r, 1300, 1301, q, some);
    /* Two bits: the blocks hold other rows than the dense cache's, so the codes of the value differ. */
    assert_true(distance(some, dense) < (i ? 0.6 : 1e-3));
    rig_free(&a);
    rig_free(&r);
  }
}

/* Cutting inside a segment puts rows back into the order of positions. */
static void test_rows_return(void **state) {
  (void)state;
  float q[HEADS * D], dense[HEADS * D], all[HEADS * D];
  struct rig a, r;
  rig_make(&a, "q8_0", 0);
  rig_make(&r, "q8_0", CTX);
  fill(&a, 0, 1300);
  fill(&r, 0, 1300);
  static const uint32_t kept[] = {1290, 900, 500, 334, 130, 6, 3};
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
    assert_int_equal(tb_cache_truncate(a.cache, kept[i], NULL), TB_OK);
    assert_int_equal(tb_cache_truncate(r.cache, kept[i], NULL), TB_OK);
    aim(q, topics[i], 1);
    step(&a, kept[i], kept[i] + 1, q, dense);
    step(&r, kept[i], kept[i] + 1, q, all);
    assert_true(distance(all, dense) < 1e-5);
  }
  rig_free(&a);
  rig_free(&r);
}

/* Packed keys are kept less their centroids, which is most of these keys: by a prompt and by one token alike. */
static void test_centroids(void **state) {
  (void)state;
  enum { HELD = 1300, LAST = 2 };
  static const char *const types[] = {"skvqx2/f32", "skvqx4/f32"};
  static float q[LAST * HEADS * D], exact[LAST * HEADS * D], plain[LAST * HEADS * D], kept[LAST * HEADS * D];
  for (int i = 0; i < LAST; i++)
    aim(q + i * HEADS * D, topics[5], 1);
  for (int i = 0; i < 2; i++)
    for (uint32_t n = 1; n <= LAST; n++) {
      const struct {
        const char *type;
        uint32_t recall;
        float *out;
      } runs[] = {{"f32", 0, exact}, {types[i], 0, plain}, {types[i], CTX, kept}};
      for (int j = 0; j < 3; j++) {
        struct rig r;
        rig_make(&r, runs[j].type, runs[j].recall);
        fill(&r, 0, HELD);
        step(&r, HELD, HELD + n, q, runs[j].out);
        rig_free(&r);
      }
      const float *last = exact + (n - 1) * HEADS * D;
      const double before = distance(plain + (n - 1) * HEADS * D, last), after = distance(kept + (n - 1) * HEADS * D, last);
      if (!(after < 0.6 * before)) fail_msg("%s, %u tokens: %.4f instead of %.4f", types[i], n, after, before);
    }
}

struct last {
  unsigned char *piece[2];
  size_t bytes[2];
};

static enum tb_status note(void *user, unsigned char *piece, size_t bytes, struct tb_error *err) {
  struct last *l = user;
  (void)err;
  l->piece[0] = l->piece[1];
  l->bytes[0] = l->bytes[1];
  l->piece[1] = piece;
  l->bytes[1] = bytes;
  return TB_OK;
}

static void test_damaged_state(void **state) {
  (void)state;
  struct rig r;
  struct last l = {{NULL, NULL}, {0, 0}};
  uint32_t words[8] = {0};
  rig_make(&r, "f16", 64);
  fill(&r, 0, 1300);
  assert_int_equal(tb_cache_verify(r.cache, NULL), TB_OK);
  tb_cache_pieces(r.cache, note, &l, NULL);
  for (int i = 0; i < 2; i++) { /* sizes of clusters, then where rows came from */
    l.piece[i][l.bytes[i] - 1] ^= 0x80;
    assert_int_equal(tb_cache_verify(r.cache, NULL), TB_E_FORMAT);
    l.piece[i][l.bytes[i] - 1] ^= 0x80;
    assert_int_equal(tb_cache_verify(r.cache, NULL), TB_OK);
  }
  assert_true(tb_cache_state_words(r.cache) <= 8);
  tb_cache_get_state(r.cache, words);
  words[0]++;
  assert_int_equal(tb_cache_set_state(r.cache, 1300, words, NULL), TB_E_FORMAT);
  rig_free(&r);
}

static void refuse(struct tb_plan_layer line, struct tb_kv_shape s, const char *word) {
  struct tb_error err = {0};
  struct tb_cache_config c = {.n_layer = 1, .shapes = &s, .plan = &line, .n_ctx = CTX, .n_batch = 64, .n_threads = 1};
  assert_int_not_equal(tb_cache_check(&c, &err), TB_OK);
  assert_non_null(strstr(err.text, word));
}

static void test_refusals(void **state) {
  (void)state;
  struct tb_plan_layer good = {.type_k = "f16", .type_v = "f16", .recall = 100}, line = good;
  struct tb_kv_shape s = shape;
  line.segment = 200;
  refuse(line, s, "segment");
  line = good;
  line.cluster = 7;
  refuse(line, s, "cluster");
  line = good;
  line.form = 2;
  refuse(line, s, "form");
  s.d_k = 24;
  refuse(good, s, "head size");
  s = shape;
  s.sliding = 64;
  refuse(good, s, "sliding");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_full_budget_is_dense), cmocka_unit_test(test_more_is_better), cmocka_unit_test(test_needle),
      cmocka_unit_test(test_centroids),            cmocka_unit_test(test_rows_return),    cmocka_unit_test(test_damaged_state),
      cmocka_unit_test(test_refusals)};
  return cmocka_run_group_tests(tests, setup, NULL);
}
