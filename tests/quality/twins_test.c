/* Twins of the bundled model that hurt quantisers, and what each cache type makes of them:
 *
 *   plain     the bundled model, q and k in f32
 *   outlier   k rows of two RoPE pairs × 64, the q rows that meet them / 64: the f32 logits stay as they are,
 *             bit by bit. skvqx must not notice: at most 1.2 times the plain model's divergence
 *   bias      a qwen2 file whose keys have biases of 64 times a channel's size in two pairs, a slow and a fast
 *             one, as Qwen2.5's have; q rows of these / 64, so that attention still looks at tokens. Reported
 *
 * Divergence (KLD, nats per token) from the same file's f32 cache, no window: texts of TOKENS tokens read in steps of
 * STEP, so that most is attended to in its packed form.
 *
 *   quality_twins          the bounds, on one text
 *   quality_twins table    more cache types, the bias twin, more texts */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "simd/half.h"
#include "support/gguf_edit.h"
#include "support/tmpdir.h"
#include "thimble.h"

enum { LAYERS = 8, EMBD = 192, HEADS = 4, KV = 2, D = 64, VOCAB = 2048 };
enum { TOKENS = 800, STEP = 16, FROM = 320, CHUNKS = 2, CALIBRATE = 4096 };
enum { SLOW = 29, FAST = 5, LARGE = 64 }; /* pairs; a power of two: products are scaled without rounding */

static struct tmpdir dir;
static char text[300000];
static size_t text_length, chunks = 1; /* texts measured, of CHUNKS */

/* -------------------------------------------------------------------------------------------------------- the files */

/* blk.<layer>.<name>.weight as floats: a tensor of Q8_0 is converted. */
static float *floats(struct gguf_edit *e, int layer, const char *name) {
  char full[64];
  snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
  struct edit_tensor *t = edit_tensor(e, full);
  if (t->id == 0) return (float *)(void *)t->data;
  enum { BLOCK = 34 };
  const size_t blocks = t->n / BLOCK;
  unsigned char *packed = t->data;
  t->data = NULL;
  t->id = 0;
  edit_resize(t, blocks * 32 * sizeof(float));
  float *out = (float *)(void *)t->data;
  for (size_t b = 0; b < blocks; b++) {
    uint16_t scale;
    memcpy(&scale, packed + b * BLOCK, sizeof scale);
    for (size_t i = 0; i < 32; i++)
      out[b * 32 + i] = tb_f16_to_f32(scale) * (float)(int8_t)packed[b * BLOCK + 2 + i];
  }
  free(packed);
  return out;
}

static struct gguf_edit plain(void) {
  struct tb_error err;
  struct tb_gguf *g;
  struct gguf_edit e;
  if (tb_gguf_open(&g, TB_SOURCE_DIR "/models/tiny/tiny-chat.gguf", &tb_system_allocator, &err) != TB_OK)
    fail_msg("%s", err.text);
  edit_read(&e, g);
  tb_gguf_free(g);
  for (int layer = 0; layer < LAYERS; layer++) {
    floats(&e, layer, "attn_q");
    floats(&e, layer, "attn_k");
  }
  return e;
}

/* Rows of a RoPE pair of every head. */
static void scale_pair(float *w, int heads, int pair, float by) {
  for (int h = 0; h < heads; h++)
    for (int i = 0; i < 2 * EMBD; i++)
      w[(h * D + 2 * pair) * EMBD + i] *= by;
}

static void scale_pairs(struct gguf_edit *e, int layer, float keys, float queries) {
  static const int pairs[] = {FAST, SLOW};
  for (int i = 0; i < 2; i++) {
    scale_pair(floats(e, layer, "attn_k"), KV, pairs[i], keys);
    scale_pair(floats(e, layer, "attn_q"), HEADS, pairs[i], queries);
  }
}

static struct gguf_edit outlier(void) {
  struct gguf_edit e = plain();
  for (int layer = 0; layer < LAYERS; layer++)
    scale_pairs(&e, layer, LARGE, 1.0f / LARGE);
  return e;
}

/* From neighbouring pairs to halves of a head. */
static void part_pairs(float *w, int heads) {
  static float head[D * EMBD];
  for (int h = 0; h < heads; h++) {
    memcpy(head, w + (size_t)h * D * EMBD, sizeof head);
    for (int r = 0; r < D; r++)
      memcpy(w + (size_t)(h * D + r / 2 + (r & 1) * D / 2) * EMBD, head + (size_t)r * EMBD, EMBD * sizeof *w);
  }
}

static void add_bias(struct gguf_edit *e, int layer, const char *name, const float *values, size_t n) {
  e->tensors = realloc(e->tensors, (e->n_tensors + 1) * sizeof *e->tensors);
  assert_non_null(e->tensors);
  struct edit_tensor *t = &e->tensors[e->n_tensors++];
  *t = (struct edit_tensor){.n_dims = 1, .ne = {n, 1, 1, 1}};
  snprintf(t->name, sizeof t->name, "blk.%d.%s.bias", layer, name);
  edit_resize(t, n * sizeof *values);
  memcpy(t->data, values, n * sizeof *values);
}

/* Roots of the mean square of a key channel: the row's length, as the normalised input has ones at the mean. */
static float length_of(const float *row) {
  double sum = 0;
  for (int i = 0; i < EMBD; i++)
    sum += (double)row[i] * row[i];
  return (float)sqrt(sum);
}

static struct gguf_edit bias(void) {
  static const float none[HEADS * D];
  struct gguf_edit e = plain();
  for (size_t i = 0; i < e.n_kvs; i++) {
    char *key = e.kvs[i].key, rest[64];
    if (strncmp(key, "llama.", 6) != 0) continue;
    memcpy(rest, key + 6, sizeof rest - 6);
    rest[sizeof rest - 7] = 0;
    snprintf(key, sizeof e.kvs[i].key, "qwen2.%.57s", rest);
  }
  edit_set_str(&e, "general.architecture", "qwen2", 5);
  for (int layer = 0; layer < LAYERS; layer++) {
    float *k = floats(&e, layer, "attn_k"), *q = floats(&e, layer, "attn_q"), b[KV * D] = {0};
    scale_pairs(&e, layer, 1, 1.0f / LARGE);
    part_pairs(k, KV);
    part_pairs(q, HEADS);
    for (int h = 0; h < KV; h++)
      for (int i = 0; i < 2; i++) {
        const int c = h * D + (i ? SLOW : FAST);
        b[c] = LARGE * length_of(k + (size_t)c * EMBD);
        b[c + D / 2] = -LARGE * length_of(k + (size_t)(c + D / 2) * EMBD);
      }
    add_bias(&e, layer, "attn_q", none, HEADS * D);
    add_bias(&e, layer, "attn_k", b, KV * D);
    add_bias(&e, layer, "attn_v", none, KV * D);
  }
  return e;
}

/* ------------------------------------------------------------------------------------------------------- measuring */

struct twin {
  struct tb_model *model;
  char profile[512];
  float *exact; /* f32 logits of chunks × (TOKENS - FROM) positions */
};

struct look {
  float *exact;
  bool keep;
  size_t base, counted;
  double kld;
};

static double divergence(const float *p, const float *q) {
  double sp = 0, sq = 0, sum = 0, mp = p[0], mq = q[0];
  for (int i = 1; i < VOCAB; i++) {
    mp = fmax(mp, p[i]);
    mq = fmax(mq, q[i]);
  }
  for (int i = 0; i < VOCAB; i++) {
    sp += exp(p[i] - mp);
    sq += exp(q[i] - mq);
  }
  for (int i = 0; i < VOCAB; i++) {
    const double a = p[i] - mp - log(sp);
    sum += exp(a) * (a - (q[i] - mq - log(sq)));
  }
  return sum;
}

static bool see(void *user, size_t at, const float *logits) {
  struct look *l = user;
  if (l->base + at < FROM) return true;
  float *exact = l->exact + (l->base + at - FROM) * VOCAB;
  if (l->keep)
    memcpy(exact, logits, VOCAB * sizeof *logits);
  else
    l->kld += divergence(exact, logits);
  l->counted++;
  return true;
}

/* Mean divergence of a cache from the f32 logits in `exact`; with keep these are written instead. */
static double measure(const struct tb_model *m, const char *profile, const char *k, const char *v, float *exact,
                      bool keep) {
  struct tb_error err;
  struct tb_context *ctx;
  struct look l = {.keep = keep};
  static tb_token ids[sizeof text];
  size_t n;
  const struct tb_context_options o = {.n_ctx = TOKENS,
                                       .n_batch = STEP,
                                       .n_threads = 1,
                                       .type_k = k,
                                       .type_v = v,
                                       .kv_window = -1,
                                       .kv_sinks = -1,
                                       .kv_profile = profile};
  if (tb_tokenize(m, text, text_length, 0, ids, sizeof ids / sizeof ids[0], &n, &err) != TB_OK ||
      tb_context_create(&ctx, m, &o, &err) != TB_OK)
    fail_msg("%s", err.text);
  assert_true(n > CALIBRATE + CHUNKS * TOKENS);
  for (size_t chunk = 0; chunk < chunks; chunk++) {
    const tb_token *first = ids + n - (chunk + 1) * TOKENS; /* calibration sees the beginning, this the end */
    l.exact = exact + chunk * (TOKENS - FROM) * VOCAB;
    tb_truncate(ctx, 0, &err);
    for (l.base = 0; l.base < TOKENS; l.base += STEP)
      if (tb_eval_all(ctx, first + l.base, STEP, see, &l, &err) != TB_OK) fail_msg("%s", err.text);
  }
  tb_context_free(ctx);
  return l.kld / (double)l.counted;
}

static struct twin open_twin(struct gguf_edit e, const char *name) {
  struct twin t = {0};
  struct tb_error err;
  char file[64];
  snprintf(file, sizeof file, "%s.gguf", name);
  const char *path = tmpdir_file(&dir, file);
  edit_write(&e, path);
  edit_free(&e);
  if (tb_model_open(&t.model, path, NULL, &err) != TB_OK) fail_msg("%s", err.text);
  const struct tb_calibrate_options o = {
      .n_tokens = chunks > 1 ? CALIBRATE : CALIBRATE / 4, .n_ctx = 1024, .n_threads = 2, .no_losses = true};
  snprintf(file, sizeof file, "%s.profile", name);
  snprintf(t.profile, sizeof t.profile, "%s", tmpdir_file(&dir, file));
  if (tb_calibrate(t.model, text, text_length, t.profile, &o, NULL, NULL, &err) != TB_OK) fail_msg("%s", err.text);
  t.exact = malloc(chunks * (TOKENS - FROM) * VOCAB * sizeof *t.exact);
  assert_non_null(t.exact);
  measure(t.model, NULL, "f32", "f32", t.exact, true);
  return t;
}

static void close_twin(struct twin *t) {
  free(t->exact);
  tb_model_free(t->model);
}

/* ------------------------------------------------------------------------------------------------------------ tests */

struct row {
  const char *k, *v;
  bool profile;
};

static double of(const struct twin *t, const struct row *r) {
  return measure(t->model, r->profile ? t->profile : NULL, r->k, r->v, t->exact, false);
}

static void bounds(void **state) {
  static const struct row rows[] = {
      {"skvqx2", "skvqx2", false}, {"skvqx2", "skvqx1.5", true}, {"skvqx4", "skvqx4", true}};
  struct twin a = open_twin(plain(), "plain"), b = open_twin(outlier(), "outlier");
  (void)state;
  const double moved = measure(b.model, NULL, "f32", "f32", a.exact, false);
  if (!(fabs(moved) < 1e-12)) fail_msg("the outlier twin's own logits moved: KLD %g", moved);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const double usual = of(&a, &rows[i]), got = of(&b, &rows[i]);
    if (!(got <= 1.2 * usual))
      fail_msg("%s/%s, %s profile: KLD %g of the outlier twin, %g of the plain model", rows[i].k, rows[i].v,
               rows[i].profile ? "with a" : "no", got, usual);
  }
  close_twin(&a);
  close_twin(&b);
}

static void table(void **state) {
  static const struct row rows[] = {
      {"q8_0", "q8_0", false},        {"q4_0", "q4_0", false},           {"skvq2:g=64", "skvq2:g=64", true},
      {"skvqx4", "skvqx4", true},     {"skvqx2", "skvqx2", false},       {"skvqx2", "skvqx2", true},
      {"skvqx2", "skvqx1.5", true},   {"skvqx2:rot=none", "f32", false}, {"skvqx2:rot=had", "f32", false},
      {"skvqx2:rot=eq", "f32", true}, {"skvqx2:rot=cal", "f32", true},   {"lowrank:x2", "f32", true}};
  struct twin all[3] = {open_twin(plain(), "plain"), open_twin(outlier(), "outlier"), open_twin(bias(), "bias")};
  (void)state;
  printf("| cache | profile | plain | outlier | ratio | bias |\n|---|---|---:|---:|---:|---:|\n");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    double kld[3];
    for (int t = 0; t < 3; t++)
      kld[t] = of(&all[t], &rows[i]);
    printf("| `%s`/`%s` | %s | %.4f | %.4f | %.2f | %.4f |\n", rows[i].k, rows[i].v, rows[i].profile ? "yes" : "no",
           kld[0], kld[1], kld[1] / kld[0], kld[2]);
    fflush(stdout);
  }
  for (int t = 0; t < 3; t++)
    close_twin(&all[t]);
}

static int set_up(void **state) {
  (void)state;
  FILE *f = fopen(TB_SOURCE_DIR "/bench/texts/calibrate.txt", "rb");
  assert_non_null(f);
  text_length = fread(text, 1, sizeof text, f);
  fclose(f);
  tmpdir_make(&dir);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  tmpdir_remove(&dir);
  return 0;
}

int main(int argc, char **argv) {
  const struct CMUnitTest test[] = {cmocka_unit_test(bounds)}, all[] = {cmocka_unit_test(table)};
  if (argc < 2 || strcmp(argv[1], "table") != 0)
    return cmocka_run_group_tests_name("quality twins", test, set_up, tear_down);
  chunks = CHUNKS;
  return cmocka_run_group_tests_name("quality twins", all, set_up, tear_down);
}
