/* What every cache type, merging and recall cost in every layer, in nats of KL divergence of the next token's distribution:
 *
 *   loss(layer, side, type) = effect(layer, side) · error(layer, side, type) / error(layer, side, coarse type)
 *
 * Errors are those of attention's output (calibrate_proxy.c) and compare types within a layer. Effects
 * (calibrate_effects.c): the divergence when this side of this layer alone is kept in a type of about two bits. No
 * measure of the layer itself tells it: embeddings are short beside the streams of later layers, so that the same
 * relative error weighs differently; and what an early layer loses may not touch the next token at all, but what later
 * ones find when they look back at this one.
 *
 * Neither has a window. Most of a short text's attention would lie within it, and block types would seem to lose
 * nothing in layers whose few looks further back are what a long context is for.
 *
 * Two more runs have all layers coarse, and all about half as coarse; effects do not quite add up, and what the first
 * of them differs from their sum by scales all losses. The second one is a check. */
#include <math.h>
#include <string.h>
#include "cache/plan/loss.h"
#include "core/calibrate_runs.h"

enum {
  STRETCH = 1024, /* tokens; one to MOST of them, from all over the text */
  MOST = 6,
  FIRST = 192,
  LOGITS = 32 << 20, /* floats that may be remembered of the exact run */
  TRACE = 256 << 20, /* bytes that may be remembered besides, beyond one stretch */
  PROXY = 3,         /* stretches for the errors, whose ratios within a layer vary little */
  PROXY_WORK = 2,    /* stretches that take as long to run as measuring the errors of one does */
};

#define RUN_MACS 2e13 /* beyond one stretch, as many as cost that much */
#define COARSE 0.1    /* relative squared error of a type of about two bits, */
#define MIDDLE 0.008  /* of one of four */
#define LEAST 0.02    /* of the mean effect: nothing is free, however deep in the noise it lies */

/* ------------------------------------------------------------------------------------------------------------ losses
 */

/* The type that was measured on a side of a layer (of all layers: n_layer) whose error, by the table, is nearest;
 * n_rows: none. */
static size_t type_near(const struct tb_loss_table *t, uint32_t layer, enum tb_side side, double error) {
  size_t best = t->n_rows;
  double nearest = INFINITY;
  for (size_t i = 0; tb_loss_type(i); i++) {
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
  for (size_t row = 0; row < t->n_rows; row++) {
    double *e = tb_loss_slot(t, layer, row, side);
    if (*e > 0) *e *= by;
  }
}

/* From errors to losses. */
static void apply(const struct tb_loss_table *t, const double *effects) {
  double mean = 0;
  for (uint32_t i = 0; i < 2 * t->n_layer; i++)
    mean += effects[i] / (2 * t->n_layer);
  for (uint32_t i = 0; i < 2 * t->n_layer; i++) {
    const size_t type = type_near(t, i / 2, (enum tb_side)(i % 2), COARSE);
    if (type == t->n_rows) continue;
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
static enum tb_status check(struct tb_runs *r, struct tb_loss_table *t, int i, double error, double floor) {
  const size_t k = type_near(t, t->n_layer, TB_SIDE_K, error), v = type_near(t, t->n_layer, TB_SIDE_V, error);
  if (k == t->n_rows || v == t->n_rows) return TB_OK;
  double kld = 0;
  tb_runs_types(r, tb_loss_type(k), tb_loss_type(v));
  enum tb_status status = tb_runs_whole(r, &kld);
  t->check[i].predicted = (float)(sum_of(t, k, TB_SIDE_K) + sum_of(t, v, TB_SIDE_V));
  t->check[i].measured = (float)fmax(kld - floor, 0);
  return status;
}

static enum tb_status measure_runs(struct tb_runs *r, struct tb_loss_table *t, double *effects, const char **coarse) {
  for (uint32_t i = 0; i < 2 * t->n_layer; i++)
    coarse[i] = tb_loss_type(type_near(t, i / 2, (enum tb_side)(i % 2), COARSE)); /* n_rows: NULL */
  enum tb_status status = tb_runs_effects(r, coarse, effects);
  if (status) return status;
  apply(t, effects);
  status = check(r, t, 0, COARSE, effects[2 * t->n_layer]);
  t->scale = t->check[0].predicted > 0 && t->check[0].measured > 0 ? t->check[0].measured / t->check[0].predicted : 1;
  for (uint32_t il = 0; il < t->n_layer; il++)
    for (int side = 0; side < 2; side++)
      scale_side(t, il, (enum tb_side)side, t->scale);
  return status ? status : check(r, t, 1, MIDDLE, effects[2 * t->n_layer]);
}

/* ------------------------------------------------------------------------------------------------------- the whole */

static uint32_t stretch_tokens(const struct tb_model *m, size_t n_ids) {
  const uint32_t n = STRETCH < m->hp.n_ctx_train ? STRETCH : m->hp.n_ctx_train;
  return n < n_ids ? n : (uint32_t)n_ids;
}

static uint32_t first_tokens(uint32_t n) {
  return FIRST < n ? FIRST : n / 2;
}

/* Tokens that go through the model for one stretch: exact, walks, checks. */
static size_t stretch_work(const struct tb_model *m, uint32_t n) {
  return tb_runs_effects_work(m, n, first_tokens(n)) + TB_LOSS_CHECKS * (size_t)n;
}

static uint32_t n_stretches(const struct tb_model *m, size_t n_ids) {
  const uint32_t n = stretch_tokens(m, n_ids);
  double per_token = 0;
  for (uint32_t il = 0; il < m->hp.n_layer; il++) {
    const struct tb_layer *l = &m->layers[il];
    per_token += (double)m->hp.n_embd * (l->n_head * (l->d_k + l->d_v) + l->n_kv * (l->d_k + l->d_v)) +
                 3 * (double)m->hp.n_embd * l->gate.rows;
  }
  const double fit = RUN_MACS / ((double)stretch_work(m, n) * per_token);
  size_t most = TRACE / tb_runs_effects_bytes(m, n, first_tokens(n));
  if (most > MOST) most = MOST;
  if (most > n_ids / n) most = n_ids / n;
  if (most == 0) most = 1;
  return fit < 1 ? 1 : fit < (double)most ? (uint32_t)fit : (uint32_t)most;
}

size_t tb_calibrate_loss_work(const struct tb_model *m, size_t n_ids) {
  const uint32_t n = stretch_tokens(m, n_ids);
  const uint32_t stretches = n_stretches(m, n_ids), proxy = stretches < PROXY ? stretches : PROXY;
  return proxy * PROXY_WORK * (size_t)n + stretches * stretch_work(m, n);
}

/* Spread over the text. */
static uint32_t proxy_stretch(const struct tb_runs *r, uint32_t i) {
  return r->stretches > PROXY ? i * r->stretches / PROXY : i;
}

static enum tb_status measure_errors(struct tb_runs *r, struct tb_loss_table *t) {
  struct tb_context *ctx = NULL;
  const struct tb_context_options o = {.n_ctx = r->n,
                                       .n_batch = r->n,
                                       .n_threads = r->n_threads,
                                       .type_k = "f32",
                                       .type_v = "f32",
                                       .kv_profile = r->profile};
  enum tb_status status = tb_context_create(&ctx, r->model, &o, r->err);
  for (uint32_t i = 0; !status && i < r->stretches && i < PROXY; i++) {
    status = tb_runs_go_on(r);
    if (!status) status = tb_truncate(ctx, 0, r->err);
    if (!status) status = tb_loss_proxy(t, ctx, tb_runs_stretch(r, proxy_stretch(r, i)), r->n, r->err);
    r->done += PROXY_WORK * (size_t)r->n;
  }
  tb_context_free(ctx);
  return status;
}

enum tb_status tb_calibrate_loss(struct tb_loss_table *t, const struct tb_model *model, const tb_token *ids,
                                 size_t n_ids, const char *profile, uint32_t n_threads,
                                 const struct tb_loss_progress *progress, struct tb_error *err) {
  const struct tb_allocator *a = &model->alloc;
  struct tb_runs r = {.model = model,
                      .ids = ids,
                      .n_ids = n_ids,
                      .n = stretch_tokens(model, n_ids),
                      .stretches = n_stretches(model, n_ids),
                      .n_threads = n_threads,
                      .profile = profile,
                      .progress = progress};
  r.first = first_tokens(r.n);
  const size_t all = r.stretches * (size_t)(r.n - r.first), most = LOGITS / model->hp.n_vocab + 1;
  r.step = (uint32_t)((all + most - 1) / most);
  enum tb_status status = tb_runs_create(&r, err);
  double *effects = tb_calloc(a, 2 * (size_t)model->hp.n_layer + 1, sizeof *effects);
  const char **coarse = tb_calloc(a, 2 * (size_t)model->hp.n_layer, sizeof *coarse);
  if (!status && (!effects || !coarse)) status = tb_fail(err, TB_E_NOMEM, "calibrate: out of memory");
  if (!status) status = measure_errors(&r, t);
  if (!status) status = measure_runs(&r, t, effects, coarse);
  tb_free(a, coarse);
  tb_free(a, effects);
  r.done = tb_calibrate_loss_work(model, n_ids);
  if (!status) status = tb_runs_go_on(&r);
  tb_runs_free(&r);
  return status;
}
