/* What every cache type costs in every layer, in nats of KL divergence of the next token's distribution:
 *
 *   loss(layer, side, type) = effect(layer, side) · error(layer, side, type) / error(layer, side, coarse type)
 *
 * Errors are those of attention's output (calibrate_proxy.c) and compare types within a layer. Effects: the divergence
 * when this side of this layer alone is kept in a type of about two bits, from one run of the model each. No measure of
 * the layer itself tells it: embeddings are short beside the streams of later layers, so that the same relative error
 * weighs differently; and what an early layer loses may not touch the next token at all, but what later ones find when
 * they look back at this one.
 *
 * Neither has a window. Most of a short text's attention would lie within it, and block types would seem to lose
 * nothing in layers whose few looks further back are what a long context is for.
 *
 * From every divergence is taken what a run with f16 in all layers differs by: two runs never round alike. Two more
 * runs have all layers coarse, and all about half as coarse; effects do not quite add up, and what the first of them
 * differs from their sum by scales all losses. The second one is a check. */
#include <math.h>
#include <string.h>
#include "cache/plan/loss.h"
#include "cache/plan/plan_file.h"
#include "core/calibrate.h"
#include "core/plan.h"

enum {
  STRETCH = 1024, /* tokens; one to MOST of them, from all over the text */
  MOST = 6,
  FIRST = 192, /* tokens of a run that are read in one batch, without a look at the predictions: what a batch attends
                  to within itself is exact */
  BATCH = 32,  /* then in these, behind a window of nothing */
  SINKS = 5,
  LOGITS = 8 << 20, /* floats that may be remembered of the exact run */
  PROXY_WORK = 2,   /* pieces of text that take as long as measuring the errors does */
};

#define RUN_MACS 4e13 /* beyond one stretch, as many as cost that much */
#define COARSE 0.1    /* relative squared error of a type of about two bits, */
#define MIDDLE 0.008  /* of one of four */
#define LEAST 0.02    /* of the mean effect: nothing is free, however deep in the noise it lies */

struct runs {
  const struct tb_model *model;
  const tb_token *ids;
  size_t n_ids;
  uint32_t n, stretches, step; /* tokens of a stretch; every `step`th behind its FIRST is looked at */
  uint32_t n_threads;
  const char *profile;
  float *logits; /* of the exact run */
  struct tb_plan_layer *lines;
  const struct tb_loss_progress *progress;
  size_t done; /* tokens' worth of work */
  double floor;
  struct tb_error *err;
  /* The run at hand. */
  bool exact;
  double sum;
  uint32_t seen, count; /* positions; of them, looked at */
};

static enum tb_status go_on(const struct tb_loss_progress *p, size_t done, struct tb_error *err) {
  return !p->fn || p->fn(p->user, p->before + done, p->total) ? TB_OK : tb_fail(err, TB_E_CANCELLED, "cancelled");
}

/* ------------------------------------------------------------------------------------------------------------- a run
 */

static double log_sum(const float *x, size_t n) {
  double most = x[0], sum = 0;
  for (size_t i = 1; i < n; i++)
    if (x[i] > most) most = x[i];
  for (size_t i = 0; i < n; i++)
    sum += exp(x[i] - most);
  return most + log(sum);
}

static double divergence(const float *p, const float *q, size_t n) {
  const double lp = log_sum(p, n), lq = log_sum(q, n);
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += exp(p[i] - lp) * (p[i] - lp - q[i] + lq);
  return sum > 0 ? sum : 0;
}

static bool look(void *user, size_t position, const float *logits) {
  struct runs *r = user;
  const size_t n_vocab = r->model->hp.n_vocab;
  (void)position;
  if (r->seen++ % r->step != 0) return true;
  float *exact = r->logits + r->count++ * n_vocab;
  if (r->exact)
    memcpy(exact, logits, n_vocab * sizeof *exact);
  else
    r->sum += divergence(exact, logits, n_vocab);
  return true;
}

static const tb_token *stretch(const struct runs *r, uint32_t i) {
  return r->ids + (r->n_ids - r->n) / r->stretches * i;
}

/* The text with the layers' types as in r->lines; *kld: mean divergence from the first run, which is remembered instead
 * when kld is NULL. */
static enum tb_status run(struct runs *r, double *kld) {
  const struct tb_model *m = r->model;
  struct tb_plan_text text = {.a = &m->alloc};
  struct tb_context *ctx = NULL;
  enum tb_status status = go_on(r->progress, r->done, r->err);
  if (status) return status;
  if (!tb_plan_write(r->lines, m->hp.n_layer, tb_plan_text_append, &text))
    status = tb_fail(r->err, TB_E_NOMEM, "calibrate: out of memory");
  const uint32_t first = FIRST < r->n ? FIRST : r->n / 2;
  const struct tb_context_options o = {
      .n_ctx = r->n, .n_batch = first, .n_threads = r->n_threads, .kv_plan = text.data, .kv_profile = r->profile};
  if (!status) status = tb_context_create(&ctx, m, &o, r->err);
  r->exact = !kld;
  r->sum = r->seen = r->count = 0;
  for (uint32_t i = 0; !status && i < r->stretches; i++) {
    const tb_token *ids = stretch(r, i);
    status = tb_truncate(ctx, 0, r->err);
    if (!status) status = tb_eval(ctx, ids, first, NULL, NULL, r->err);
    for (uint32_t at = first; !status && at < r->n; at += BATCH)
      status = tb_eval_all(ctx, ids + at, r->n - at < BATCH ? r->n - at : BATCH, look, r, r->err);
  }
  if (!status && kld) *kld = fmax(r->sum / r->count - r->floor, 0);
  r->done += r->stretches * (size_t)r->n;
  tb_context_free(ctx);
  tb_free(&m->alloc, text.data);
  return status;
}

static void set_all(struct runs *r, const char *k, const char *v) {
  for (uint32_t i = 0; i < r->model->hp.n_layer; i++) {
    r->lines[i] = (struct tb_plan_layer){.sinks = SINKS};
    memcpy(r->lines[i].type_k, k, strlen(k) + 1);
    memcpy(r->lines[i].type_v, v, strlen(v) + 1);
  }
}

/* ------------------------------------------------------------------------------------------------------------ losses
 */

/* The type that was measured on a side of a layer (of all layers: n_layer) whose error, by the table, is nearest;
 * n_types: none. */
static size_t type_near(const struct tb_loss_table *t, uint32_t layer, enum tb_side side, double error) {
  size_t best = t->n_types;
  double nearest = INFINITY;
  for (size_t i = 0; i < t->n_types; i++) {
    double prior;
    bool measured = true;
    for (uint32_t il = 0; il < t->n_layer; il++)
      if ((layer == t->n_layer || layer == il) && *tb_loss_slot(t, il, i, side) <= 0) measured = false;
    if (!measured || !tb_loss_error(tb_loss_type(i), &prior) || prior <= 0) continue;
    const double distance = fabs(log(prior / error));
    if (distance >= nearest) continue;
    nearest = distance;
    best = i;
  }
  return best;
}

static void scale_side(const struct tb_loss_table *t, uint32_t layer, enum tb_side side, double by) {
  for (size_t type = 0; type < t->n_types; type++) {
    double *e = tb_loss_slot(t, layer, type, side);
    if (*e > 0) *e *= by;
  }
}

/* effects: [layer][side] */
static enum tb_status measure_effects(struct runs *r, const struct tb_loss_table *t, double *effects) {
  for (uint32_t il = 0; il < t->n_layer; il++)
    for (int side = 0; side < 2; side++) {
      const size_t type = type_near(t, il, (enum tb_side)side, COARSE);
      if (type == t->n_types) continue;
      set_all(r, "f32", "f32");
      char *line = side == TB_SIDE_K ? r->lines[il].type_k : r->lines[il].type_v;
      memcpy(line, tb_loss_type(type), strlen(tb_loss_type(type)) + 1);
      enum tb_status status = run(r, &effects[2 * il + side]);
      if (status) return status;
    }
  return TB_OK;
}

/* From errors to losses. */
static void apply(const struct tb_loss_table *t, const double *effects) {
  double mean = 0;
  for (uint32_t i = 0; i < 2 * t->n_layer; i++)
    mean += effects[i] / (2 * t->n_layer);
  for (uint32_t i = 0; i < 2 * t->n_layer; i++) {
    const size_t type = type_near(t, i / 2, (enum tb_side)(i % 2), COARSE);
    if (type == t->n_types) continue;
    const double error = *tb_loss_slot(t, i / 2, type, (enum tb_side)(i % 2));
    scale_side(t, i / 2, (enum tb_side)(i % 2), fmax(effects[i], LEAST * mean) / error);
  }
}

static double sum_of(const struct tb_loss_table *t, size_t type, enum tb_side side) {
  double sum = 0;
  for (uint32_t i = 0; i < t->n_layer; i++)
    sum += *tb_loss_slot(t, i, type, side);
  return sum;
}

/* All layers on both sides: what the sum of losses says and what comes out. */
static enum tb_status check(struct runs *r, struct tb_loss_table *t, int i, double error) {
  const size_t k = type_near(t, t->n_layer, TB_SIDE_K, error), v = type_near(t, t->n_layer, TB_SIDE_V, error);
  if (k == t->n_types || v == t->n_types) return TB_OK;
  double kld = 0;
  set_all(r, tb_loss_type(k), tb_loss_type(v));
  enum tb_status status = run(r, &kld);
  t->check[i].predicted = (float)(sum_of(t, k, TB_SIDE_K) + sum_of(t, v, TB_SIDE_V));
  t->check[i].measured = (float)kld;
  return status;
}

static enum tb_status measure_runs(struct runs *r, struct tb_loss_table *t, double *effects) {
  set_all(r, "f32", "f32");
  enum tb_status status = run(r, NULL);
  set_all(r, "f16", "f16");
  if (!status) status = run(r, &r->floor);
  if (!status) status = measure_effects(r, t, effects);
  if (status) return status;
  apply(t, effects);
  status = check(r, t, 0, COARSE);
  t->scale = t->check[0].predicted > 0 && t->check[0].measured > 0 ? t->check[0].measured / t->check[0].predicted : 1;
  for (uint32_t il = 0; il < t->n_layer; il++)
    for (int side = 0; side < 2; side++)
      scale_side(t, il, (enum tb_side)side, t->scale);
  return status ? status : check(r, t, 1, MIDDLE);
}

/* ------------------------------------------------------------------------------------------------------- the whole */

static uint32_t stretch_tokens(const struct tb_model *m, size_t n_ids) {
  const uint32_t n = STRETCH < m->hp.n_ctx_train ? STRETCH : m->hp.n_ctx_train;
  return n < n_ids ? n : (uint32_t)n_ids;
}

static size_t n_runs(const struct tb_model *m) {
  return 2 + TB_LOSS_CHECKS + 2 * (size_t)m->hp.n_layer;
}

static uint32_t n_stretches(const struct tb_model *m, size_t n_ids) {
  const uint32_t n = stretch_tokens(m, n_ids);
  double per_token = 0;
  for (uint32_t il = 0; il < m->hp.n_layer; il++) {
    const struct tb_layer *l = &m->layers[il];
    per_token += (double)m->hp.n_embd * (l->n_head * (l->d_k + l->d_v) + l->n_kv * (l->d_k + l->d_v)) +
                 3 * (double)m->hp.n_embd * l->gate.rows;
  }
  const double fit = RUN_MACS / ((double)n_runs(m) * n * per_token);
  const size_t most = n_ids / n < MOST ? n_ids / n : MOST;
  return fit < 1 ? 1 : fit < (double)most ? (uint32_t)fit : (uint32_t)most;
}

size_t tb_calibrate_loss_work(const struct tb_model *m, size_t n_ids) {
  return (PROXY_WORK + n_runs(m)) * n_stretches(m, n_ids) * stretch_tokens(m, n_ids);
}

static enum tb_status measure_errors(struct runs *r, struct tb_loss_table *t) {
  struct tb_context *ctx = NULL;
  const struct tb_context_options o = {.n_ctx = r->n,
                                       .n_batch = r->n,
                                       .n_threads = r->n_threads,
                                       .type_k = "f32",
                                       .type_v = "f32",
                                       .kv_profile = r->profile};
  enum tb_status status = tb_context_create(&ctx, r->model, &o, r->err);
  for (uint32_t i = 0; !status && i < r->stretches; i++) {
    status = go_on(r->progress, r->done, r->err);
    if (!status) status = tb_truncate(ctx, 0, r->err);
    if (!status) status = tb_loss_proxy(t, ctx, stretch(r, i), r->n, r->err);
    r->done += PROXY_WORK * (size_t)r->n;
  }
  tb_context_free(ctx);
  return status;
}

enum tb_status tb_calibrate_loss(struct tb_loss_table *t, const struct tb_model *model, const tb_token *ids,
                                 size_t n_ids, const char *profile, uint32_t n_threads,
                                 const struct tb_loss_progress *progress, struct tb_error *err) {
  const struct tb_allocator *a = &model->alloc;
  struct runs r = {.model = model,
                   .ids = ids,
                   .n_ids = n_ids,
                   .n = stretch_tokens(model, n_ids),
                   .stretches = n_stretches(model, n_ids),
                   .n_threads = n_threads,
                   .profile = profile,
                   .progress = progress,
                   .err = err};
  const size_t all = r.stretches * (size_t)r.n, most = LOGITS / model->hp.n_vocab + 1;
  r.step = (uint32_t)((all + most - 1) / most);
  enum tb_status status = go_on(progress, 0, err);
  r.logits = tb_alloc(a, (all / r.step + 1) * (size_t)model->hp.n_vocab, sizeof *r.logits);
  r.lines = tb_calloc(a, model->hp.n_layer, sizeof *r.lines);
  double *effects = tb_calloc(a, 2 * (size_t)model->hp.n_layer, sizeof *effects);
  if (!status && (!r.logits || !r.lines || !effects)) status = tb_fail(err, TB_E_NOMEM, "calibrate: out of memory");
  if (!status) status = measure_errors(&r, t);
  if (!status) status = measure_runs(&r, t, effects);
  tb_free(a, effects);
  tb_free(a, r.lines);
  tb_free(a, r.logits);
  return status ? status : go_on(progress, tb_calibrate_loss_work(model, n_ids), err);
}
