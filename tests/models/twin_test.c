/* Files that a cache type must reproduce: k_proj and v_proj of exact rank r, which r latents hold and fewer do not; a
 * layer whose keys and values repeat those of the layer below under rotations that attention does not notice, which
 * merges with it once aligned, is planned so where memory is short, and is refused otherwise. Made from a random model
 * by changing its tensors, measured by calibrate, compared by what the model says. */
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
#include "cache/plan/loss.h"
#include "support/gguf_edit.h"
#include "support/tmpdir.h"
#include "thimble.h"

static const char shape[] = "architecture = llama\nname = twin\npre = smollm\nn_layer = 3\nn_embd = 64\nn_head = 4\n"
                            "n_head_kv = 2\nhead_dim = 32\nn_ff = 96\nn_vocab = 400\nn_ctx = 512\nrope_base = 10000\n"
                            "rms_eps = 1e-5\ntied = yes\n";
enum { EMBD = 64, D = 32, KV = 2, WIDE = KV * D, LAYERS = 3, VOCAB = 400, TOKENS = 400, RANK = 32 };

static struct tmpdir dir;
static struct tb_rng rng = {7};

/* -------------------------------------------------------------------------------------------------------- the files */

static struct gguf_edit base(void) {
  struct tb_error err;
  struct tb_gguf *g;
  struct gguf_edit e;
  const struct tb_synth_options o = {.shape = shape, .type = "f32", .seed = 3};
  const char *path = tmpdir_file(&dir, "base.gguf");
  if (tb_synth(path, &o, NULL, &err) != TB_OK) fail_msg("%s", err.text);
  if (tb_gguf_open(&g, path, &tb_system_allocator, &err) != TB_OK) fail_msg("%s", err.text);
  edit_read(&e, g);
  tb_gguf_free(g);
  return e;
}

/* The floats of a tensor of a layer: rows × columns. */
static float *floats(struct gguf_edit *e, int layer, const char *name) {
  char full[64];
  snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
  struct edit_tensor *t = edit_tensor(e, full);
  assert_int_equal(t->id, 0);
  return (float *)(void *)t->data;
}

/* W of rank r: a random combination of r rows. Queries are made large, so that attention selects. */
static void make_rank(float *w, uint32_t r) {
  static float rows[WIDE * EMBD];
  memcpy(rows, w, sizeof rows);
  memset(w, 0, sizeof rows);
  for (uint32_t i = 0; i < WIDE; i++)
    for (uint32_t j = 0; j < r; j++) {
      const float f = tb_rng_normal(&rng) / sqrtf((float)r);
      for (uint32_t c = 0; c < EMBD; c++)
        w[i * EMBD + c] += f * rows[j * EMBD + c];
    }
}

static const char *low_rank_file(void) {
  struct gguf_edit e = base();
  for (int layer = 0; layer < LAYERS; layer++) {
    make_rank(floats(&e, layer, "attn_k"), RANK);
    make_rank(floats(&e, layer, "attn_v"), RANK);
    float *q = floats(&e, layer, "attn_q");
    for (uint32_t i = 0; i < 4 * D * EMBD; i++)
      q[i] *= 20;
  }
  const char *path = tmpdir_file(&dir, "rank.gguf");
  edit_write(&e, path);
  edit_free(&e);
  return path;
}

/* Layers 1 and 2 read the first half of the residual stream, layer 1 writes to the second: both see the same, up to the
 * norm. Head h of layer 2 repeats head 1-h of layer 1, keys turned by an angle per pair, values by a rotation. */
static const char *repeated_file(void) {
  struct gguf_edit e = base();
  float *k1 = floats(&e, 1, "attn_k"), *k2 = floats(&e, 2, "attn_k"), *v1 = floats(&e, 1, "attn_v"),
        *v2 = floats(&e, 2, "attn_v"), *o = floats(&e, 1, "attn_output"), *down = floats(&e, 1, "ffn_down");
  for (uint32_t i = 0; i < WIDE; i++)
    for (uint32_t c = EMBD / 2; c < EMBD; c++)
      k1[i * EMBD + c] = v1[i * EMBD + c] = 0;
  for (uint32_t i = 0; i < EMBD / 2; i++) {
    memset(o + i * 4 * D, 0, 4 * D * sizeof *o);
    memset(down + i * 96, 0, 96 * sizeof *down);
  }
  memcpy(floats(&e, 2, "attn_norm"), floats(&e, 1, "attn_norm"), EMBD * sizeof(float));
  float axis[D], length = 0; /* a reflection in this axis is a rotation enough */
  for (uint32_t i = 0; i < D; i++) {
    axis[i] = tb_rng_normal(&rng);
    length += axis[i] * axis[i];
  }
  for (uint32_t h = 0; h < KV; h++)
    for (uint32_t c = 0; c < EMBD; c++) {
      const float *ka = k1 + (1 - h) * D * EMBD + c, *va = v1 + (1 - h) * D * EMBD + c;
      float *kb = k2 + h * D * EMBD + c, *vb = v2 + h * D * EMBD + c, along = 0;
      for (uint32_t i = 0; i < D; i += 2) {
        const float angle = 1.0f + (float)(i * (h + 1));
        kb[i * EMBD] = cosf(angle) * ka[i * EMBD] - sinf(angle) * ka[(i + 1) * EMBD];
        kb[(i + 1) * EMBD] = sinf(angle) * ka[i * EMBD] + cosf(angle) * ka[(i + 1) * EMBD];
      }
      for (uint32_t i = 0; i < D; i++)
        along += axis[i] * va[i * EMBD] / length;
      for (uint32_t i = 0; i < D; i++)
        vb[i * EMBD] = va[i * EMBD] - 2 * along * axis[i];
    }
  const char *path = tmpdir_file(&dir, "repeated.gguf");
  edit_write(&e, path);
  edit_free(&e);
  return path;
}

/* ------------------------------------------------------------------------------------------------------- measuring */

static struct tb_model *open_model(const char *path) {
  struct tb_model *m;
  struct tb_error err;
  const char *tier = getenv("TB_ISA");
  const struct tb_model_options mo = {.isa = tier && *tier ? tier : NULL};
  if (tb_model_open(&m, path, &mo, &err) != TB_OK) fail_msg("%s", err.text);
  return m;
}

static void calibrate(const struct tb_model *m, const char *path) {
  static char text[6000];
  struct tb_error err;
  for (size_t i = 0; i < sizeof text; i++)
    text[i] = "etaoin shrdlu cmf.wyp, vbgkqjxz"[tb_rng_next(&rng) >> 59];
  const struct tb_calibrate_options o = {.n_tokens = 1500, .n_ctx = 256, .n_threads = 2};
  if (tb_calibrate(m, text, sizeof text, path, &o, NULL, NULL, &err) != TB_OK) fail_msg("%s", err.text);
}

static enum tb_status run(const struct tb_model *m, struct tb_context_options o, float *logits, struct tb_error *err) {
  struct tb_context *ctx;
  static tb_token tokens[TOKENS];
  struct tb_rng draw = {11};
  for (int i = 0; i < TOKENS; i++)
    tokens[i] = (tb_token)(tb_rng_next(&draw) % 300);
  o.n_ctx = 512;
  o.n_batch = 64;
  o.n_threads = 2;
  o.kv_window = o.kv_sinks = -1;
  enum tb_status s = tb_context_create(&ctx, m, &o, err);
  if (s) return s;
  s = tb_eval(ctx, tokens, TOKENS - 1, NULL, NULL, err);
  if (!s) s = tb_eval(ctx, tokens + TOKENS - 1, 1, NULL, NULL, err);
  memcpy(logits, tb_logits(ctx), VOCAB * sizeof *logits);
  tb_context_free(ctx);
  return s;
}

static float exact[VOCAB], got[VOCAB];

static void run_exact(const struct tb_model *m) {
  struct tb_error err;
  if (run(m, (struct tb_context_options){.type_k = "f32", .type_v = "f32"}, exact, &err) != TB_OK)
    fail_msg("%s", err.text);
}

/* |got - exact| / |exact| of the logits. */
static double distance(const struct tb_model *m, struct tb_context_options o) {
  struct tb_error err;
  double e = 0, size = 0;
  if (run(m, o, got, &err) != TB_OK) fail_msg("%s", err.text);
  for (int i = 0; i < VOCAB; i++) {
    e += pow((double)got[i] - exact[i], 2);
    size += pow((double)exact[i], 2);
  }
  return sqrt(e / size);
}

static double divergence(void) {
  double sp = 0, sq = 0, sum = 0;
  for (int i = 0; i < VOCAB; i++) {
    sp += exp(exact[i]);
    sq += exp(got[i]);
  }
  for (int i = 0; i < VOCAB; i++)
    sum += exp(exact[i]) / sp * (exact[i] - log(sp) - (got[i] - log(sq)));
  return sum;
}

/* ------------------------------------------------------------------------------------------------------------ tests */

static void exact_rank(void **state) {
  (void)state;
  const char *profile = tmpdir_file(&dir, "rank.profile");
  struct tb_model *m = open_model(low_rank_file());
  calibrate(m, profile);
  run_exact(m);
  /* svd: the factor of the weights themselves; the other methods are held to rows in tests/cache/lowrank_test.c. */
  char full[32], less[32];
  snprintf(full, sizeof full, "cskv:%d:32:svd", RANK);
  snprintf(less, sizeof less, "cskv:%d:32:svd", RANK * 9 / 10);
  const struct tb_context_options at_rank = {.type_k = full, .type_v = full, .kv_profile = profile};
  const struct tb_context_options below = {.type_k = less, .type_v = less, .kv_profile = profile};
  const double same = distance(m, at_rank), other = distance(m, below);
  if (!(same < 1e-5)) fail_msg("%s: %g", full, same);
  if (!(other > 1e-3)) fail_msg("%s: %g, the rank was not needed", less, other);
  tb_model_free(m);
}

static void repeated_layer(void **state) {
  (void)state;
  const char *profile = tmpdir_file(&dir, "repeated.profile");
  struct tb_model *m = open_model(repeated_file());
  struct tb_error err;
  calibrate(m, profile);
  run_exact(m);
  const char *merged = "thimble-plan 1\n0 f16 f16\n1 f16 f16 merge=up\n2 f16 f16 merge=down\n";
  const char *unaligned =
      "thimble-plan 1\n0 f16 f16\n1 f16 f16 merge=up unaligned=1\n2 f16 f16 merge=down unaligned=1\n";
  const char *others = "thimble-plan 1\n0 f16 f16 merge=up\n1 f16 f16 merge=down\n2 f16 f16\n";
  distance(m, (struct tb_context_options){.kv_plan = merged, .kv_profile = profile});
  if (!(divergence() <= 1e-4)) fail_msg("KLD %g", divergence());
  assert_int_equal(run(m, (struct tb_context_options){.kv_plan = unaligned, .kv_profile = profile}, got, &err),
                   TB_E_ARG);
  assert_non_null(strstr(err.text, "agree"));
  assert_int_equal(run(m, (struct tb_context_options){.kv_plan = others, .kv_profile = profile}, got, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "layer 1: merge: keys agree"));
  assert_int_equal(run(m, (struct tb_context_options){.kv_plan = merged}, got, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "profile"));
  assert_int_equal(run(m, (struct tb_context_options){.kv_merge = 1, .kv_profile = profile}, got, &err), TB_OK);
  assert_int_equal(run(m, (struct tb_context_options){.kv_merge = 1, .kv_plan = merged}, got, &err), TB_E_ARG);
  tb_model_free(m);
}

/* What calibrate measured of merging a layer with its neighbour. */
static double merge_loss(const char *path, uint32_t layer, uint32_t with) {
  struct tb_profile *p;
  struct tb_error err;
  struct tb_plan_layer line = {.type_k = "f32", .type_v = "f32", .merge = {.with = with}};
  if (tb_profile_open(&p, path, &tb_system_allocator, &err) != TB_OK) fail_msg("%s", err.text);
  const struct tb_kv_shape s = {.layer = layer, .profile = p, .n_head = 4, .n_kv = KV, .d_k = D, .d_v = D};
  assert_true(tb_loss_merge_known(&s, with));
  const double loss = tb_loss_line(&s, &line, LAYERS, 512);
  tb_profile_free(p);
  return loss;
}

/* A plan within a share of the bytes that a cache in f16 takes. */
static struct tb_plan *plan_within(const char *model, const char *profile, double share, struct tb_plan_info *info) {
  struct tb_plan *p;
  struct tb_error err;
  struct tb_plan_options o = {
      .elsewhere = true, .context = {.n_ctx = 8192, .n_batch = 32, .n_threads = 1, .kv_window = -1, .kv_sinks = -1}};
  o.context.type_k = o.context.type_v = "f16";
  if (tb_plan_file(&p, model, &o, &err) != TB_OK) fail_msg("%s", err.text);
  tb_plan_get_info(p, info);
  o.ram = info->fast + (uint64_t)(share * (double)info->cache) - info->cache;
  tb_plan_free(p);
  o.context.type_k = o.context.type_v = NULL;
  o.context.kv_profile = profile;
  if (tb_plan_file(&p, model, &o, &err) != TB_OK) fail_msg("%s", err.text);
  tb_plan_get_info(p, info);
  assert_true(info->fits && info->calibrated);
  return p;
}

/* Layers 1 and 2 share what they repeat where there is no room for all of it, and the plan runs. */
static void merged_by_plan(void **state) {
  (void)state;
  const char *profile = tmpdir_file(&dir, "planned.profile"), *path = repeated_file();
  struct tb_model *m = open_model(path);
  struct tb_plan_info info;
  struct tb_plan_layer_info l;
  double before = INFINITY;
  calibrate(m, profile);
  run_exact(m);
  assert_true(merge_loss(profile, 1, TB_MERGE_UP) < 1e-5 && merge_loss(profile, 2, TB_MERGE_DOWN) < 1e-5);
  assert_true(merge_loss(profile, 0, TB_MERGE_UP) > 0.01 && merge_loss(profile, 1, TB_MERGE_DOWN) > 0.01);
  for (int percent = 35; percent < 120; percent += 10) {
    struct tb_plan *p = plan_within(path, profile, percent / 100.0, &info);
    assert_true(info.loss <= before); /* more memory is never worse */
    before = info.loss;
    tb_plan_get_layer(p, 1, &l);
    const bool merged = strstr(info.text, "merge=down");
    assert_true(l.merged == (merged ? 1 : 0));
    if (percent > 60 && merged != (percent < 100)) fail_msg("%d %%: %s", percent, info.text);
    if (percent == 95) { /* all in f16 */
      distance(m, (struct tb_context_options){.kv_plan = info.text, .kv_profile = profile});
      if (!(divergence() <= 1e-4)) fail_msg("KLD %g", divergence());
    }
    tb_plan_free(p);
  }
  tb_model_free(m);
}

static int set_up(void **state) {
  (void)state;
  tmpdir_make(&dir);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  tmpdir_remove(&dir);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(exact_rank), cmocka_unit_test(repeated_layer),
                                     cmocka_unit_test(merged_by_plan)};
  return cmocka_run_group_tests_name("twins", tests, set_up, tear_down);
}
