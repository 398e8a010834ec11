/* Profiles: every statistic against a plain double-precision computation on what went by, and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "cache/plan/loss.h"
#include "core/context.h"
#include "support/gguf_edit.h"
#include "support/tmpdir.h"

/* Head sizes and widths that are no multiples of a tile; pieces and batches that do not divide each other. */
static const char shape[] = "name = test\nn_layer = 2\nn_embd = 160\nn_head = 4\nn_head_kv = 2\nhead_dim = 96\n"
                            "n_ff = 128\nn_vocab = 512\nn_ctx = 256\nrms_eps = 1e-5\ntied = yes\n";
enum { PIECE = 100, MOST = 230, LAYERS = 2, HEADS = 4, KV = 2, D = 96, EMBD = 160, WIDE = KV * D };

static const char *const variants[] = {
    "architecture = llama\npre = smollm\n",
    "architecture = llama\npre = smollm\nrope_scaling = yarn\nrope_factor = 4\nrope_orig_ctx = 64\n",
    "architecture = qwen3\nqk_norm = yes\npre = qwen2\n"};

static struct tmpdir dir;

/* Under an emulator one model, and as few tokens as make two pieces. */
static bool brief(void) {
  return getenv("QEMU_CPU") || getenv("TB_TEST_SHORT");
}

static uint32_t few(void) {
  return brief() ? PIECE + 20 : MOST;
}

static struct tb_model *make_model(const char *name, int variant, uint64_t seed) {
  char text[512];
  struct tb_error err;
  struct tb_model *m;
  const char *path = tmpdir_file(&dir, name);
  snprintf(text, sizeof text, "%s%s", shape, variants[variant]);
  const struct tb_synth_options o = {.shape = text, .type = "q8_0", .seed = seed};
  const struct tb_model_options mo = {.isa = getenv("TB_ISA")};
  if (tb_synth(path, &o, NULL, &err) != TB_OK || tb_model_open(&m, path, &mo, &err) != TB_OK) fail_msg("%s", err.text);
  return m;
}

static char *make_text(size_t *length) {
  enum { BYTES = 4000 };
  char *text = malloc(BYTES);
  assert_non_null(text);
  uint32_t x = 1;
  for (int i = 0; i < BYTES; i++) {
    x = x * 1664525u + 1013904223u;
    text[i] = "etaoin shrdlu cmf.wyp, vbgkqjxz"[x >> 27];
  }
  *length = BYTES;
  return text;
}

/* What went by, token after token. */
struct seen {
  size_t n;
  float q[LAYERS][MOST][HEADS * D], k[LAYERS][MOST][WIDE], v[LAYERS][MOST][WIDE], x[LAYERS][MOST][EMBD];
  uint32_t pos[MOST];
};

static void look(void *user, const struct tb_pass *p, uint32_t il) {
  struct seen *s = user;
  memcpy(s->q[il][s->n], p->q, p->n * sizeof s->q[0][0]);
  memcpy(s->k[il][s->n], p->k, p->n * sizeof s->k[0][0]);
  memcpy(s->v[il][s->n], p->v, p->n * sizeof s->v[0][0]);
  memcpy(s->x[il][s->n], p->act.f, p->n * sizeof s->x[0][0]);
  for (uint32_t i = 0; i < p->n; i++)
    s->pos[s->n + i] = p->pos + i;
  if (il == LAYERS - 1) s->n += p->n;
}

static struct seen *watch(const struct tb_model *m, const char *text, size_t length) {
  struct seen *s = calloc(1, sizeof *s);
  tb_token *ids = malloc((length + 16) * sizeof *ids), bos;
  size_t n, n_bos;
  struct tb_context *ctx;
  struct tb_error err;
  const struct tb_context_options o = {.n_ctx = PIECE, .n_batch = 37, .n_threads = 1, .type_k = "f32", .type_v = "f32"};
  assert_non_null(s);
  assert_int_equal(tb_tokenize(m, text, length, TB_TOKENIZE_SPECIAL_ADD, ids, length + 16, &n, NULL), TB_OK);
  assert_int_equal(tb_tokenize(m, "", 0, TB_TOKENIZE_SPECIAL_ADD, &bos, 1, &n_bos, NULL), TB_OK);
  assert_true(n > MOST);
  if (tb_context_create(&ctx, m, &o, &err) != TB_OK) fail_msg("%s", err.text);
  ctx->pass.observe = look;
  ctx->pass.observer = s;
  for (size_t at = 0; at < MOST; at += PIECE) {
    if (n_bos) ids[at] = bos;
    tb_truncate(ctx, 0, NULL);
    if (tb_eval(ctx, ids + at, MOST - at < PIECE ? MOST - at : PIECE, NULL, NULL, &err) != TB_OK)
      fail_msg("%s", err.text);
  }
  tb_context_free(ctx);
  free(ids);
  return s;
}

/* A head's key without RoPE, in double from the angles themselves. */
static void unrotate(const struct tb_model *m, uint32_t pos, const float *x, double *out) {
  const struct tb_rope_params *p = &m->hp.rope;
  float c[D / 2], s[D / 2], all[2][MOST * D / 2];
  tb_rope_fill(p, 0, pos + 1, all[0], all[1]);
  memcpy(c, all[0] + pos * (p->n_rot / 2), sizeof c);
  memcpy(s, all[1] + pos * (p->n_rot / 2), sizeof s);
  for (uint32_t i = 0; i < D; i++)
    out[i] = x[i];
  for (uint32_t i = 0; i < p->n_rot / 2; i++) {
    const uint32_t a = p->neox ? i : 2 * i, b = p->neox ? i + p->n_rot / 2 : 2 * i + 1;
    const double angle = atan2(s[i], c[i]), size = hypot(s[i], c[i]);
    out[a] = (x[a] * cos(angle) + x[b] * sin(angle)) / size;
    out[b] = (x[b] * cos(angle) - x[a] * sin(angle)) / size;
  }
}

static const float *get(const struct tb_profile *p, uint32_t layer, const char *name, size_t n) {
  const float *x;
  struct tb_error err;
  if (tb_profile_get(p, layer, name, n, &x, &err) != TB_OK) fail_msg("%s", err.text);
  if (!x) fail_msg("%s is missing", name);
  return x;
}

/* Largest error relative to the largest value; the products of a batch are float: 1e-5 is generous for 100 of them. */
static void compare(const char *name, const float *found, const double *wanted, size_t n) {
  double most = 0, error = 0;
  for (size_t i = 0; i < n; i++) {
    most = fmax(most, fabs(wanted[i]));
    error = fmax(error, fabs(found[i] - wanted[i]));
  }
  if (!(error <= 1e-5 * most)) fail_msg("%s: error %g of %g", name, error, most);
}

/* out[d][d] += x xᵀ · w */
static void outer(double *out, const double *x, size_t d, double w) {
  for (size_t i = 0; i < d; i++)
    for (size_t j = 0; j < d; j++)
      out[i * d + j] += x[i] * x[j] * w;
}

static void widen(double *out, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++)
    out[i] = x[i];
}

struct sums {
  double min[WIDE], max[WIDE], mean[WIDE], joint[WIDE * WIDE], heads[KV * D * D];
};

static void add(struct sums *s, const double *x, size_t at) {
  for (size_t c = 0; c < WIDE; c++) {
    s->min[c] = at ? fmin(s->min[c], x[c]) : x[c];
    s->max[c] = at ? fmax(s->max[c], x[c]) : x[c];
    s->mean[c] += x[c] / MOST;
  }
  outer(s->joint, x, WIDE, 1.0 / MOST);
  for (size_t h = 0; h < KV; h++)
    outer(s->heads + h * D * D, x + h * D, D, 1.0 / MOST);
}

static void check_activations(const struct tb_model *m, const struct tb_profile *p, const struct seen *s, uint32_t il) {
  struct sums *k = calloc(4, sizeof *k), *kr = k + 1, *v = k + 2, *q = k + 3;
  assert_non_null(k);
  for (size_t t = 0; t < MOST; t++) {
    double x[HEADS * D];
    for (size_t h = 0; h < KV; h++)
      unrotate(m, s->pos[t], s->k[il][t] + h * D, x + h * D);
    add(k, x, t);
    widen(x, s->k[il][t], WIDE);
    add(kr, x, t);
    widen(x, s->v[il][t], WIDE);
    add(v, x, t);
    widen(x, s->q[il][t], HEADS * D);
    for (size_t h = 0; h < HEADS; h++)
      outer(q->heads + h / (HEADS / KV) * D * D, x + h * D, D, 1.0 / MOST);
  }
  compare("k.min", get(p, il, "k.min", WIDE), k->min, WIDE);
  compare("k.max", get(p, il, "k.max", WIDE), k->max, WIDE);
  compare("k.mean", get(p, il, "k.mean", WIDE), k->mean, WIDE);
  compare("kr.mean", get(p, il, "kr.mean", WIDE), kr->mean, WIDE);
  compare("v.min", get(p, il, "v.min", WIDE), v->min, WIDE);
  compare("v.max", get(p, il, "v.max", WIDE), v->max, WIDE);
  compare("v.mean", get(p, il, "v.mean", WIDE), v->mean, WIDE);
  compare("k.moment", get(p, il, "k.moment", WIDE * WIDE), k->joint, WIDE * WIDE);
  compare("v.moment", get(p, il, "v.moment", WIDE * WIDE), v->joint, WIDE * WIDE);
  compare("kr.moment", get(p, il, "kr.moment", KV * D * D), kr->heads, KV * D * D);
  compare("q.moment", get(p, il, "q.moment", KV * D * D), q->heads, KV * D * D);
  free(k);
}

static double *matrix(const struct tb_model *m, const struct tb_weight *w) {
  double *out = malloc(w->rows * w->k * sizeof *out);
  float row[HEADS * D];
  assert_true(out && w->k <= HEADS * D);
  for (size_t r = 0; r < w->rows; r++) {
    m->kernels.dequant[w->format](row, w->data + r * w->row_bytes, w->k);
    widen(out + r * w->k, row, w->k);
  }
  return out;
}

static void check_gram(const struct tb_model *m, const struct tb_profile *p, const struct seen *s, uint32_t il,
                       const struct tb_weight *w, const char *plain, const char *weighted) {
  double *x = matrix(m, w), *sum = calloc(2 * WIDE * WIDE, sizeof *sum), input[EMBD] = {0};
  for (size_t t = 0; t < MOST; t++)
    for (size_t c = 0; c < EMBD; c++)
      input[c] += fabs(s->x[il][t][c]) / MOST;
  for (size_t i = 0; i < WIDE; i++)
    for (size_t j = 0; j < WIDE; j++)
      for (size_t c = 0; c < EMBD; c++) {
        sum[i * WIDE + j] += x[i * EMBD + c] * x[j * EMBD + c];
        sum[WIDE * WIDE + i * WIDE + j] += x[i * EMBD + c] * x[j * EMBD + c] * input[c];
      }
  compare(plain, get(p, il, plain, WIDE * WIDE), sum, WIDE * WIDE);
  compare(weighted, get(p, il, weighted, WIDE * WIDE), sum + WIDE * WIDE, WIDE * WIDE);
  free(x);
  free(sum);
}

static void check_weights(const struct tb_model *m, const struct tb_profile *p, const struct seen *s, uint32_t il) {
  const struct tb_layer *l = &m->layers[il];
  check_gram(m, p, s, il, &l->wk, "k.gram", "k.asvd");
  check_gram(m, p, s, il, &l->wv, "v.gram", "v.asvd");
  double *wo = matrix(m, &l->wo), *sum = calloc(KV * D * D, sizeof *sum);
  for (size_t r = 0; r < EMBD; r++)
    for (size_t h = 0; h < HEADS; h++)
      outer(sum + h / (HEADS / KV) * D * D, wo + r * HEADS * D + h * D, D, 1);
  compare("o.metric", get(p, il, "o.metric", KV * D * D), sum, KV * D * D);
  free(wo);
  free(sum);
}

static void statistics(void **state) {
  (void)state;
  size_t length;
  char *text = make_text(&length);
  for (int variant = brief() ? 2 : 0; variant < 3; variant++) {
    struct tb_model *m = make_model("m.gguf", variant, 3);
    struct seen *s = watch(m, text, length);
    const char *path = tmpdir_file(&dir, "p.gguf");
    struct tb_profile *p;
    struct tb_profile_info info;
    struct tb_error err;
    const struct tb_calibrate_options o = {.n_tokens = MOST, .n_ctx = PIECE, .n_batch = 64, .n_threads = 2, .no_losses = true};
    assert_int_equal(s->n, MOST);
    if (tb_calibrate(m, text, length, path, &o, NULL, NULL, &err) != TB_OK ||
        tb_profile_open(&p, path, &tb_system_allocator, &err) != TB_OK)
      fail_msg("%s", err.text);
    assert_int_equal(tb_profile_model(p), tb_model_identity(m->gguf));
    assert_int_equal(tb_profile_read_info(path, NULL, &info, &err), TB_OK);
    assert_int_equal(info.tokens, MOST);
    for (uint32_t il = 0; il < LAYERS; il++) {
      check_activations(m, p, s, il);
      check_weights(m, p, s, il);
    }
    tb_profile_free(p);
    tb_model_free(m);
    free(s);
  }
  free(text);
}

static uint64_t calibrated(const struct tb_model *m, const char *text, size_t length, uint32_t threads) {
  const char *path = tmpdir_file(&dir, "t.gguf");
  const struct tb_calibrate_options o = {.n_tokens = few(), .n_ctx = PIECE, .n_batch = 64, .n_threads = threads};
  struct tb_profile *p;
  assert_int_equal(tb_calibrate(m, text, length, path, &o, NULL, NULL, NULL), TB_OK);
  assert_int_equal(tb_profile_open(&p, path, &tb_system_allocator, NULL), TB_OK);
  const uint64_t identity = tb_profile_identity(p);
  tb_profile_free(p);
  return identity;
}

static void threads(void **state) {
  (void)state;
  size_t length;
  char *text = make_text(&length);
  struct tb_model *m = make_model("m.gguf", 0, 3);
  assert_int_equal(calibrated(m, text, length, 1), calibrated(m, text, length, 3));
  tb_model_free(m);
  free(text);
}

/* Every layer may recall, and merge with the one neighbour that it has: what that loses was measured. */
static void check_policies(const struct tb_kv_shape *layer) {
  const struct tb_plan_layer all = {.type_k = "f16", .type_v = "f16"};
  struct tb_plan_layer p = all;
  const double loss = tb_loss_line(layer, &all, LAYERS, MOST);
  assert_int_equal(tb_loss_merge_known(layer, TB_MERGE_UP), layer->layer == 0);
  assert_int_equal(tb_loss_merge_known(layer, TB_MERGE_DOWN), layer->layer == 1);
  p.merge.with = layer->layer == 0 ? TB_MERGE_UP : TB_MERGE_DOWN;
  assert_true(tb_loss_line(layer, &p, LAYERS, MOST) > loss);
  p = all;
  p.recall = MOST / 8;
  const double eighth = tb_loss_line(layer, &p, LAYERS, MOST);
  p.recall = MOST / 16;
  assert_true(eighth > loss && tb_loss_line(layer, &p, LAYERS, MOST) > eighth);
  const float *x;
  assert_int_equal(tb_profile_get(layer->profile, layer->layer, "loss.recall", 2, &x, NULL), TB_OK);
  assert_true(x && x[0] > 0 && x[1] == -1);
}

/* Coarser types lose more, on both sides of every layer (values by principal channels may do with 2 bits what q4_0 does
 * with 4); the planner takes the numbers over. */
static void losses(void **state) {
  (void)state;
  static const char *const order[] = {"f16", "q8_0", "q4_0", "skvqx2"};
  size_t length;
  char *text = make_text(&length);
  struct tb_model *m = make_model("m.gguf", 0, 3);
  const char *path = tmpdir_file(&dir, "p.gguf");
  const struct tb_calibrate_options o = {.n_tokens = MOST, .n_ctx = PIECE, .n_threads = 2};
  struct tb_profile *p;
  struct tb_error err;
  const size_t before = tmpdir_count(&dir);
  if (tb_calibrate(m, text, length, path, &o, NULL, NULL, &err) != TB_OK ||
      tb_profile_open(&p, path, &tb_system_allocator, &err) != TB_OK)
    fail_msg("%s", err.text);
  assert_true(tmpdir_count(&dir) <= before + 1);
  assert_true(tb_loss_measured(p));
  assert_int_equal(tb_loss_check(p, LAYERS, &err), TB_OK);
  for (uint32_t il = 0; il < LAYERS; il++) {
    const struct tb_kv_shape layer = {.layer = il, .profile = p, .n_head = HEADS, .n_kv = KV, .d_k = D, .d_v = D};
    for (int side = 0; side < 2; side++)
      for (int i = 0; i < 4; i++) {
        assert_true(tb_loss_known(&layer, order[i], (enum tb_side)side));
        const int finer = i == 3 && side == TB_SIDE_V ? 1 : i - 1;
        const double loss = tb_loss(&layer, order[i], (enum tb_side)side, LAYERS);
        assert_true(loss > (i ? tb_loss(&layer, order[finer], (enum tb_side)side, LAYERS) : 0));
      }
    assert_false(tb_loss_known(&layer, "skvqx1.5", TB_SIDE_K)); /* for values only */
    check_policies(&layer);
  }
  tb_profile_free(p);
  struct tb_plan *plan;
  struct tb_plan_info info;
  const struct tb_plan_options po = {.context = {.kv_profile = path}};
  if (tb_plan_file(&plan, tmpdir_file(&dir, "m.gguf"), &po, &err) != TB_OK) fail_msg("%s", err.text);
  tb_plan_get_info(plan, &info);
  assert_true(info.calibrated);
  tb_plan_free(plan);

  struct tb_gguf *g;
  struct gguf_edit e;
  assert_int_equal(tb_gguf_open(&g, path, &tb_system_allocator, NULL), TB_OK);
  edit_read(&e, g);
  tb_gguf_free(g);
  const float wrong = -2;
  memcpy(edit_tensor(&e, "blk.1.loss.q4_0")->data, &wrong, sizeof wrong);
  edit_write(&e, path);
  edit_free(&e);
  assert_int_equal(tb_plan_file(&plan, tmpdir_file(&dir, "m.gguf"), &po, &err), TB_E_FORMAT);
  assert_non_null(strstr(err.text, "blk.1.loss.q4_0"));
  tb_model_free(m);
  free(text);
}

/* ----------------------------------------------------------------------------------------------------------- refusals
 */

static bool stop_late(void *user, size_t done, size_t total) {
  (void)user;
  return done < total;
}

static void leaves_nothing(void **state) {
  (void)state;
  size_t length;
  char *text = make_text(&length);
  struct tb_model *m = make_model("m.gguf", 0, 3);
  struct tb_error err;
  const size_t before = tmpdir_count(&dir);
  const char *path = tmpdir_file(&dir, "none.gguf");
  const struct tb_calibrate_options o = {.n_tokens = few(), .n_ctx = PIECE};
  assert_int_equal(tb_calibrate(m, text, length, path, &o, stop_late, NULL, &err), TB_E_CANCELLED);
  assert_int_equal(tb_calibrate(m, text, 50, path, &o, NULL, NULL, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "tokens"));
  assert_int_equal(tb_calibrate(m, text, length, tmpdir_file(&dir, "no/such"), &o, NULL, NULL, &err), TB_E_IO);
  assert_int_equal(tmpdir_count(&dir), before);
  tb_model_free(m);
  free(text);
}

static void refuses(void **state) {
  (void)state;
  size_t length;
  char *text = make_text(&length);
  struct tb_model *m = make_model("m.gguf", 0, 3), *other = make_model("n.gguf", 2, 3);
  const char *path = tmpdir_file(&dir, "p.gguf"), *damaged = tmpdir_file(&dir, "d.gguf");
  struct tb_error err;
  const struct tb_calibrate_options o = {.n_tokens = MOST, .n_ctx = PIECE, .no_losses = true};
  if (tb_calibrate(m, text, length, path, &o, NULL, NULL, &err) != TB_OK) fail_msg("%s", err.text);

  struct tb_context *ctx;
  struct tb_context_options c = {.n_ctx = 16, .n_threads = 1, .kv_profile = path};
  assert_int_equal(tb_context_create(&ctx, other, &c, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "another model"));
  assert_int_equal(tb_context_create(&ctx, m, &c, &err), TB_OK);
  tb_context_free(ctx);

  struct tb_gguf *g;
  struct gguf_edit e;
  struct tb_profile *p;
  assert_int_equal(tb_gguf_open(&g, path, &tb_system_allocator, NULL), TB_OK);
  edit_read(&e, g);
  tb_gguf_free(g);
  const float nan_value = NAN;
  memcpy(edit_tensor(&e, "blk.1.v.moment")->data, &nan_value, sizeof nan_value);
  edit_write(&e, damaged);
  assert_int_equal(tb_profile_open(&p, damaged, &tb_system_allocator, &err), TB_E_FORMAT);
  assert_non_null(strstr(err.text, "blk.1.v.moment"));
  struct edit_tensor *t = edit_tensor(&e, "blk.1.v.moment");
  t->n_dims = 1;
  t->ne[0] = 64;
  edit_resize(t, 64 * sizeof(float));
  edit_write(&e, damaged);
  const float *x;
  assert_int_equal(tb_profile_open(&p, damaged, &tb_system_allocator, &err), TB_OK);
  assert_int_equal(tb_profile_get(p, 1, "v.moment", WIDE * WIDE, &x, &err), TB_E_FORMAT);
  assert_non_null(strstr(err.text, "blk.1.v.moment"));
  tb_profile_free(p);
  edit_remove_kv(&e, "thimble.profile.model");
  edit_write(&e, damaged);
  assert_int_equal(tb_profile_open(&p, damaged, &tb_system_allocator, &err), TB_E_FORMAT);
  assert_non_null(strstr(err.text, "thimble.profile.model"));
  edit_free(&e);
  tb_model_free(other);
  tb_model_free(m);
  free(text);
}

static int setup(void **state) {
  (void)state;
  tmpdir_make(&dir);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  tmpdir_remove(&dir);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(statistics), cmocka_unit_test(threads), cmocka_unit_test(losses),
                                     cmocka_unit_test(leaves_nothing), cmocka_unit_test(refuses)};
  return cmocka_run_group_tests_name("calibrate", tests, setup, teardown);
}
