/* Merged layers: twins merge without loss once they are aligned, others are refused; what is retained is exact. */
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
#include "cache/eigen.h"
#include "cache/policy/merge.h"
#include "simd/isa.h"
#include "support/profile_make.h"

enum { D = 32, KV = 3, HEADS = 6, WIDE = KV * D, TOKENS = 400, LAYERS = 2, CONTEXT = 512, ROT = 24 };

static struct tb_kernels kernels;
static float cos_table[CONTEXT * ROT / 2], sin_table[CONTEXT * ROT / 2];
static const struct tb_rope_table rope = {.cos = cos_table, .sin = sin_table, .n_rot = ROT};
static const uint32_t lower_of[KV] = {2, 0, 1}; /* the upper layer's heads are these of the lower one, turned */

struct data {
  float k[LAYERS][TOKENS * WIDE], v[LAYERS][TOKENS * WIDE], q[LAYERS][TOKENS * HEADS * D];
  float k_cross[KV * KV * D], v_cross[KV * KV * D * D], cosine[4];
  struct tb_profile *profile;
  struct tb_kv_shape shapes[LAYERS];
};

static float rotation[KV][D * D]; /* of values */

static void make_rotations(struct tb_rng *rng) {
  static double a[D * D], work[2 * D * D + D];
  for (uint32_t h = 0; h < KV; h++) {
    for (size_t i = 0; i < D * D; i++)
      a[i] = tb_rng_normal(rng);
    tb_polar(a, D, work);
    for (size_t i = 0; i < D * D; i++)
      rotation[h][i] = (float)a[i];
  }
}

static void rotate(float *x, uint32_t pos) {
  kernels.rope_norm(x, cos_table + pos * (ROT / 2), sin_table + pos * (ROT / 2), ROT);
}

/* Row t of the upper layer: the lower layer's turned, times a length of its own, plus noise. */
static void make_upper(struct data *s, uint32_t t, float noise, struct tb_rng *rng) {
  for (uint32_t h = 0; h < KV; h++) {
    const float *kl = s->k[0] + t * WIDE + lower_of[h] * D, *vl = s->v[0] + t * WIDE + lower_of[h] * D;
    float *k = s->k[1] + t * WIDE + h * D, *v = s->v[1] + t * WIDE + h * D, length = 0.5f + tb_rng_unit(rng);
    for (uint32_t c = 0; c < D; c += 2) {
      const float angle = c < ROT ? (float)(c + 5 * h) : 0;
      k[c] = length * (cosf(angle) * kl[c] - sinf(angle) * kl[c + 1]);
      k[c + 1] = length * (sinf(angle) * kl[c] + cosf(angle) * kl[c + 1]);
    }
    for (uint32_t r = 0; r < D; r++) {
      v[r] = 0;
      for (uint32_t c = 0; c < D; c++)
        v[r] += length * rotation[h][r * D + c] * vl[c];
    }
    for (uint32_t c = 0; c < D; c++) {
      k[c] += noise * tb_rng_normal(rng);
      v[c] += noise * tb_rng_normal(rng);
    }
  }
}

static double size(const float *x) {
  double sum = 0;
  for (uint32_t c = 0; c < D; c++)
    sum += (double)x[c] * x[c];
  return sqrt(sum);
}

/* E[u wᵀ] of unit rows, as the profile has it. */
static void measure(struct data *s) {
  for (uint32_t i = 0; i < KV; i++)
    for (uint32_t j = 0; j < KV; j++)
      for (uint32_t t = 0; t < TOKENS; t++) {
        const float *ka = s->k[0] + t * WIDE + i * D, *kb = s->k[1] + t * WIDE + j * D;
        const float *va = s->v[0] + t * WIDE + i * D, *vb = s->v[1] + t * WIDE + j * D;
        const float nk = (float)(1 / (size(ka) * size(kb) * TOKENS)), nv = (float)(1 / (size(va) * size(vb) * TOKENS));
        float *kx = s->k_cross + (i * KV + j) * D, *vx = s->v_cross + (i * KV + j) * D * D;
        for (uint32_t c = 0; c < ROT; c += 2) {
          kx[c] += nk * (ka[c] * kb[c] + ka[c + 1] * kb[c + 1]);
          kx[c + 1] += nk * (ka[c + 1] * kb[c] - ka[c] * kb[c + 1]);
        }
        for (uint32_t c = ROT; c < D; c++)
          kx[c] += nk * ka[c] * kb[c];
        for (uint32_t r = 0; r < D; r++)
          for (uint32_t c = 0; c < D; c++)
            vx[r * D + c] += nv * va[r] * vb[c];
      }
}

static struct tb_profile *profile_of(struct data *s) {
  const struct profile_entry entries[] = {{"blk.1.k.cross", s->k_cross, KV * KV * D},
                                          {"blk.1.v.cross", s->v_cross, KV * KV * D * D},
                                          {"blk.1.merge.cosine", s->cosine, 4}};
  return profile_make(entries, 3);
}

static void solve(struct data *s) {
  static float map[KV * D * D];
  static unsigned char work[1 << 17] __attribute__((aligned(64)));
  uint32_t head[KV];
  assert_true(tb_align_bytes(KV, D) <= sizeof work);
  for (enum tb_side side = TB_SIDE_K; side <= TB_SIDE_V; side++) {
    struct tb_align_map m = {.head = head, .map = map};
    assert_int_equal(tb_merge_align(&s->shapes[1], side, true, &m, work, NULL), TB_OK);
    s->cosine[2 * side] = (float)m.untouched;
    s->cosine[2 * side + 1] = (float)m.cosine;
  }
}

static struct data *make(float noise, uint64_t seed) {
  struct data *s = calloc(1, sizeof *s);
  struct tb_rng rng = {seed};
  assert_non_null(s);
  make_rotations(&rng);
  for (uint32_t i = 0; i < TOKENS * WIDE; i++) {
    s->k[0][i] = tb_rng_normal(&rng);
    s->v[0][i] = tb_rng_normal(&rng);
  }
  for (uint32_t i = 0; i < TOKENS * HEADS * D; i++) {
    s->q[0][i] = tb_rng_normal(&rng);
    s->q[1][i] = tb_rng_normal(&rng);
  }
  for (uint32_t t = 0; t < TOKENS; t++)
    make_upper(s, t, noise, &rng);
  measure(s);
  for (uint32_t t = 0; t < TOKENS; t++)
    for (uint32_t h = 0; h < KV; h++) {
      rotate(s->k[0] + t * WIDE + h * D, t);
      rotate(s->k[1] + t * WIDE + h * D, t);
    }
  s->profile = profile_of(s);
  for (uint32_t i = 0; i < LAYERS; i++)
    s->shapes[i] = (struct tb_kv_shape){.layer = i,
                                        .profile = s->profile,
                                        .n_head = HEADS,
                                        .n_kv = KV,
                                        .d_k = D,
                                        .d_v = D,
                                        .scale = 0.5f,
                                        .rope = &rope};
  solve(s);
  tb_profile_free(s->profile);
  s->profile = profile_of(s);
  s->shapes[0].profile = s->shapes[1].profile = s->profile;
  return s;
}

static void drop(struct data *s) {
  tb_profile_free(s->profile);
  free(s);
}

static void plan_of(struct tb_plan_layer plan[LAYERS], const char *type, struct tb_merge_plan merge) {
  for (uint32_t i = 0; i < LAYERS; i++) {
    plan[i] = (struct tb_plan_layer){.window = 8, .sinks = 2, .merge = merge};
    if (merge.with) plan[i].merge.with = i ? TB_MERGE_DOWN : TB_MERGE_UP;
    snprintf(plan[i].type_k, sizeof plan[i].type_k, "%s", type);
    snprintf(plan[i].type_v, sizeof plan[i].type_v, "%s", type);
  }
}

/* Attention of the last token in both layers; returns the cache's bytes of keys and values. */
static uint64_t attend(const struct data *s, const char *type, struct tb_merge_plan merge,
                       float out[LAYERS][HEADS * D]) {
  struct tb_plan_layer plan[LAYERS];
  plan_of(plan, type, merge);
  struct tb_cache_config config = {
      .n_layer = LAYERS, .shapes = s->shapes, .plan = plan, .n_ctx = CONTEXT, .n_batch = 100, .n_threads = 2};
  struct tb_team *team;
  struct tb_cache *cache;
  struct tb_error err;
  static float k[100 * WIDE], v[100 * WIDE], o[100 * HEADS * D];
  uint64_t stored, total;
  tb_cache_bytes(&config, &stored, &total);
  assert_int_equal(tb_team_create(&team, 2, &tb_system_allocator, &err), TB_OK);
  if (tb_cache_create(&cache, &config, &kernels, team, &tb_system_allocator, &err) != TB_OK) fail_msg("%s", err.text);
  for (uint32_t t = 0, n; t < TOKENS; t += n) {
    n = t + 1 == TOKENS ? 1 : TOKENS - 1 - t < 100 ? TOKENS - 1 - t : 100;
    tb_cache_step(cache, n);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
      memcpy(k, s->k[layer] + t * WIDE, n * WIDE * sizeof *k);
      memcpy(v, s->v[layer] + t * WIDE, n * WIDE * sizeof *v);
      tb_cache_append(cache, layer, k, v);
      tb_cache_attend(cache, layer, s->q[layer] + t * HEADS * D, o);
      memcpy(out[layer], o, HEADS * D * sizeof *o);
    }
  }
  assert_int_equal(tb_cache_encoded(cache), merge.with ? 320 : TOKENS);
  tb_cache_free(cache);
  tb_team_free(team);
  return stored;
}

static double loss(const struct data *s, const char *type, struct tb_merge_plan merge, uint32_t layer) {
  float exact[LAYERS][HEADS * D], got[LAYERS][HEADS * D];
  double e = 0, m = 0;
  attend(s, "f32", (struct tb_merge_plan){0}, exact);
  attend(s, type, merge, got);
  for (uint32_t i = 0; i < HEADS * D; i++) {
    e += pow((double)got[layer][i] - exact[layer][i], 2);
    m += pow((double)exact[layer][i], 2);
  }
  return sqrt(e / m);
}

static const struct tb_merge_plan merged = {.with = 1, .cosine = 90};

static void twins_merge(void **state) {
  (void)state;
  struct data *s = make(0, 1);
  assert_true(s->cosine[1] > 0.999f && s->cosine[3] > 0.999f);
  assert_true(s->cosine[0] < 0.5f && s->cosine[2] < 0.5f);
  for (uint32_t layer = 0; layer < LAYERS; layer++) {
    const double exact = loss(s, "f32", merged, layer), eight = loss(s, "q8_0", merged, layer);
    if (!(exact < 2e-3 && eight < 3e-2)) fail_msg("layer %u: f32 %g, q8_0 %g", layer, exact, eight);
  }
  drop(s);
}

static enum tb_status check(const struct data *s, const struct tb_plan_layer *plan, struct tb_error *err) {
  struct tb_cache_config config = {
      .n_layer = LAYERS, .shapes = s->shapes, .plan = plan, .n_ctx = CONTEXT, .n_batch = 100, .n_threads = 2};
  return tb_cache_check(&config, err);
}

static void refuses(void **state) {
  (void)state;
  struct data *s = make(0, 2), *noisy = make(1, 3);
  struct tb_plan_layer plan[LAYERS];
  struct tb_error err;
  struct tb_merge_plan unaligned = merged;
  unaligned.unaligned = 1;
  plan_of(plan, "f16", merged);
  assert_int_equal(check(s, plan, &err), TB_OK);
  plan_of(plan, "f16", unaligned);
  assert_int_equal(check(s, plan, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "layer 1: merge: keys agree"));
  plan_of(plan, "f16", merged);
  assert_int_equal(check(noisy, plan, &err), TB_E_ARG);
  plan[1].merge.with = TB_MERGE_NONE;
  assert_int_equal(check(s, plan, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "has no merge=down"));
  plan[1].merge.with = TB_MERGE_UP;
  assert_int_equal(check(s, plan, &err), TB_E_ARG);
  plan_of(plan, "f16", merged);
  plan[1].window++;
  assert_int_equal(check(s, plan, &err), TB_E_ARG);
  plan_of(plan, "f16", merged);
  s->shapes[1].sliding = 64;
  assert_int_equal(check(s, plan, &err), TB_E_UNSUPPORTED);
  s->shapes[1].sliding = 0;
  s->shapes[1].profile = NULL;
  assert_int_equal(check(s, plan, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "needs a profile"));
  drop(s);
  drop(noisy);
}

/* Keeping what differs most helps; keeping what differs least hardly does. */
static void retaining(void **state) {
  (void)state;
  double none = 0, most = 0, least = 0, all = 0;
  for (uint64_t seed = 10; seed < 14; seed++) {
    struct data *s = make(0.1f, seed);
    /* a tenth of the tokens have nothing in common */
    struct tb_rng rng = {seed + 100};
    for (uint32_t t = 0; t < TOKENS; t += 10)
      for (uint32_t c = 0; c < WIDE; c++) {
        s->k[1][t * WIDE + c] = tb_rng_normal(&rng);
        s->v[1][t * WIDE + c] = tb_rng_normal(&rng);
      }
    none += loss(s, "f16", (struct tb_merge_plan){.with = 1}, 1);
    most += loss(s, "f16", (struct tb_merge_plan){.with = 1, .retain = 16}, 1);
    least += loss(s, "f16", (struct tb_merge_plan){.with = 1, .retain = 16, .similar = 1}, 1);
    all += loss(s, "f16", (struct tb_merge_plan){.with = 1, .retain = 160}, 1);
    drop(s);
  }
  if (!(all / 4 < 2e-3)) fail_msg("all retained: %g", all / 4);
  if (!(most < 0.8 * none && most < 0.8 * least)) fail_msg("none %g, most different %g, least %g", none, most, least);
}

/* 2-bit directions shared by two layers: fewer bytes than two 2-bit caches, of directions that agree. */
static void composes(void **state) {
  (void)state;
  struct data *s = make(0, 20);
  float out[LAYERS][HEADS * D];
  const uint64_t apart = attend(s, "f16", (struct tb_merge_plan){0}, out), together = attend(s, "skvqx2", merged, out);
  assert_true(together < apart);
  const double two = loss(s, "skvqx2", merged, 1), eight = loss(s, "q8_0", merged, 1);
  if (!(eight < two && two < 1)) fail_msg("2 bits %g, 8 bits %g", two, eight);
  drop(s);
}

int main(void) {
  unsigned mask;
  const char *reason, *tier = getenv("TB_ISA");
  if (!tb_isa_select(tier && *tier ? tier : "auto", &mask, &reason)) return 1;
  tb_kernels_init(&kernels, mask);
  for (uint32_t p = 0; p < CONTEXT; p++)
    for (uint32_t i = 0; i < ROT / 2; i++) {
      const double angle = p * pow(10000, -2.0 * i / ROT);
      cos_table[p * (ROT / 2) + i] = (float)cos(angle);
      sin_table[p * (ROT / 2) + i] = (float)sin(angle);
    }
  const struct CMUnitTest tests[] = {cmocka_unit_test(twins_merge), cmocka_unit_test(refuses),
                                     cmocka_unit_test(retaining), cmocka_unit_test(composes)};
  return cmocka_run_group_tests_name("merge", tests, NULL, NULL);
}
