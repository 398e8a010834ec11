/* What the planner measures of a store is what a cache of that store attends to. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/rng.h"
#include "cache/plan/measure.h"
#include "simd/isa.h"

enum { N = 400, HEADS = 4, KV = 2, D = 64, AT = 6 };

static float q[N][HEADS * D], k[N][KV * D], v[N][KV * D];
static const uint32_t at[AT] = {0, 1, 63, 200, 333, N - 1};

static void fill(float *x, size_t n, float size) {
  static struct tb_rng rng = {5};
  for (size_t i = 0; i < n; i++)
    x[i] = size * tb_rng_normal(&rng);
}

/* One token after the other through a cache; the outputs at `at`. */
static void through_cache(const struct tb_kv_shape *shape, const char *type_k, const char *type_v,
                          const struct tb_kernels *kernels, struct tb_team *team, float *out) {
  struct tb_plan_layer plan = {.window = 128, .sinks = 5};
  struct tb_cache *cache;
  struct tb_error err;
  snprintf(plan.type_k, sizeof plan.type_k, "%s", type_k);
  snprintf(plan.type_v, sizeof plan.type_v, "%s", type_v);
  const struct tb_cache_config config = {
      .n_layer = 1, .shapes = shape, .plan = &plan, .n_ctx = N, .n_batch = 1, .n_threads = 2};
  if (tb_cache_create(&cache, &config, kernels, team, &tb_system_allocator, &err) != TB_OK) fail_msg("%s", err.text);
  for (uint32_t i = 0, next = 0; i < N; i++) {
    float row_k[KV * D], row_v[KV * D], o[HEADS * D];
    memcpy(row_k, k[i], sizeof row_k);
    memcpy(row_v, v[i], sizeof row_v);
    tb_cache_step(cache, 1);
    tb_cache_append(cache, 0, row_k, row_v);
    tb_cache_attend(cache, 0, q[i], o);
    if (next < AT && at[next] == i) memcpy(out + next++ * HEADS * D, o, sizeof o);
  }
  tb_cache_free(cache);
}

static double distance(const float *a, const float *b, size_t n) {
  double e = 0, all = 0;
  for (size_t i = 0; i < n; i++) {
    e += (double)(a[i] - b[i]) * (a[i] - b[i]);
    all += (double)b[i] * b[i];
  }
  return sqrt(e / all);
}

/* Float rounding only; where scores multiply codes with 8-bit queries (q8_0 keys), half a percent of noise in the query
 * and so in scores of size 2: 1 % of a weight, times what differs among the values. */
static const struct {
  const char *type;
  enum tb_side side;
  uint32_t sliding;
  double most;
} cases[] = {{"f32", TB_SIDE_K, 0, 1e-5},   {"f16", TB_SIDE_K, 0, 1e-5},   {"f16", TB_SIDE_V, 100, 1e-5},
             {"q8_0", TB_SIDE_V, 0, 1e-5},  {"q4_0", TB_SIDE_V, 0, 1e-5},  {"q8_0", TB_SIDE_K, 0, 0.02},
             {"q4_0", TB_SIDE_K, 100, 0.02}};

static void same_as_cache(void **state) {
  (void)state;
  struct tb_kernels kernels;
  struct tb_team *team;
  const char *tier = getenv("TB_ISA");
  unsigned mask;
  const char *reason;
  if (!tb_isa_select(tier && *tier ? tier : NULL, &mask, &reason)) fail_msg("%s", reason);
  tb_kernels_init(&kernels, mask);
  assert_int_equal(tb_team_create(&team, 2, &tb_system_allocator, NULL), TB_OK);
  fill(&q[0][0], sizeof q / sizeof(float), 2);
  fill(&k[0][0], sizeof k / sizeof(float), 1);
  fill(&v[0][0], sizeof v / sizeof(float), 1);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const struct tb_kv_shape shape = {
        .n_head = HEADS, .n_kv = KV, .d_k = D, .d_v = D, .sliding = cases[i].sliding, .scale = 0.125f};
    const struct tb_measure m = {.shape = &shape,
                                 .n = N,
                                 .q = q[0],
                                 .k = k[0],
                                 .v = v[0],
                                 .at = at,
                                 .n_at = AT,
                                 .window = 128,
                                 .sinks = 5};
    float wanted[AT * HEADS * D], found[AT * HEADS * D];
    const bool keys = cases[i].side == TB_SIDE_K;
    assert_true(tb_measure_fits(&m, cases[i].side, cases[i].type));
    through_cache(&shape, keys ? cases[i].type : "f32", keys ? "f32" : cases[i].type, &kernels, team, wanted);
    assert_int_equal(
        tb_measure_output(&m, cases[i].side, cases[i].type, &kernels, team, &tb_system_allocator, found, NULL), TB_OK);
    const double e = distance(found, wanted, AT * HEADS * D);
    if (!(e <= cases[i].most)) fail_msg("%s, side %d: %g", cases[i].type, (int)cases[i].side, e);
  }
  tb_team_free(team);
}

/* A budget that holds every cluster loses nothing, a smaller one more. */
static void recalled(void **state) {
  (void)state;
  struct tb_kernels kernels;
  struct tb_team *team;
  const struct tb_kv_shape shape = {.n_head = HEADS, .n_kv = KV, .d_k = D, .d_v = D, .scale = 0.125f};
  const struct tb_measure m = {
      .shape = &shape, .n = N, .q = q[0], .k = k[0], .v = v[0], .at = at, .n_at = AT, .sinks = 5};
  float exact[AT * HEADS * D], found[AT * HEADS * D];
  double before = 0;
  tb_kernels_init(&kernels, 0);
  assert_int_equal(tb_team_create(&team, 2, &tb_system_allocator, NULL), TB_OK);
  fill(&q[0][0], sizeof q / sizeof(float), 2);
  assert_int_equal(tb_measure_output(&m, TB_SIDE_K, "f32", &kernels, team, &tb_system_allocator, exact, NULL), TB_OK);
  for (uint32_t budget = N; budget >= 16; budget /= 4) {
    assert_true(tb_measure_recalls(&m, budget));
    assert_int_equal(tb_measure_recalled(&m, budget, &kernels, team, &tb_system_allocator, found, NULL), TB_OK);
    const double e = distance(found, exact, AT * HEADS * D);
    if (budget == N ? e > 1e-5 : e <= before) fail_msg("budget %u: %g, before %g", budget, e, before);
    before = e;
  }
  assert_false(tb_measure_recalls(&m, 0));
  tb_team_free(team);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(same_as_cache), cmocka_unit_test(recalled)};
  return cmocka_run_group_tests_name("measure", tests, NULL, NULL);
}
