/* What is saved of every cache type and policy keeps its meaning: the pieces of a cache that was filled with the same
 * rows are the bytes below, as they were when sessions of that revision were first written. A type whose bytes change
 * gets another revision (struct tb_store_ops, struct tb_policy_ops), which makes programs refuse older sessions, and
 * the line that this test prints.
 *
 * Kernels of other tiers may round a number differently: two bytes in three must be the same; one in six are when a
 * basis or a layout changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "cache/cache.h"
#include "cache/policy/policy.h"
#include "simd/isa.h"
#include "support/profile_make.h"

enum { LAYERS = 2, HEADS = 4, KV = 2, D = 32, TOKENS = 320, SAMPLE = 48 };

static const struct saved {
  const char *k, *v;
  bool profiled;
  struct tb_plan_layer plan;
  uint32_t revision; /* of policy, keys and values, four bits each */
  size_t bytes;
  unsigned char sample[SAMPLE + 1];
} table[] = {
#include "tests/cache/saved.def"
};

static float cos_table[TOKENS * D / 2], sin_table[TOKENS * D / 2];
static const struct tb_rope_table rope = {.cos = cos_table, .sin = sin_table, .n_rot = D};

/* Rows and tables without a library's functions, which differ from one system to another. */
static float number(uint32_t *state) {
  float sum = -2;
  for (int i = 0; i < 4; i++) {
    *state = *state * 1664525 + 1013904223;
    sum += (float)(*state >> 16) / 0x1p16f;
  }
  return sum;
}

static float moment(size_t i, size_t j) {
  return 2.0f / (float)(1 + (i > j ? i - j : j - i)) + (i == j ? (float)(i % D) / 8 : 0);
}

static void make_rope(void) {
  for (uint32_t i = 0; i < TOKENS * D / 2; i++) { /* (1 - t²) / (1 + t²) and 2t / (1 + t²) lie on the circle */
    const float t = (float)(i / (D / 2)) / (float)(16 * (1 + i % (D / 2)));
    cos_table[i] = (1 - t * t) / (1 + t * t);
    sin_table[i] = 2 * t / (1 + t * t);
  }
}

static void fill(struct tb_cache *cache) {
  static float k[TOKENS * KV * D], v[TOKENS * KV * D], q[TOKENS * HEADS * D], out[TOKENS * HEADS * D];
  uint32_t state = 1;
  tb_cache_step(cache, TOKENS);
  for (uint32_t layer = 0; layer < LAYERS; layer++) {
    for (uint32_t i = 0; i < TOKENS * KV * D; i++) {
      k[i] = number(&state) * (1 + (float)(i % D) / 8) + (i % D == 5 ? 3 : 0);
      v[i] = number(&state) * (1 + (float)(i % D) / 16);
    }
    tb_cache_append(cache, layer, k, v);
    tb_cache_attend(cache, layer, q, out);
  }
  assert_int_equal(tb_cache_finish(cache, NULL), TB_OK);
}

struct pieces {
  size_t bytes, at;
  unsigned char *data; /* NULL: count */
};

static enum tb_status collect(void *user, unsigned char *piece, size_t bytes, struct tb_error *err) {
  struct pieces *p = user;
  (void)err;
  if (p->data) memcpy(p->data + p->at, piece, bytes);
  p->at += bytes;
  return TB_OK;
}

static void sample(struct tb_cache *cache, size_t *bytes, unsigned char out[SAMPLE]) {
  struct pieces p = {0};
  tb_cache_pieces(cache, collect, &p, NULL);
  p.bytes = p.at;
  p.at = 0;
  p.data = malloc(p.bytes);
  assert_non_null(p.data);
  tb_cache_pieces(cache, collect, &p, NULL);
  for (size_t i = 0; i < SAMPLE; i++)
    out[i] = p.data[(i * 2 + 1) * p.bytes / (2 * SAMPLE) + i % 4]; /* all parts of a number */
  *bytes = p.bytes;
  free(p.data);
}

static void print_line(const struct saved *s, uint32_t revision, size_t bytes, const unsigned char now[SAMPLE]) {
  char text[4 * SAMPLE + 1];
  for (size_t i = 0; i < SAMPLE; i++)
    snprintf(text + 4 * i, 5, "\\x%02x", now[i]);
  print_error("%s %s%s: 0x%03x, %zu,\n\"%s\"\n", s->k, s->v, s->profiled ? " with a profile" : "", revision, bytes,
              text);
}

static void make_plan(struct tb_plan_layer plan[LAYERS], const struct saved *s) {
  for (uint32_t i = 0; i < LAYERS; i++) {
    plan[i] = s->plan;
    if (s->plan.merge.with) plan[i].merge.with = i ? TB_MERGE_DOWN : TB_MERGE_UP;
    snprintf(plan[i].type_k, sizeof plan[i].type_k, "%s", s->k);
    snprintf(plan[i].type_v, sizeof plan[i].type_v, "%s", s->v);
  }
}

static bool same(const struct saved *s, const struct tb_profile *profile) {
  struct tb_kv_shape shapes[LAYERS];
  struct tb_plan_layer plan[LAYERS];
  struct tb_kernels kernels;
  struct tb_team *team;
  struct tb_cache *cache;
  struct tb_error err = {0};
  unsigned mask = 0;
  const char *reason;
  for (uint32_t i = 0; i < LAYERS; i++) {
    shapes[i] = (struct tb_kv_shape){.layer = i,
                                     .profile = s->profiled ? profile : NULL,
                                     .n_head = HEADS,
                                     .n_kv = KV,
                                     .d_k = D,
                                     .d_v = D,
                                     .scale = 0.125f,
                                     .rope = &rope};
  }
  make_plan(plan, s);
  const struct tb_cache_config config = {
      .n_layer = LAYERS, .shapes = shapes, .plan = plan, .n_ctx = TOKENS, .n_batch = TOKENS, .n_threads = 1};
  assert_true(tb_isa_select(getenv("TB_ISA"), &mask, &reason));
  tb_kernels_init(&kernels, mask);
  assert_int_equal(tb_team_create(&team, 1, &tb_system_allocator, NULL), TB_OK);
  if (tb_cache_create(&cache, &config, &kernels, team, &tb_system_allocator, &err)) fail_msg("%s", err.text);
  fill(cache);
  unsigned char now[SAMPLE];
  size_t bytes, equal = 0;
  sample(cache, &bytes, now);
  tb_cache_free(cache);
  tb_team_free(team);
  for (size_t i = 0; i < SAMPLE; i++)
    equal += now[i] == s->sample[i];
  const uint32_t revision =
      tb_policy_of(plan)->revision << 8 | tb_store_find(s->k)->revision << 4 | tb_store_find(s->v)->revision;
  const bool ok = revision == s->revision && bytes == s->bytes && 3 * equal >= 2 * SAMPLE;
  if (!ok) print_line(s, revision, bytes, now);
  return ok;
}

static void pieces_are_what_they_were(void **state) {
  (void)state;
  size_t others = 0;
  make_rope();
  struct tb_profile *profile = profile_complete(LAYERS, KV, D, moment);
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    others += !same(&table[i], profile);
  tb_profile_free(profile);
  if (others) fail_msg("%zu kinds of caches are saved otherwise than before", others);
}

/* A type that is registered has a line. */
static void every_type_has_a_line(void **state) {
  (void)state;
  for (const char *const *t = tb_store_names(); *t; t++) {
    bool found = false;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
      found = found || strcmp(table[i].k, *t) == 0 || strcmp(table[i].v, *t) == 0;
    if (!found) fail_msg("%s has no line in saved.def", *t);
  }
}

/* Numbers that sessions of revision 0 bear: f16 means what it did, skvqx2 does not, with a profile or without. */
static void sessions_are_bound(void **state) {
  (void)state;
  static const struct {
    struct saved types;
    uint64_t first;
    bool now;
  } cases[] = {
      {{.k = "f16", .v = "f16"}, 0x5c2f89534befeea7, true},
      {{.k = "skvqx2", .v = "skvqx2"}, 0x3ff7db7fb72241b7, false},
  };
  for (size_t i = 0; i < 2; i++) {
    struct tb_kv_shape shapes[LAYERS] = {{.n_head = HEADS, .n_kv = KV, .d_k = D, .d_v = D}};
    struct tb_plan_layer plan[LAYERS];
    shapes[1] = shapes[0];
    make_plan(plan, &cases[i].types);
    const struct tb_cache_config config = {.n_layer = LAYERS, .shapes = shapes, .plan = plan};
    const uint64_t now = tb_cache_identity(&config);
    if ((now == cases[i].first) != cases[i].now) fail_msg("%s: 0x%016llx", cases[i].types.k, (unsigned long long)now);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(pieces_are_what_they_were),
                                     cmocka_unit_test(every_type_has_a_line), cmocka_unit_test(sessions_are_bound)};
  return cmocka_run_group_tests_name("saved", tests, NULL, NULL);
}
