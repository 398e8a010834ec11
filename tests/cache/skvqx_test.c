/* The calibrated basis of the skvqx stores: it changes no exact attention, and lowers the error of what is packed. */
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
#include "support/profile_make.h"

enum { D = 64, KV = 2, WIDE = KV * D, N = TB_ATTN_BLOCK, QUERIES = 40 };

static float rows[N * WIDE], queries[QUERIES * D];
static struct tb_kernels kernels;

/* Rows with a mean and a few loud directions; queries that look along others. */
static struct tb_profile *make(void) {
  static float direction[D], moment[WIDE * WIDE], heads[KV * D * D], metric[KV * D * D], mean[WIDE];
  struct tb_rng rng = {5};
  for (int c = 0; c < D; c++)
    direction[c] = tb_rng_normal(&rng);
  for (int t = 0; t < N; t++)
    for (int h = 0; h < KV; h++) {
      const float loud = 3 * tb_rng_normal(&rng);
      for (int c = 0; c < D; c++)
        rows[t * WIDE + h * D + c] = 1 + loud * direction[c] + (c < 8 ? 2 : 0.3f) * tb_rng_normal(&rng);
    }
  for (int i = 0; i < QUERIES * D; i++)
    queries[i] = (i % D < 8 ? 0.1f : 1) * tb_rng_normal(&rng);
  memset(moment, 0, sizeof moment);
  memset(heads, 0, sizeof heads);
  memset(metric, 0, sizeof metric);
  memset(mean, 0, sizeof mean);
  profile_moment(moment, rows, WIDE, N, WIDE, N);
  for (int h = 0; h < KV; h++) {
    profile_moment(heads + h * D * D, rows + h * D, WIDE, N, D, N);
    profile_moment(metric + h * D * D, queries, D, QUERIES, D, QUERIES);
  }
  for (int i = 0; i < N * WIDE; i++)
    mean[i % WIDE] += rows[i] / N;
  const struct profile_entry entries[] = {
      {"blk.0.kr.moment", heads, KV * D * D}, {"blk.0.v.moment", moment, WIDE * WIDE},
      {"blk.0.kr.mean", mean, WIDE},          {"blk.0.v.mean", mean, WIDE},
      {"blk.0.q.moment", metric, KV * D * D}, {"blk.0.o.metric", metric, KV * D * D}};
  return profile_make(entries, sizeof entries / sizeof *entries);
}

static struct tb_store open_store(const char *type, enum tb_side side, const struct tb_profile *profile) {
  struct tb_store st = {.ops = tb_store_find(type), .kernels = &kernels};
  const char *colon = strchr(type, ':');
  st.config = (struct tb_store_config){
      .side = side, .n_heads = KV, .d = D, .cap = N, .profile = profile, .args = colon ? colon + 1 : NULL};
  struct tb_error err = {0};
  if (st.ops->check(&st.config, &err) != TB_OK) fail_msg("%s: %s", type, err.text);
  st.mem = tb_calloc(&tb_system_allocator, 1, st.ops->bytes(&st.config));
  void *work = tb_calloc(&tb_system_allocator, 1, st.ops->init_bytes(&st.config));
  assert_true(st.mem && work);
  st.ops->init(&st, work);
  tb_free(&tb_system_allocator, work);
  return st;
}

static double dot(const float *a, const float *b) {
  double sum = 0;
  for (int c = 0; c < D; c++)
    sum += (double)a[c] * (double)b[c];
  return sum;
}

static _Alignas(64) unsigned char scratch[TB_STORE_SCRATCH];

static const char *const bases[] = {"skvqx2:rot=cal", "skvqx2:rot=eq", "skvqx2:rot=pca", "skvqx4:rot=pca"};

static void scores_differ(const char *type) {
  struct tb_profile *profile = make();
  struct tb_store st = open_store(type, TB_SIDE_K, profile);
  static float turned[N * WIDE], q[QUERIES * D];
  for (uint32_t h = 0; h < KV; h++) {
    memcpy(turned, rows, sizeof rows);
    memcpy(q, queries, sizeof queries);
    st.ops->turn(&st, h, N, turned + h * D, WIDE, scratch);
    st.ops->turn_query(&st, h, QUERIES, q, D, scratch);
    for (int g = 0; g < QUERIES; g++) {
      const double shift = dot(q + g * D, turned + h * D) - dot(queries + g * D, rows + h * D);
      for (int t = 1; t < N; t++) {
        const double was = dot(queries + g * D, rows + t * WIDE + h * D);
        const double now = dot(q + g * D, turned + t * WIDE + h * D) - shift;
        if (fabs(now - was) > 2e-4 * (1 + fabs(was) + fabs(shift)))
          fail_msg("%s, query %d, key %d: score %g became %g", type, g, t, was, now);
      }
    }
  }
  tb_free(&tb_system_allocator, st.mem);
  tb_profile_free(profile);
}

static void scores_differ_by_a_constant(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof bases / sizeof *bases; i++)
    scores_differ(bases[i]);
}

static void output_comes_back(const char *type) {
  struct tb_profile *profile = make();
  struct tb_store st = open_store(type, TB_SIDE_V, profile);
  static float turned[N * WIDE];
  for (uint32_t h = 0; h < KV; h++) {
    float was[D] = {0}, now[D] = {0};
    memcpy(turned, rows, sizeof rows);
    st.ops->turn(&st, h, N, turned + h * D, WIDE, scratch);
    for (int t = 0; t < N; t++)
      for (int c = 0; c < D; c++) {
        was[c] += rows[t * WIDE + h * D + (uint32_t)c] / N;
        now[c] += turned[t * WIDE + h * D + (uint32_t)c] / N;
      }
    st.ops->turn_output(&st, h, 1, now, D, scratch);
    for (int c = 0; c < D; c++)
      if (fabsf(now[c] - was[c]) > 1e-4f)
        fail_msg("%s, channel %d: %g became %g", type, c, (double)was[c], (double)now[c]);
  }
  tb_free(&tb_system_allocator, st.mem);
  tb_profile_free(profile);
}

static void outputs_come_back(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof bases / sizeof *bases; i++)
    output_comes_back(bases[i]);
}

/* Mean squared error of what packed rows do: in scores (keys) or, in the metric, in outputs (values). */
static double packed_error(const char *type, enum tb_side side) {
  struct tb_profile *profile = make();
  struct tb_store st = open_store(type, side, profile);
  static float turned[N * WIDE], back[N * D], q[QUERIES * D];
  double error = 0;
  for (uint32_t h = 0; h < KV; h++) {
    memcpy(turned, rows, sizeof rows);
    memcpy(q, queries, sizeof queries);
    st.ops->turn(&st, h, N, turned + h * D, WIDE, scratch);
    st.ops->encode(&st, h, 0, N, 0, turned + h * D, WIDE, scratch);
    st.ops->expand(&st, h, 0, N, 0, back, D, scratch);
    if (side == TB_SIDE_K) st.ops->turn_query(&st, h, QUERIES, q, D, scratch);
    if (side == TB_SIDE_V) st.ops->turn_output(&st, h, N, back, D, scratch);
    for (int t = 0; t < N; t++) {
      float e[D];
      for (int c = 0; c < D; c++)
        e[c] = back[t * D + c] - (side == TB_SIDE_K ? turned : rows)[t * WIDE + (int)h * D + c];
      for (int g = 0; g < QUERIES; g++)
        error += dot(q + g * D, e) * dot(q + g * D, e);
    }
  }
  tb_free(&tb_system_allocator, st.mem);
  tb_profile_free(profile);
  return error / (N * KV * QUERIES);
}

static void the_basis_lowers_the_error(void **state) {
  (void)state;
  static const struct {
    const char *plain, *better;
    enum tb_side side;
    double most;
  } cases[] = {
      {"skvqx2:rot=had", "skvqx2:rot=cal", TB_SIDE_K, 0.7},     {"skvqx2:rot=had", "skvqx2:rot=cal", TB_SIDE_V, 0.7},
      {"skvqx1.5:rot=had", "skvqx1.5:rot=cal", TB_SIDE_V, 0.7}, {"skvqx4:rot=had", "skvqx4:rot=cal", TB_SIDE_V, 0.7},
      {"skvqx2:rot=had", "skvqx2:rot=eq", TB_SIDE_K, 0.9},      {"skvqx2:rot=had", "skvqx2:rot=pca", TB_SIDE_V, 0.7},
      {"skvqx4:rot=had", "skvqx4:rot=pca", TB_SIDE_V, 0.7}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const double plain = packed_error(cases[i].plain, cases[i].side);
    const double better = packed_error(cases[i].better, cases[i].side);
    print_message("%s %g, %s %g\n", cases[i].plain, plain, cases[i].better, better);
    assert_true(better < cases[i].most * plain);
  }
}

/* A part of a block scores as in the whole, and sums as the whole does where nothing beside it weighs: to the bit. */
static void a_part_is_as_in_the_whole(const char *type, enum tb_side side) {
  enum { HEADS = 3 };
  struct tb_profile *profile = make();
  struct tb_store st = open_store(type, side, profile);
  static float turned[N * WIDE], s[HEADS * N], part[HEADS * N], sum[HEADS * D], part_sum[HEADS * D];
  const struct tb_kv_query q = {.acts = {.k = D, .f = queries, .ldf = D}, .n_q = HEADS};
  memcpy(turned, rows, sizeof rows);
  st.ops->turn(&st, 1, N, turned + D, WIDE, scratch);
  st.ops->encode(&st, 1, 0, N, 0, turned + D, WIDE, scratch);
  for (uint32_t first = 0; first < N; first += TB_ATTN_PART)
    for (uint32_t n = TB_ATTN_PART; first + n <= N; n += TB_ATTN_PART) {
      st.ops->fetch(&st, 1, first, n);
      if (side == TB_SIDE_K) {
        st.ops->score(&st, 1, 0, N, 0, &q, s, N, scratch);
        st.ops->score(&st, 1, first, n, first, &q, part, N, scratch);
        for (uint32_t g = 0; g < HEADS; g++)
          if (memcmp(s + g * N + first, part + g * N, n * sizeof *s)) fail_msg("%s, %u tokens from %u on", type, n, first);
        continue;
      }
      memset(s, 0, sizeof s);
      for (uint32_t i = 0; i < HEADS * n; i++)
        s[i / n * N + first + i % n] = part[i / n * N + i % n] = 1 + sinf((float)i);
      memset(sum, 0, sizeof sum);
      memset(part_sum, 0, sizeof part_sum);
      st.ops->accum(&st, 1, 0, N, s, N, HEADS, sum, scratch);
      st.ops->accum(&st, 1, first, n, part, N, HEADS, part_sum, scratch);
      if (memcmp(sum, part_sum, sizeof sum)) fail_msg("%s, %u tokens from %u on", type, n, first);
    }
  tb_free(&tb_system_allocator, st.mem);
  tb_profile_free(profile);
}

static void parts_are_as_in_the_whole(void **state) {
  (void)state;
  static const char *const types[] = {"skvqx2", "skvqx4", "skvqx2:rot=eq", "lowrank:x3", "lowrank:24:4", "skvqx1.5"};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    if (i < 5) a_part_is_as_in_the_whole(types[i], TB_SIDE_K);
    if (i != 2) a_part_is_as_in_the_whole(types[i], TB_SIDE_V);
  }
}

static void what_is_missing_is_said(void **state) {
  (void)state;
  struct tb_error err = {0};
  struct tb_store_config c = {.side = TB_SIDE_V, .n_heads = KV, .d = D, .cap = N, .args = "rot=cal"};
  assert_int_equal(tb_store_find("skvqx2")->check(&c, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "profile"));
  static const char *const wrong[] = {"rot=", "rot=had+", "clip=101", "fit=x", "cal", "+"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    c.args = wrong[i];
    if (tb_store_find("skvqx2")->check(&c, &err) == TB_OK) fail_msg("':%s' is accepted", wrong[i]);
  }
  c.args = NULL;
  c.side = TB_SIDE_K;
  assert_int_equal(tb_store_find("skvqx1.5")->check(&c, &err), TB_E_UNSUPPORTED);
  c.d = 48;
  assert_int_equal(tb_store_find("skvqx2")->check(&c, &err), TB_E_UNSUPPORTED);
}

int main(void) {
  tb_kernels_init(&kernels, 0);
  const struct CMUnitTest tests[] = {cmocka_unit_test(scores_differ_by_a_constant), cmocka_unit_test(outputs_come_back),
                                     cmocka_unit_test(the_basis_lowers_the_error),
                                     cmocka_unit_test(parts_are_as_in_the_whole),
                                     cmocka_unit_test(what_is_missing_is_said)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
