/* cache: sequences of operations on a cache of any types, beside an f32 cache that does the same: appends in batches of
 * any size, attention, truncation, saving and continuing from a copy. Outputs are finite, near the oracle's, and a
 * continued copy gives the same bits. The first bytes choose types, shape, window and sinks; the rest are operations. */
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/rng.h"
#include "cache/cache.h"
#include "cache/plan/loss.h"
#include "simd/isa.h"

enum { N_CTX = 640, BATCH = 192, MAX_D = 128, MAX_KV = 2, MAX_HEADS = 4, MAX_STEPS = 24 };

struct pair {
  struct tb_cache *tested, *oracle;
  struct tb_cache_config config;
  const struct tb_kernels *kernels;
  struct tb_team *team;
  double tolerance;
  uint64_t seed;
};

static float keys[BATCH * MAX_KV * MAX_D], values[BATCH * MAX_KV * MAX_D], queries[BATCH * MAX_HEADS * MAX_D];
static float got[BATCH * MAX_HEADS * MAX_D], want[BATCH * MAX_HEADS * MAX_D];

/* No rotation: stores that turn keys back get the identity. */
static const struct tb_rope_table *no_rotation(uint32_t d) {
  static float cosines[N_CTX * MAX_D / 2], sines[N_CTX * MAX_D / 2];
  static struct tb_rope_table table;
  for (size_t i = 0; i < sizeof cosines / sizeof cosines[0]; i++) cosines[i] = 1;
  table = (struct tb_rope_table){.cos = cosines, .sin = sines, .n_rot = d, .neox = true};
  return &table;
}

static void fill(float *x, size_t n, struct tb_rng *rng) {
  for (size_t i = 0; i < n; i++) x[i] = tb_rng_normal(rng);
}

/* Rows depend on their position alone, so that truncating and appending again gives the same conversation. */
static void make_rows(const struct pair *p, uint32_t pos, uint32_t n) {
  const struct tb_kv_shape *s = &p->config.shapes[0];
  for (uint32_t i = 0; i < n; i++) {
    struct tb_rng rng = {p->seed + (pos + i) * 7919};
    fill(keys + (size_t)i * s->n_kv * s->d_k, (size_t)s->n_kv * s->d_k, &rng);
    fill(values + (size_t)i * s->n_kv * s->d_v, (size_t)s->n_kv * s->d_v, &rng);
    fill(queries + (size_t)i * s->n_head * s->d_k, (size_t)s->n_head * s->d_k, &rng);
  }
}

/* A cache may change the rows that it is given. */
static void step(struct tb_cache *c, uint32_t n, float *out) {
  static float k[sizeof keys / sizeof keys[0]], v[sizeof values / sizeof values[0]];
  memcpy(k, keys, sizeof k);
  memcpy(v, values, sizeof v);
  tb_cache_step(c, n);
  tb_cache_append(c, 0, k, v);
  tb_cache_attend(c, 0, queries, out);
}

static void compare(const struct pair *p, uint32_t n) {
  const struct tb_kv_shape *s = &p->config.shapes[0];
  double error = 0, norm = 0;
  for (size_t i = 0; i < (size_t)n * s->n_head * s->d_v; i++) {
    FUZZ_CHECK(isfinite(got[i]) && isfinite(want[i]));
    error += pow((double)got[i] - (double)want[i], 2);
    norm += pow((double)want[i], 2);
  }
  if (sqrt(error / norm) > p->tolerance)
    fprintf(stderr, "%s %s: relative error %g, tolerance %g\n", p->config.plan[0].type_k, p->config.plan[0].type_v,
            sqrt(error / norm), p->tolerance);
  FUZZ_CHECK(sqrt(error / norm) <= p->tolerance);
}

static void append(struct pair *p, uint32_t n) {
  const uint32_t pos = tb_cache_length(p->tested);
  if (n > N_CTX - pos) n = N_CTX - pos;
  if (n == 0) return;
  make_rows(p, pos, n);
  step(p->tested, n, got);
  step(p->oracle, n, want);
  FUZZ_CHECK(tb_cache_length(p->tested) == pos + n && tb_cache_encoded(p->tested) <= pos + n);
  compare(p, n);
}

/* ---------------------------------------------------------------------------------------------- saving and continuing */

struct bytes {
  unsigned char *data;
  size_t n, at;
};

static enum tb_status count(void *user, unsigned char *piece, size_t bytes, struct tb_error *err) {
  (void)piece, (void)err;
  ((struct bytes *)user)->n += bytes;
  return TB_OK;
}

static enum tb_status write_piece(void *user, unsigned char *piece, size_t bytes, struct tb_error *err) {
  struct bytes *b = user;
  (void)err;
  memcpy(b->data + b->at, piece, bytes);
  b->at += bytes;
  return TB_OK;
}

static enum tb_status read_piece(void *user, unsigned char *piece, size_t bytes, struct tb_error *err) {
  struct bytes *b = user;
  (void)err;
  FUZZ_CHECK(bytes <= b->n - b->at);
  memcpy(piece, b->data + b->at, bytes);
  b->at += bytes;
  return TB_OK;
}

/* The copy takes the place of the original after one step that both do. */
static void continue_from_copy(struct pair *p) {
  static float again[BATCH * MAX_HEADS * MAX_D];
  struct tb_cache *copy;
  struct bytes b = {0};
  uint32_t words[16];
  const uint32_t length = tb_cache_length(p->tested);
  FUZZ_CHECK(tb_cache_state_words(p->tested) <= 16);
  FUZZ_CHECK(tb_cache_create(&copy, &p->config, p->kernels, p->team, &tb_system_allocator, NULL) == TB_OK);
  tb_cache_get_state(p->tested, words);
  tb_cache_pieces(p->tested, count, &b, NULL);
  b.data = malloc(b.n + 1);
  FUZZ_CHECK(b.data);
  tb_cache_pieces(p->tested, write_piece, &b, NULL);
  b.at = 0;
  FUZZ_CHECK(tb_cache_set_state(copy, length, words, NULL) == TB_OK);
  FUZZ_CHECK(tb_cache_pieces(copy, read_piece, &b, NULL) == TB_OK && b.at == b.n);
  free(b.data);
  if (length < N_CTX) {
    make_rows(p, length, 1);
    step(p->tested, 1, got);
    step(p->oracle, 1, want);
    step(copy, 1, again);
    compare(p, 1);
    const bool same = memcmp(got, again, sizeof(float) * p->config.shapes[0].n_head * p->config.shapes[0].d_v) == 0;
    if (!same)
      fprintf(stderr, "%s %s, window %u, sinks %u, %u of %u tokens encoded\n", p->config.plan[0].type_k, p->config.plan[0].type_v,
              p->config.plan[0].window, p->config.plan[0].sinks, words[0], length);
    FUZZ_CHECK(same);
  }
  tb_cache_free(p->tested);
  p->tested = copy;
}

/* ----------------------------------------------------------------------------------------------------------- the run */

/* Relative error of an output: that of the values, and that of the weights, which an error e of a key moves by about
 * e·σ, σ = 1 here. Six times what is expected: outputs of one token vary. A type without a row has no expectation. */
static double tolerance_of(const char *type_k, const char *type_v) {
  double k = 1, v = 1;
  tb_loss_error(type_k, &k);
  tb_loss_error(type_v, &v);
  return 1e-3 + 6 * (sqrt(k) + sqrt(v));
}

static void choose(struct fuzz_input *in, char type[TB_TYPE_NAME]) {
  size_t n = 0;
  while (tb_store_names()[n]) n++;
  snprintf(type, TB_TYPE_NAME, "%s", tb_store_names()[fuzz_u8(in) % n]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct tb_kernels kernels;
  static struct tb_team *team;
  static const uint32_t sizes[] = {64, 32, 128, 96};
  struct fuzz_input in = {data, size};
  if (!team) {
    unsigned mask;
    const char *reason;
    FUZZ_CHECK(tb_isa_select(getenv("TB_ISA"), &mask, &reason));
    tb_kernels_init(&kernels, mask);
    FUZZ_CHECK(tb_team_create(&team, 1, &tb_system_allocator, NULL) == TB_OK);
  }
  struct tb_plan_layer plan = {0}, exact = {.type_k = "f32", .type_v = "f32"};
  choose(&in, plan.type_k);
  choose(&in, plan.type_v);
  const uint32_t d = sizes[fuzz_u8(&in) % 4], n_kv = 1 + fuzz_u8(&in) % MAX_KV;
  plan.window = fuzz_u8(&in);
  plan.sinks = fuzz_u8(&in) % 12;
  struct tb_kv_shape shape = {.n_head = n_kv * (1 + fuzz_u8(&in) % 2), .n_kv = n_kv, .d_k = d, .d_v = d, .scale = 1 / sqrtf((float)d),
                              .rope = no_rotation(d)};
  if (fuzz_u8(&in) % 4 == 0) shape.sliding = 1 + fuzz_u8(&in);
  struct pair p = {.kernels = &kernels, .team = team, .tolerance = tolerance_of(plan.type_k, plan.type_v), .seed = fuzz_u8(&in)};
  struct tb_cache_config exact_config = {.n_layer = 1, .shapes = &shape, .plan = &exact, .n_ctx = N_CTX, .n_batch = BATCH, .n_threads = 1};
  p.config = exact_config;
  p.config.plan = &plan;
  if (tb_cache_check(&p.config, NULL) != TB_OK) return 0;
  FUZZ_CHECK(tb_cache_create(&p.tested, &p.config, &kernels, team, &tb_system_allocator, NULL) == TB_OK);
  FUZZ_CHECK(tb_cache_create(&p.oracle, &exact_config, &kernels, team, &tb_system_allocator, NULL) == TB_OK);
  for (int i = 0; i < MAX_STEPS && in.n > 0; i++) {
    const uint8_t what = fuzz_u8(&in), much = fuzz_u8(&in);
    if (what % 8 < 3) append(&p, 1 + much % BATCH);
    else if (what % 8 < 5) append(&p, 1);
    else if (what % 8 < 7) {
      const uint32_t n = tb_cache_length(p.tested) * much / 255;
      tb_cache_truncate(p.tested, n, NULL);
      tb_cache_truncate(p.oracle, n, NULL);
      FUZZ_CHECK(tb_cache_length(p.tested) == n && tb_cache_encoded(p.tested) <= n);
    } else continue_from_copy(&p);
  }
  tb_cache_free(p.tested);
  tb_cache_free(p.oracle);
  return 0;
}
