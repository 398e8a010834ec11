/* The lowrank store: what it reproduces exactly, what it loses, and what it refuses. One layer's keys and values are
 * made here, measured, and attended to through a cache of its own. */
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
#include "cache/cache.h"
#include "simd/isa.h"
#include "support/profile_make.h"

enum { D = 64, KV = 2, HEADS = 4, WIDE = KV * D, TOKENS = 2 * 160, QUERIES = HEADS * D, CONTEXT = 512 };

static float cos_table[CONTEXT * D / 2], sin_table[CONTEXT * D / 2];
static const struct tb_rope_table rope = {.cos = cos_table, .sin = sin_table, .n_rot = D, .neox = true};

/* Rows of all tokens and one more, in which nobody is interested. */
struct data {
  bool rotated;
  float k[(TOKENS + 1) * WIDE], v[(TOKENS + 1) * WIDE], q[QUERIES];
  struct tb_profile *profile;
};

static struct tb_kernels kernels;

/* n rows of width D in a subspace of `rank` dimensions per head with energies falling by `fall` per dimension. */
static void fill(float *x, uint32_t rank, float fall, struct tb_rng *rng) {
  static float basis[KV][D * D];
  for (uint32_t h = 0; h < KV; h++)
    for (uint32_t i = 0; i < D * D; i++)
      basis[h][i] = tb_rng_normal(rng);
  memset(x, 0, (TOKENS + 1) * WIDE * sizeof *x);
  for (uint32_t t = 0; t <= TOKENS; t++)
    for (uint32_t h = 0; h < KV; h++) {
      float size = 1;
      for (uint32_t i = 0; i < rank; i++, size *= fall) {
        float z = size * tb_rng_normal(rng) / 8;
        for (uint32_t c = 0; c < D; c++)
          x[t * WIDE + h * D + c] += z * basis[h][i * D + c];
      }
    }
}

/* The last token's key turns away from the queries, so that what the window rounds has no weight. */
static void hide_last(struct data *s) {
  for (uint32_t h = 0; h < KV; h++) {
    const float *q = s->q + h * (HEADS / KV) * D;
    float *k = s->k + TOKENS * WIDE + h * D, length = 0;
    for (uint32_t c = 0; c < D; c++)
      length += q[c] * q[c];
    for (uint32_t c = 0; c < D; c++)
      k[c] = -2000 * q[c] / length;
  }
}

static void rotate_keys(struct data *s) {
  for (uint32_t t = 0; t <= TOKENS; t++)
    for (uint32_t h = 0; h < KV; h++)
      kernels.rope_neox(s->k + t * WIDE + h * D, cos_table + t * D / 2, sin_table + t * D / 2, D);
  s->rotated = true;
}

static struct data *make_rows(uint32_t rank_k, uint32_t rank_v, float fall, float mean, bool rotated, uint64_t seed) {
  struct data *s = calloc(1, sizeof *s);
  assert_non_null(s);
  struct tb_rng rng = {seed};
  fill(s->k, rank_k, fall, &rng);
  fill(s->v, rank_v, fall, &rng);
  for (uint32_t i = 0; i < (TOKENS + 1) * WIDE; i++) {
    s->k[i] += mean * sinf((float)(i % WIDE));
    s->v[i] += mean * cosf((float)(i % WIDE));
  }
  for (uint32_t h = 0; h < HEADS; h++)
    for (uint32_t c = 0; c < D; c++) {
      float *q = s->q + h * D + c;
      *q = h % 2 ? q[-D] / 2 : tb_rng_normal(&rng) * (c < D / 2 ? 1.0f : 0.2f);
    }
  static float km[WIDE * WIDE];
  memset(km, 0, sizeof km);
  profile_moment(km, s->k, WIDE, TOKENS, WIDE, TOKENS);
  if (rotated) rotate_keys(s);
  hide_last(s);
  static float kr[KV * D * D], qm[KV * D * D], om[KV * D * D], vm[WIDE * WIDE], mk[WIDE], mv[WIDE];
  memset(kr, 0, sizeof kr), memset(vm, 0, sizeof vm), memset(qm, 0, sizeof qm), memset(om, 0, sizeof om);
  memset(mk, 0, sizeof mk), memset(mv, 0, sizeof mv);
  for (uint32_t h = 0; h < KV; h++)
    profile_moment(kr + h * D * D, s->k + h * D, WIDE, TOKENS, D, TOKENS);
  profile_moment(vm, s->v, WIDE, TOKENS, WIDE, TOKENS);
  for (uint32_t t = 0; t < TOKENS; t++)
    for (uint32_t c = 0; c < WIDE; c++) {
      mk[c] += s->k[t * WIDE + c] / TOKENS;
      mv[c] += s->v[t * WIDE + c] / TOKENS;
    }
  for (uint32_t h = 0; h < KV; h++)
    for (uint32_t c = 0; c < D; c++) {
      qm[h * D * D + c * D + c] = c < D / 2 ? 1.0f : 0.04f;
      om[h * D * D + c * D + c] = c % 2 ? 3.0f : 1.0f;
    }
  const struct profile_entry entries[] = {
      {"blk.0.kr.moment", kr, KV * D * D}, {"blk.0.v.moment", vm, WIDE * WIDE}, {"blk.0.q.moment", qm, KV * D * D},
      {"blk.0.k.moment", km, WIDE * WIDE}, {"blk.0.k.gram", km, WIDE * WIDE},   {"blk.0.k.asvd", km, WIDE * WIDE},
      {"blk.0.v.gram", vm, WIDE * WIDE},   {"blk.0.v.asvd", vm, WIDE * WIDE},   {"blk.0.o.metric", om, KV * D * D},
      {"blk.0.kr.mean", mk, WIDE},         {"blk.0.v.mean", mv, WIDE}};
  s->profile = profile_make(entries, sizeof entries / sizeof entries[0]);
  return s;
}

static struct data *make(uint32_t rank_k, uint32_t rank_v, float fall, float mean, uint64_t seed) {
  return make_rows(rank_k, rank_v, fall, mean, false, seed);
}

static void drop(struct data *s) {
  tb_profile_free(s->profile);
  free(s);
}

/* Attention of the last token over all; tokens are appended `chunk` at a time. */
static void attend(const struct data *s, const char *type_k, const char *type_v, uint32_t chunk, unsigned threads,
                   float out[HEADS * D]) {
  const struct tb_kv_shape shape = {.rope = s->rotated ? &rope : NULL,
                                    .profile = s->profile,
                                    .n_head = HEADS,
                                    .n_kv = KV,
                                    .d_k = D,
                                    .d_v = D,
                                    .scale = 1};
  struct tb_plan_layer plan = {.window = 0, .sinks = 0};
  snprintf(plan.type_k, sizeof plan.type_k, "%s", type_k);
  snprintf(plan.type_v, sizeof plan.type_v, "%s", type_v);
  struct tb_cache_config config = {
      .n_layer = 1, .shapes = &shape, .plan = &plan, .n_ctx = CONTEXT, .n_batch = TOKENS, .n_threads = threads};
  struct tb_team *team;
  struct tb_cache *cache;
  struct tb_error err;
  static float k[TOKENS * WIDE], v[TOKENS * WIDE], q[TOKENS * QUERIES], o[TOKENS * HEADS * D];
  assert_int_equal(tb_team_create(&team, threads, &tb_system_allocator, &err), TB_OK);
  if (tb_cache_create(&cache, &config, &kernels, team, &tb_system_allocator, &err) != TB_OK) fail_msg("%s", err.text);
  for (uint32_t t = 0, n; t <= TOKENS; t += n) {
    n = t < TOKENS ? (TOKENS - t < chunk ? TOKENS - t : chunk) : 1;
    memcpy(k, s->k + t * WIDE, n * WIDE * sizeof *k);
    memcpy(v, s->v + t * WIDE, n * WIDE * sizeof *v);
    for (uint32_t i = 0; i < n; i++)
      memcpy(q + i * QUERIES, s->q, sizeof s->q);
    tb_cache_step(cache, n);
    tb_cache_append(cache, 0, k, v);
    tb_cache_attend(cache, 0, q, o);
  }
  memcpy(out, o, HEADS * D * sizeof *out);
  tb_cache_free(cache);
  tb_team_free(team);
}

/* |a - b| / |b| */
static double distance(const float *a, const float *b, size_t n) {
  double e = 0, m = 0;
  for (size_t i = 0; i < n; i++) {
    e += pow((double)a[i] - b[i], 2);
    m += pow((double)b[i], 2);
  }
  return sqrt(e / m);
}

static double loss(const struct data *s, const char *type_k, const char *type_v) {
  float exact[HEADS * D], got[HEADS * D];
  attend(s, "f32", "f32", TOKENS, 1, exact);
  attend(s, type_k, type_v, TOKENS, 1, got);
  return distance(got, exact, HEADS * D);
}

static void expect_below(double got, double most, const char *what) {
  if (!(got <= most)) fail_msg("%s: error %g, at most %g", what, got, most);
}

/* ------------------------------------------------------------------------------------------------------------ tests */

static void all_channels_are_exact(void **state) {
  (void)state;
  struct data *s = make(D, D, 0.97f, 0.5f, 1);
  expect_below(loss(s, "lowrank:64:32", "lowrank:64:32"), 1e-5, "weighted");
  expect_below(loss(s, "lowrank:64:32:pca", "lowrank:64:32:pca"), 1e-5, "pca");
  expect_below(loss(s, "lowrank:64", "lowrank:64"), 2e-3, "f16 latents");
  drop(s);
}

/* Keys and values of rank 20 of 64 need 20 channels and no fewer: density r/d, not r/d - 10 %. */
static void exact_rank(void **state) {
  (void)state;
  struct data *s = make(20, 20, 1, 0, 2);
  expect_below(loss(s, "lowrank:20:32", "lowrank:20:32"), 1e-5, "rank 20");
  expect_below(loss(s, "lowrank:20:32:pca", "lowrank:20:32:pca"), 1e-5, "rank 20, pca");
  assert_true(loss(s, "lowrank:18:32:pca", "f32") > 1e-3);
  assert_true(loss(s, "f32", "lowrank:18:32:pca") > 1e-3);
  drop(s);
}

/* A common mean costs no channel. */
static void mean_is_free(void **state) {
  (void)state;
  struct data *s = make(10, 10, 1, 2, 3);
  expect_below(loss(s, "lowrank:10:32", "lowrank:10:32"), 1e-5, "rank 10 about a mean");
  drop(s);
}

static void codes(void **state) {
  (void)state;
  struct data *s = make(D, D, 0.9f, 0.5f, 4);
  /* of the weighted energy: what Max's quantisers leave, with room for the spread of one query */
  expect_below(loss(s, "lowrank:48:8", "f32"), 0.05, "8-bit keys");
  expect_below(loss(s, "f32", "lowrank:48:8"), 0.05, "8-bit values");
  expect_below(loss(s, "lowrank:32:4", "f32"), 0.25, "4-bit keys");
  expect_below(loss(s, "f32", "lowrank:32:4"), 0.25, "4-bit values");
  drop(s);
}

/* A token far out in the leading channel of values and nowhere else, which every query attends to: the scale must reach
 * it, though its size over all channels is small. */
static void far_out(void **state) {
  (void)state;
  enum { AT = 50 };
  struct data *s = make(D, D, 0.9f, 0, 7);
  float lead[D] = {1}, energy = 0;
  for (int round = 0; round < 50; round++) {
    float next[D] = {0}, length = 0;
    for (uint32_t t = 0; t < TOKENS; t++) {
      float along = 0;
      for (uint32_t c = 0; c < D; c++)
        along += s->v[t * WIDE + c] * lead[c];
      for (uint32_t c = 0; c < D; c++)
        next[c] += along * s->v[t * WIDE + c] / TOKENS;
    }
    for (uint32_t c = 0; c < D; c++)
      length += next[c] * next[c];
    energy = sqrtf(length);
    for (uint32_t c = 0; c < D; c++)
      lead[c] = next[c] / energy;
  }
  for (uint32_t c = 0; c < D; c++) {
    s->v[AT * WIDE + c] = 4.5f * sqrtf(energy) * lead[c];
    s->k[AT * WIDE + c] = 3 * s->q[c];
  }
  float exact[HEADS * D], got[HEADS * D];
  attend(s, "f32", "f32", TOKENS, 1, exact);
  attend(s, "f32", "lowrank:x4:pca", TOKENS, 1, got);
  expect_below(distance(got, exact, D), 0.05, "a token far out in one channel");
  drop(s);
}

/* Bits where the energy is beat the same number of bits everywhere, and beat cutting off. */
static void allocation_pays(void **state) {
  (void)state;
  double flat = 0, cut = 0, fitted = 0;
  for (uint64_t seed = 10; seed < 16; seed++) {
    struct data *s = make(D, D, 0.9f, 0, seed);
    flat += loss(s, "lowrank:64:2:pca", "f32") + loss(s, "f32", "lowrank:64:2:pca");
    cut += loss(s, "lowrank:16:8:pca", "f32") + loss(s, "f32", "lowrank:16:8:pca");
    fitted += loss(s, "lowrank:x2:pca", "f32") + loss(s, "f32", "lowrank:x2:pca");
    drop(s);
  }
  if (!(fitted < 0.7 * flat && fitted < 0.7 * cut)) fail_msg("fitted %g, flat %g, cut %g", fitted, flat, cut);
}

/* The metric of the queries and of what follows lowers the error where it counts. */
static void weighting_pays(void **state) {
  (void)state;
  double plain = 0, weighted = 0;
  for (uint64_t seed = 20; seed < 30; seed++) {
    struct data *s = make(D, D, 0.99f, 0, seed);
    plain += loss(s, "lowrank:32:16:pca", "f32");
    weighted += loss(s, "lowrank:32:16:weighted", "f32");
    drop(s);
  }
  if (!(weighted < 0.8 * plain)) fail_msg("weighted %g, plain %g", weighted, plain);
}

/* One call or many, one thread or three: the same bits. Rows that are still in the window differ in no way either. */
static void chunks_and_threads(void **state) {
  (void)state;
  static const char *const types[] = {"lowrank:13", "lowrank:16:32", "lowrank:24:4",      "lowrank:20:8:pca",
                                      "lowrank:x3", "cskv:50",       "cskv:64:4:weighted"};
  struct data *s = make_rows(D, D, 0.9f, 0.3f, true, 5);
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    float whole[HEADS * D], pieces[HEADS * D], threads[HEADS * D];
    attend(s, types[i], types[i], TOKENS, 1, whole);
    attend(s, types[i], types[i], 70, 1, pieces);
    attend(s, types[i], types[i], TOKENS, 3, threads);
    expect_below(distance(threads, whole, HEADS * D), 0, types[i]);
    expect_below(distance(pieces, whole, HEADS * D), 0, types[i]);
  }
  drop(s);
}

/* score and accum work on what expand gives. */
static void expand_agrees(void **state) {
  (void)state;
  static const char *const types[] = {"lowrank:13", "lowrank:24:4", "lowrank:20:8", "lowrank:x2"};
  struct data *s = make(D, D, 0.9f, 0.3f, 6);
  static float rows[160 * D], x[160 * D];
  static unsigned char scratch[TB_STORE_SCRATCH] __attribute__((aligned(64)));
  for (size_t i = 0; i < 2 * sizeof types / sizeof types[0]; i++) {
    const enum tb_side side = i % 2 ? TB_SIDE_V : TB_SIDE_K;
    const char *colon = strchr(types[i / 2], ':');
    struct tb_store st = {.ops = tb_store_find(types[i / 2]), .kernels = &kernels};
    st.config = (struct tb_store_config){
        .side = side, .n_heads = KV, .d = D, .cap = TOKENS, .profile = s->profile, .args = colon + 1};
    struct tb_error err;
    if (st.ops->check(&st.config, &err) != TB_OK) fail_msg("%s", err.text);
    st.mem = aligned_alloc(64, st.ops->bytes(&st.config));
    void *work = aligned_alloc(64, tb_round_up(st.ops->init_bytes(&st.config), 64));
    memset(st.mem, 0, st.ops->bytes(&st.config));
    st.ops->init(&st, work);
    for (uint32_t t = 0; t < 160; t++)
      memcpy(rows + t * D, (side == TB_SIDE_K ? s->k : s->v) + t * WIDE + D, D * sizeof *rows);
    st.ops->turn(&st, 1, 160, rows, D, scratch);
    st.ops->encode(&st, 1, 160, 160, 0, rows, D, scratch);
    st.ops->expand(&st, 1, 160, 160, 0, x, D, scratch);
    float got[2 * 160], want[2 * 160], p[2 * 160];
    memset(want, 0, sizeof want);
    if (side == TB_SIDE_K) {
      struct tb_kv_query q = {.acts = {.k = D, .f = s->q, .ldf = D}, .n_q = 2};
      st.ops->score(&st, 1, 160, 160, 0, &q, got, 160, scratch);
      for (uint32_t t = 0; t < 2 * 160; t++)
        for (uint32_t c = 0; c < D; c++)
          want[t] += s->q[t / 160 * D + c] * x[t % 160 * D + c];
      expect_below(distance(got, want, 2 * 160), 2e-2, types[i / 2]);
    } else {
      for (uint32_t t = 0; t < 2 * 160; t++)
        p[t] = 1 + 0.5f * sinf((float)t);
      memset(got, 0, sizeof got);
      st.ops->accum(&st, 1, 160, 160, p, 160, 2, got, scratch);
      for (uint32_t t = 0; t < 2 * 160; t++)
        for (uint32_t c = 0; c < D; c++)
          want[t / 160 * D + c] += p[t] * x[t % 160 * D + c];
      expect_below(distance(got, want, 2 * D), 1e-2, types[i / 2]);
    }
    free(st.mem);
    free(work);
  }
  drop(s);
}

/* Joint factors of keys without rotation: two heads of rank 20 need 40 latents for the layer and no fewer. */
static void joint_exact_rank(void **state) {
  (void)state;
  static const char *const methods[] = {"svd", "asvd", "closed", "weighted"};
  struct data *s = make_rows(20, 20, 1, 0, true, 8);
  for (size_t i = 0; i < 4; i++) {
    char type[32];
    snprintf(type, sizeof type, "cskv:40:32:%s", methods[i]);
    expect_below(loss(s, type, type), 1e-5, type);
    snprintf(type, sizeof type, "cskv:36:32:%s", methods[i]);
    if (loss(s, type, "f32") < 1e-3 || loss(s, "f32", type) < 1e-3) fail_msg("%s: the rank was not needed", type);
  }
  assert_true(loss(s, "lowrank:20:32", "f32") > 1e-3); /* rotated keys of a head are not of rank 20 */
  drop(s);
}

static void joint_formats(void **state) {
  (void)state;
  struct data *s = make_rows(16, 16, 1, 0, true, 9);
  expect_below(loss(s, "cskv:32", "cskv:32"), 5e-3, "f16 latents");
  expect_below(loss(s, "cskv:32:8", "cskv:32:8"), 0.05, "q8_0 latents");
  expect_below(loss(s, "cskv:32:4", "cskv:32:4"), 0.5, "q4_0 latents");
  drop(s);
}

/* The closed form is what training aims at; the metric of the queries is what counts. */
static void joint_weighting_pays(void **state) {
  (void)state;
  double plain = 0, weighted = 0;
  for (uint64_t seed = 40; seed < 46; seed++) {
    struct data *s = make_rows(D, D, 0.99f, 0, false, seed);
    plain += loss(s, "cskv:64:16:closed", "f32");
    weighted += loss(s, "cskv:64:16:weighted", "f32");
    drop(s);
  }
  if (!(weighted < 0.9 * plain)) fail_msg("weighted %g, closed %g", weighted, plain);
}

static void refuses(void **state) {
  (void)state;
  struct data *s = make(D, D, 1, 0, 7);
  static const struct {
    const char *args, *error;
    bool profile;
  } cases[] = {
      {"16", "needs a profile", false},
      {NULL, "'' is not R", true},
      {"0", "0 channels are not in", true},
      {"65", "65 channels are not in", true},
      {"16:5", "is not R", true},
      {"16:4:", "is not R", true},
      {"16:4:best", "is not R", true},
      {"16x", "is not R", true},
      {"x0", "0 channels", true},
      {"x1.5", "48 planes", true},
      {"x", "is not R", true},
      {"x2:4", "is not R", true},
      {"99999999999", "is not R", true},
      {"16:4:pca:pca", "is not R", true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct tb_store_config c = {.n_heads = KV, .d = D, .cap = 160, .args = cases[i].args};
    c.profile = cases[i].profile ? s->profile : NULL;
    struct tb_error err = {0};
    assert_int_not_equal(tb_store_find("lowrank")->check(&c, &err), TB_OK);
    if (!strstr(err.text, cases[i].error)) fail_msg("case %zu: '%s'", i, err.text);
  }
  struct tb_store_config other = {.n_heads = KV, .d = D, .cap = 160, .args = "16", .layer = 3, .profile = s->profile};
  struct tb_error err = {0};
  assert_int_not_equal(tb_store_find("lowrank")->check(&other, &err), TB_OK);
  assert_non_null(strstr(err.text, "kr.moment"));
  static const char *const joint[] = {"", "0", "129", "40:8", "40:2", "40:16:best", "x2", "40:"};
  for (size_t i = 0; i < sizeof joint / sizeof joint[0]; i++) {
    struct tb_store_config c = {.n_heads = KV, .d = D, .cap = 160, .args = joint[i], .profile = s->profile};
    if (tb_store_find("cskv")->check(&c, &err) == TB_OK) fail_msg("cskv:%s is accepted", joint[i]);
  }
  other.layer = 0;
  other.d = 32;
  assert_int_equal(tb_store_find("lowrank")->check(&other, &err), TB_E_FORMAT);
  drop(s);
}

int main(void) {
  unsigned mask;
  const char *reason, *tier = getenv("TB_ISA");
  if (!tb_isa_select(tier && *tier ? tier : "auto", &mask, &reason)) return 1;
  tb_kernels_init(&kernels, mask);
  for (uint32_t p = 0; p < CONTEXT; p++)
    for (uint32_t i = 0; i < D / 2; i++) {
      const double angle = p * pow(10000, -2.0 * i / D);
      cos_table[p * D / 2 + i] = (float)cos(angle);
      sin_table[p * D / 2 + i] = (float)sin(angle);
    }
  const struct CMUnitTest tests[] = {cmocka_unit_test(all_channels_are_exact),
                                     cmocka_unit_test(exact_rank),
                                     cmocka_unit_test(mean_is_free),
                                     cmocka_unit_test(codes),
                                     cmocka_unit_test(far_out),
                                     cmocka_unit_test(allocation_pays),
                                     cmocka_unit_test(weighting_pays),
                                     cmocka_unit_test(chunks_and_threads),
                                     cmocka_unit_test(expand_agrees),
                                     cmocka_unit_test(joint_exact_rank),
                                     cmocka_unit_test(joint_formats),
                                     cmocka_unit_test(joint_weighting_pays),
                                     cmocka_unit_test(refuses)};
  return cmocka_run_group_tests_name("lowrank", tests, NULL, NULL);
}
