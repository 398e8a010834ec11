/* What every cache type promises, whatever it is: over each pair of stores and each policy that a plan line can ask
 * for. A type that is registered is tested; nothing here names one but for its tolerance. */
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
#include "support/count_alloc.h"
#include "support/profile_make.h"

enum { LAYERS = 2, HEADS = 6, KV = 2, D = 32, CTX = 420, BATCH = 220, WINDOW = 40, SINKS = 5 };

/* ------------------------------------------------------------------------------------------------------ fixtures */

static float cos_table[CTX * D / 2], sin_table[CTX * D / 2];
static const struct tb_rope_table rope = {.cos = cos_table, .sin = sin_table, .n_rot = D};
static struct tb_kv_shape shapes[LAYERS];
static float keys[CTX * KV * D], values[CTX * KV * D], queries[CTX * HEADS * D];

typedef float source(struct tb_rng *rng, uint32_t token, uint32_t channel);

static float plain_source(struct tb_rng *rng, uint32_t token, uint32_t channel) {
  (void)token, (void)channel;
  return tb_rng_normal(rng);
}

static void fill(source *keys_from, source *values_from) {
  struct tb_rng rng = {11};
  for (uint32_t t = 0; t < CTX; t++)
    for (uint32_t c = 0; c < KV * D; c++) {
      keys[t * KV * D + c] = keys_from(&rng, t, c);
      values[t * KV * D + c] = values_from(&rng, t, c);
    }
  for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
    queries[i] = tb_rng_normal(&rng);
}

static struct tb_profile *profile;

static float moment(size_t i, size_t j) {
  return (float)(i == j) + 0.3f * cosf((float)i - (float)j);
}

static int setup(void **state) {
  (void)state;
  for (uint32_t p = 0; p < CTX; p++)
    for (uint32_t i = 0; i < D / 2; i++) {
      const double angle = p * pow(10000.0, -2.0 * i / D);
      cos_table[p * (D / 2) + i] = (float)cos(angle);
      sin_table[p * (D / 2) + i] = (float)sin(angle);
    }
  for (uint32_t i = 0; i < LAYERS; i++)
    shapes[i] = (struct tb_kv_shape){
        .layer = i, .n_head = HEADS, .n_kv = KV, .d_k = D, .d_v = D, .scale = 0.125f, .rope = &rope};
  fill(plain_source, plain_source);
  profile = profile_complete(LAYERS, KV, D, moment);
  for (uint32_t i = 0; i < LAYERS; i++)
    shapes[i].profile = profile;
  return 0;
}

static int teardown(void **state) {
  (void)state;
  tb_profile_free(profile);
  return 0;
}

/* The kernels that TB_ISA allows. */
static unsigned best(void) {
  unsigned mask = 0;
  const char *reason;
  assert_true(tb_isa_select(getenv("TB_ISA"), &mask, &reason));
  return mask;
}

/* What a plan line asks for beside its types: nothing, or recall of few or of all tokens. */
static const struct tb_plan_layer policies[] = {
    {.window = WINDOW, .sinks = SINKS},
    {.window = WINDOW, .sinks = SINKS, .recall = 64, .cluster = 8, .segment = 160},
    {.window = WINDOW, .sinks = SINKS, .recall = CTX, .cluster = 16, .segment = 160},
    {.window = WINDOW, .sinks = SINKS, .recall = 64, .cluster = 32, .segment = 320, .form = TB_RECALL_PUBLISHED},
};
static const struct tb_plan_layer *policy;

/* A cache with its team and plan. */
struct rig {
  struct tb_plan_layer plan[LAYERS];
  struct tb_cache_config config;
  struct tb_kernels kernels;
  struct tb_team *team;
  struct count_alloc alloc;
  struct tb_cache *cache;
};

/* "merge/TYPE": layers 0 and 1 merged, directions of that type. The rows of this test have nothing in common, so most
 * are retained. */
static const char *plan_type(struct tb_plan_layer *p, uint32_t layer, const char *type) {
  if (strncmp(type, "merge/", 6) != 0) return type;
  p->merge = (struct tb_merge_plan){.with = layer ? TB_MERGE_DOWN : TB_MERGE_UP, .retain = 130};
  return type + 6;
}

/* False when this pair of types does not exist (three levels are for values only). */
static bool rig_make(struct rig *r, const char *k, const char *v, unsigned threads, unsigned isa) {
  memset(r, 0, sizeof *r);
  for (int i = 0; i < LAYERS; i++) {
    r->plan[i] = *policy;
    const char *type_k = plan_type(&r->plan[i], (uint32_t)i, k), *type_v = plan_type(&r->plan[i], (uint32_t)i, v);
    memcpy(r->plan[i].type_k, type_k, strlen(type_k) + 1);
    memcpy(r->plan[i].type_v, type_v, strlen(type_v) + 1);
  }
  r->config = (struct tb_cache_config){
      .n_layer = LAYERS, .shapes = shapes, .plan = r->plan, .n_ctx = CTX, .n_batch = BATCH, .n_threads = threads};
  if (tb_cache_check(&r->config, NULL) != TB_OK) return false;
  tb_kernels_init(&r->kernels, isa);
  count_alloc_init(&r->alloc);
  assert_int_equal(tb_team_create(&r->team, threads, &tb_system_allocator, NULL), TB_OK);
  struct tb_error err = {0};
  if (tb_cache_create(&r->cache, &r->config, &r->kernels, r->team, &r->alloc.hooks, &err) != TB_OK)
    fail_msg("%s/%s: %s", k, v, err.text);
  return true;
}

static void rig_free(struct rig *r) {
  tb_cache_free(r->cache);
  assert_int_equal(r->alloc.blocks, 0);
  tb_team_free(r->team);
}

/* Appends tokens from … to-1 in one step; layer 1 sees layer 0's rows shifted by one token. out (may be NULL): the
 * attention of layer 1 for the step's tokens. */
static void step(struct rig *r, uint32_t from, uint32_t to, float *out) {
  const uint32_t n = to - from;
  float *k = malloc(n * KV * D * sizeof *k), *v = malloc(n * KV * D * sizeof *v);
  float *o = malloc(n * HEADS * D * sizeof *o);
  assert_true(k && v && o);
  tb_cache_step(r->cache, n);
  for (uint32_t layer = 0; layer < LAYERS; layer++) {
    for (uint32_t i = 0; i < n; i++) {
      const size_t at = (size_t)((from + i + layer) % CTX) * KV * D;
      memcpy(k + i * KV * D, keys + at, KV * D * sizeof *k);
      memcpy(v + i * KV * D, values + at, KV * D * sizeof *v);
    }
    tb_cache_append(r->cache, layer, k, v);
    memcpy(o, queries + (size_t)from * HEADS * D, n * HEADS * D * sizeof *o);
    tb_cache_attend(r->cache, layer, o, o); /* in place, as the decoder has it */
  }
  if (out) memcpy(out, o, n * HEADS * D * sizeof *o);
  free(k);
  free(v);
  free(o);
}

/* Tokens from … to-1 in steps of at most `most`. */
static void feed(struct rig *r, uint32_t from, uint32_t to, uint32_t most) {
  for (uint32_t at = from; at < to; at += most)
    step(r, at, to - at < most ? to : at + most, NULL);
}

typedef void each_fn(const char *k, const char *v);

/* Types that mean nothing without parameters. Random rows have no subspace: they keep most of it. */
static const char *const variants[] = {"lowrank:30",         "lowrank:32:4:pca", "lowrank:x3",   "cskv:60",
                                       "cskv:64:4:weighted", "merge/q8_0",       "merge/skvqx4", "merge/lowrank:x3"};

/* Every type with itself, and beside f16; the policies by turns. In short every second type has recall as well, and
 * none stands beside f16. */
static void each_pair(each_fn *fn) {
  const bool brief = getenv("QEMU_CPU") || getenv("TB_TEST_SHORT");
  policy = &policies[0];
  for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
    fn(variants[i], variants[i]);
    if (!brief) fn("f16", variants[i]);
  }
  const size_t n = sizeof policies / sizeof *policies - 1;
  for (size_t i = 0; tb_store_names()[i]; i++) {
    const char *name = tb_store_names()[i];
    policy = &policies[0];
    fn(name, name);
    if (!brief) fn("f16", name);
    if (brief && i % 2) continue;
    policy = &policies[1 + (brief ? i / 2 : i) % n];
    fn(name, name);
  }
}

static void same(const float *a, const float *b, size_t n, const char *k, const char *v, const char *what) {
  for (size_t i = 0; i < n; i++)
    if (memcmp(&a[i], &b[i], sizeof *a) != 0)
      fail_msg("%s/%s: %s: output %zu is %.9g and %.9g", k, v, what, i, (double)a[i], (double)b[i]);
}

static void near(const float *a, const float *b, size_t n, double most, const char *k, const char *v,
                 const char *what) {
  double error = 0, sum = 0;
  for (size_t i = 0; i < n; i++) {
    error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    sum += (double)b[i] * b[i];
  }
  if (!(error <= most * most * sum))
    fail_msg("%s/%s: %s: relative error %.3g > %.3g", k, v, what, sqrt(error / sum), most);
}

/* ---------------------------------------------------------------------------------------------------------- cases */

static void chunks_make_the_whole(const char *k, const char *v) {
  static float whole[HEADS * D], parts[HEADS * D];
  struct rig a, b;
  if (!rig_make(&a, k, v, 1, best())) return;
  rig_make(&b, k, v, 1, best());
  feed(&a, 0, CTX - 1, BATCH);
  step(&a, CTX - 1, CTX, whole);
  feed(&b, 0, 30, 1);
  feed(&b, 30, 250, 73);
  feed(&b, 250, CTX - 1, 7);
  step(&b, CTX - 1, CTX, parts);
  same(whole, parts, HEADS * D, k, v, "other chunks");
  assert_int_equal(tb_cache_encoded(a.cache), tb_cache_encoded(b.cache));
  rig_free(&a);
  rig_free(&b);
}

static void test_chunks(void **state) {
  (void)state;
  each_pair(chunks_make_the_whole);
}

static void threads_do_not_matter(const char *k, const char *v) {
  static float one[BATCH * HEADS * D], three[BATCH * HEADS * D];
  enum { FROM = CTX - 70 };
  struct rig a, b;
  if (!rig_make(&a, k, v, 1, best())) return;
  rig_make(&b, k, v, 3, best());
  feed(&a, 0, FROM, BATCH);
  feed(&b, 0, FROM, BATCH);
  step(&a, FROM, CTX - 1, one);
  step(&b, FROM, CTX - 1, three);
  same(one, three, (size_t)(CTX - 1 - FROM) * HEADS * D, k, v, "prefill with three threads");
  step(&a, CTX - 1, CTX, one);
  step(&b, CTX - 1, CTX, three);
  same(one, three, HEADS * D, k, v, "decoding with three threads");
  rig_free(&a);
  rig_free(&b);
}

static void test_threads(void **state) {
  (void)state;
  for (const char *const *name = tb_store_names(); *name; name++)
    threads_do_not_matter(strcmp(*name, "skvqx1.5") == 0 ? "skvqx2" : *name, *name);
}

/* What is forgotten leaves no trace: exactly where nothing encoded is taken back, else within what encoding a part of
 * a block once more in f16 changes. */
static void truncating_forgets(const char *k, const char *v) {
  static float fresh[HEADS * D], again[HEADS * D];
  static const uint32_t kept[] = {0, 3, 255, 380};
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
    const uint32_t keep = kept[i];
    struct rig a, b;
    if (!rig_make(&a, k, v, 1, best())) return;
    rig_make(&b, k, v, 1, best());
    feed(&a, 0, 400, BATCH);
    assert_int_equal(tb_cache_truncate(a.cache, keep, NULL), TB_OK);
    assert_int_equal(tb_cache_length(a.cache), keep);
    feed(&a, keep, CTX - 1, 100);
    step(&a, CTX - 1, CTX, again);
    feed(&b, 0, CTX - 1, 100);
    step(&b, CTX - 1, CTX, fresh);
    const bool exact = keep == 0 || keep == 380;
    if (exact || policy->recall == 0 || policy->recall == CTX) /* else other tokens may be chosen */
      near(again, fresh, HEADS * D, exact ? 1e-6 : 0.25, k, v, "after a truncation");
    rig_free(&a);
    rig_free(&b);
  }
}

static void test_truncation(void **state) {
  (void)state;
  each_pair(truncating_forgets);
}

static void bytes_are_counted(const char *k, const char *v) {
  struct rig r;
  uint64_t stored, total;
  if (!rig_make(&r, k, v, 1, best())) return;
  tb_cache_bytes(&r.config, &stored, &total);
  if (r.alloc.live != total)
    fail_msg("%s/%s: %zu bytes taken, %llu counted", k, v, r.alloc.live, (unsigned long long)total);
  const size_t calls = r.alloc.calls;
  feed(&r, 0, CTX, BATCH);
  assert_int_equal(r.alloc.calls, calls); /* nothing is allocated on the way */
  rig_free(&r);
}

static void test_bytes(void **state) {
  (void)state;
  each_pair(bytes_are_counted);
}

/* The bits that 2-bit keys and three-level values take at 32k, window, sinks and metadata included. */
static void test_share_of_f16(void **state) {
  (void)state;
  static const struct {
    uint32_t d;
    double most;
  } rows[] = {{64, 0.145}, {128, 0.135}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct tb_kv_shape shape = {.n_head = 32, .n_kv = 8, .d_k = rows[i].d, .d_v = rows[i].d, .scale = 1, .rope = &rope};
    struct tb_plan_layer f16 = {.type_k = "f16", .type_v = "f16", .window = 128, .sinks = 5};
    struct tb_plan_layer packed = {.type_k = "skvqx2", .type_v = "skvqx1.5", .window = 128, .sinks = 5};
    struct tb_cache_config c = {
        .n_layer = 1, .shapes = &shape, .plan = &f16, .n_ctx = 32768, .n_batch = 512, .n_threads = 2};
    uint64_t all, part, total;
    tb_cache_bytes(&c, &all, &total);
    c.plan = &packed;
    tb_cache_bytes(&c, &part, &total);
    print_message("head size %u: %.2f %% of f16\n", rows[i].d, 100.0 * (double)part / (double)all);
    assert_true((double)part <= rows[i].most * (double)all);
  }
}

struct piece_list {
  unsigned char *at[4096];
  size_t bytes[4096], n;
};

static enum tb_status list_piece(void *user, unsigned char *piece, size_t bytes, struct tb_error *err) {
  struct piece_list *l = user;
  (void)err;
  assert_true(l->n < 4096);
  l->at[l->n] = piece;
  l->bytes[l->n++] = bytes;
  return TB_OK;
}

/* Saved by the scalar kernels, continued by the best ones: the same bits as if they had made it. */
static void saved_caches_travel(const char *k, const char *v) {
  static float here[HEADS * D], there[HEADS * D];
  static uint32_t words[4096];
  static struct piece_list from, to;
  struct rig a, b, c;
  if (!rig_make(&a, k, v, 1, 0)) return;
  rig_make(&b, k, v, 1, best());
  rig_make(&c, k, v, 1, best());
  feed(&a, 0, 300, BATCH);
  feed(&c, 0, 300, BATCH);
  assert_true(tb_cache_state_words(a.cache) <= 4096);
  tb_cache_get_state(a.cache, words);
  assert_int_equal(tb_cache_set_state(b.cache, 300, words, NULL), TB_OK);
  from.n = to.n = 0;
  tb_cache_pieces(a.cache, list_piece, &from, NULL);
  tb_cache_pieces(b.cache, list_piece, &to, NULL);
  assert_int_equal(from.n, to.n);
  for (size_t i = 0; i < from.n; i++) {
    assert_int_equal(from.bytes[i], to.bytes[i]);
    memcpy(to.at[i], from.at[i], from.bytes[i]);
  }
  feed(&b, 300, CTX - 1, 64);
  feed(&c, 300, CTX - 1, 64);
  step(&b, CTX - 1, CTX, there);
  step(&c, CTX - 1, CTX, here);
  same(here, there, HEADS * D, k, v, "saved under the scalar kernels");
  rig_free(&a);
  rig_free(&b);
  rig_free(&c);
}

static void test_saving(void **state) {
  (void)state;
  each_pair(saved_caches_travel);
}

/* Lengths at every seam: nothing, one token, the window full, one more, blocks, the context's last token. */
static void seams_hold(const char *k, const char *v) {
  if (policy->recall && policy->recall < CTX) return; /* leaves out what the oracle attends to */
  static const uint32_t lengths[] = {
      1,  SINKS, SINKS + WINDOW, SINKS + WINDOW + 1, SINKS + WINDOW + 159, SINKS + WINDOW + 160, SINKS + WINDOW + 161,
      CTX};
  static float exact[HEADS * D], got[HEADS * D];
  struct rig oracle, r;
  if (!rig_make(&r, k, v, 1, best())) return;
  policy = &policies[0];
  rig_make(&oracle, "f32", "f32", 1, best());
  uint32_t at = 0;
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    feed(&r, at, lengths[i] - 1, BATCH);
    feed(&oracle, at, lengths[i] - 1, BATCH);
    step(&r, lengths[i] - 1, lengths[i], got);
    step(&oracle, lengths[i] - 1, lengths[i], exact);
    at = lengths[i];
    /* Random keys make flat attention, whose averages of values are small beside their errors. SKVQ as
     * published leaves half of a value's size and more as error. */
    near(got, exact, HEADS * D, strncmp(v, "skvq", 4) == 0 && v[4] != 'x' ? 0.9 : 0.5, k, v, "against f32");
  }
  rig_free(&oracle);
  rig_free(&r);
}

static void test_seams(void **state) {
  (void)state;
  each_pair(seams_hold);
}

/* ---------------------------------------------------------------------------------------------------- hostile rows */

static float outlier_source(struct tb_rng *rng, uint32_t token, uint32_t channel) {
  (void)token;
  return tb_rng_normal(rng) * (channel % D == 3 || channel % D == 20 ? 1000.0f : 1.0f);
}
static float loud_token_source(struct tb_rng *rng, uint32_t token, uint32_t channel) {
  (void)channel;
  return tb_rng_normal(rng) * (token % 50 == 7 ? 1000.0f : 1.0f);
}
static float constant_source(struct tb_rng *rng, uint32_t token, uint32_t channel) {
  (void)rng, (void)token;
  return (float)(channel % 5) - 2;
}
static float one_sided_source(struct tb_rng *rng, uint32_t token, uint32_t channel) {
  (void)token, (void)channel;
  return 10 + tb_rng_unit(rng);
}
static float denormal_source(struct tb_rng *rng, uint32_t token, uint32_t channel) {
  (void)token, (void)channel;
  return tb_rng_normal(rng) * 1e-40f;
}
static float zero_source(struct tb_rng *rng, uint32_t token, uint32_t channel) {
  (void)rng, (void)token, (void)channel;
  return 0;
}
static float nan_source(struct tb_rng *rng, uint32_t token, uint32_t channel) {
  return token == 20 && channel == 9 ? NAN : token == 90 && channel == 40 ? INFINITY : tb_rng_normal(rng);
}

static void stays_finite(const char *k, const char *v) {
  static float out[HEADS * D];
  struct rig r;
  if (!rig_make(&r, k, v, 1, best())) return;
  feed(&r, 0, CTX - 1, BATCH);
  step(&r, CTX - 1, CTX, out);
  for (int i = 0; i < HEADS * D; i++)
    if (!isfinite(out[i])) fail_msg("%s/%s: output %d is %g", k, v, i, (double)out[i]);
  rig_free(&r);
}

/* Values that are not finite may give any output, but no trap and no endless loop. */
static void survives(const char *k, const char *v) {
  static float out[HEADS * D];
  struct rig r;
  if (!rig_make(&r, k, v, 1, best())) return;
  feed(&r, 0, CTX - 1, BATCH);
  step(&r, CTX - 1, CTX, out);
  rig_free(&r);
}

static void test_hostile(void **state) {
  (void)state;
  source *const sources[] = {outlier_source,   loud_token_source, constant_source,
                             one_sided_source, denormal_source,   zero_source};
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
    fill(sources[i], sources[i]);
    each_pair(stays_finite);
  }
  fill(nan_source, nan_source);
  each_pair(survives);
  fill(plain_source, plain_source);
}

/* usage: cache_conformance [name of one test, with * and ?] */
int main(int argc, char **argv) {
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes),      cmocka_unit_test(test_share_of_f16),
                                     cmocka_unit_test(test_seams),      cmocka_unit_test(test_chunks),
                                     cmocka_unit_test(test_threads),    cmocka_unit_test(test_saving),
                                     cmocka_unit_test(test_truncation), cmocka_unit_test(test_hostile)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
