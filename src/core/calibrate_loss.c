/* What every cache type costs in every layer: the proxy, the error of attention's output that a type causes, measured
 * by one pass over a piece of the text, and what that means for the predictions, measured by a few whole runs.
 *
 *   proxy(layer, side, type)  mean over positions of |Wₒ·(o - ô)|² / |x|²: what the layer then adds to the residual
 * stream x is wrong by, relative to the stream loss = scale(side, class) · proxy    in nats of KL divergence of the
 * next token's distribution; class: the layers at both ends of the model, and the others
 *
 * The scales come from four runs, each with all layers of one class coarse on one side; two more hold the sum over all
 * layers against what it predicts. Losses add up as long as errors are small and independent. */
#include <math.h>
#include <string.h>
#include "cache/plan/loss.h"
#include "cache/plan/measure.h"
#include "cache/plan/plan_file.h"
#include "core/calibrate.h"
#include "core/plan.h"

enum {
  PIECE = 1024,   /* tokens of the text */
  POSITIONS = 48, /* where outputs are looked at, in the second half */
  SAMPLES = 32,   /* where predictions are compared */
  WINDOW = 128,   /* as contexts have by default */
  SINKS = 5,
  PROXY_WORK = 2, /* pieces of text that take as long as measuring the proxy does */
};

/* -------------------------------------------------------------------------------------------------------------- proxy
 */

struct proxy {
  struct tb_context *ctx;
  struct tb_loss_table *table;
  uint32_t at[POSITIONS], n_at;
  float *exact, *out; /* n_at × widest attention output */
  float *y;           /* n_at × n_embd */
  enum tb_status status;
  struct tb_error *err;
};

/* Mean of |Wo·(out - exact)|² / |x|². */
static double error_of(struct proxy *o, const struct tb_pass *p, const struct tb_layer *l) {
  const size_t width = (size_t)l->n_head * l->d_v, n_embd = p->model->hp.n_embd;
  struct tb_pass pass = *p; /* its buffer is free at this point: the attention's output will be there */
  pass.n = o->n_at;
  pass.act.k = width;
  pass.in = &pass.act;
  for (size_t i = 0; i < o->n_at * width; i++)
    pass.act.f[i] = o->out[i] - o->exact[i];
  tb_act_quantize(&pass, &pass.act);
  tb_op_head(&pass, &l->wo, 0, o->n_at, o->y);
  double sum = 0;
  for (uint32_t i = 0; i < o->n_at; i++) {
    const float *y = o->y + i * n_embd, *x = p->x + o->at[i] * n_embd;
    double e = 0, all = 0;
    for (size_t c = 0; c < n_embd; c++) {
      e += (double)y[c] * y[c];
      all += (double)x[c] * x[c];
    }
    sum += all > 0 ? e / all : 0;
  }
  return sum / o->n_at;
}

static void observe(void *user, const struct tb_pass *p, uint32_t il) {
  struct proxy *o = user;
  const struct tb_model *model = p->model;
  const struct tb_measure m = {.shape = &o->ctx->shapes[il],
                               .n = p->n,
                               .q = p->q,
                               .k = p->k,
                               .v = p->v,
                               .at = o->at,
                               .n_at = o->n_at,
                               .window = WINDOW,
                               .sinks = SINKS};
  if (o->status) return;
  o->status = tb_measure_output(&m, TB_SIDE_K, "f32", &model->kernels, p->team, &model->alloc, o->exact, o->err);
  for (size_t t = 0; !o->status && t < o->table->n_types; t++)
    for (int side = 0; !o->status && side < 2; side++) {
      double *loss = tb_loss_slot(o->table, il, t, (enum tb_side)side);
      *loss = -1;
      if (!tb_measure_fits(&m, (enum tb_side)side, tb_loss_type(t))) continue;
      o->status = tb_measure_output(&m, (enum tb_side)side, tb_loss_type(t), &model->kernels, p->team, &model->alloc,
                                    o->out, o->err);
      if (!o->status) *loss = error_of(o, p, &model->layers[il]);
    }
}

static enum tb_status measure_proxy(struct tb_context *ctx, const tb_token *ids, uint32_t n, struct tb_loss_table *t,
                                    struct tb_error *err) {
  const struct tb_model *m = ctx->model;
  struct proxy o = {.ctx = ctx, .table = t, .err = err};
  size_t widest = 0;
  for (uint32_t i = 0; i < m->hp.n_layer; i++)
    if ((size_t)m->layers[i].n_head * m->layers[i].d_v > widest)
      widest = (size_t)m->layers[i].n_head * m->layers[i].d_v;
  o.n_at = n / 2 < POSITIONS ? n / 2 : POSITIONS;
  for (uint32_t i = 0; i < o.n_at; i++)
    o.at[i] = n / 2 + i * (n / 2) / o.n_at;
  o.exact = tb_alloc(&m->alloc, o.n_at * widest, sizeof *o.exact);
  o.out = tb_alloc(&m->alloc, o.n_at * widest, sizeof *o.out);
  o.y = tb_alloc(&m->alloc, (size_t)o.n_at * m->hp.n_embd, sizeof *o.y);
  if (!o.exact || !o.out || !o.y) o.status = tb_fail(err, TB_E_NOMEM, "calibrate: out of memory");
  ctx->pass.observe = observe;
  ctx->pass.observer = &o;
  enum tb_status status = o.status ? o.status : tb_eval(ctx, ids, n, NULL, NULL, err);
  ctx->pass.observe = NULL;
  tb_free(&m->alloc, o.exact);
  tb_free(&m->alloc, o.out);
  tb_free(&m->alloc, o.y);
  return o.status ? o.status : status;
}

/* --------------------------------------------------------------------------------------------------------------- runs
 */

struct runs {
  const struct tb_model *model;
  const tb_token *ids;
  uint32_t n, n_samples, n_threads;
  const char *profile;
  float *logits; /* of the exact run: n_samples × n_vocab */
  struct tb_plan_layer *lines;
  const struct tb_loss_progress *progress;
  size_t done;
  struct tb_error *err;
};

static bool go_on(const struct tb_loss_progress *p, size_t done) {
  return !p->fn || p->fn(p->user, p->before + done, p->total);
}

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

/* The piece with the layers' types as in r->lines, every layer of them; *kld: mean divergence from the first run, which
 * is remembered instead when kld is NULL. */
static enum tb_status run(struct runs *r, double *kld) {
  const struct tb_model *m = r->model;
  const size_t n_vocab = m->hp.n_vocab;
  struct tb_plan_text text = {.a = &m->alloc};
  struct tb_context *ctx = NULL;
  enum tb_status status = TB_OK;
  if (!go_on(r->progress, PROXY_WORK * r->n + r->done++ * r->n)) return tb_fail(r->err, TB_E_CANCELLED, "cancelled");
  if (!tb_plan_write(r->lines, m->hp.n_layer, tb_plan_text_append, &text))
    status = tb_fail(r->err, TB_E_NOMEM, "calibrate: out of memory");
  const struct tb_context_options o = {
      .n_ctx = r->n, .n_threads = r->n_threads, .kv_plan = text.data, .kv_profile = r->profile};
  if (!status) status = tb_context_create(&ctx, m, &o, r->err);
  double sum = 0;
  const uint32_t step = (r->n - r->n / 2) / r->n_samples;
  for (uint32_t i = 0, at = 0; !status && i < r->n_samples; i++) {
    const uint32_t to = r->n / 2 + (i + 1) * step;
    status = tb_eval(ctx, r->ids + at, to - at, NULL, NULL, r->err);
    at = to;
    if (status) break;
    if (kld)
      sum += divergence(r->logits + i * n_vocab, tb_logits(ctx), n_vocab);
    else
      memcpy(r->logits + i * n_vocab, tb_logits(ctx), n_vocab * sizeof *r->logits);
  }
  if (kld) *kld = sum / r->n_samples;
  tb_context_free(ctx);
  tb_free(&m->alloc, text.data);
  return status;
}

/* Sets lines: layers of one class (or all: -1) have `type` on a side (-1: both sides). */
static void set_lines(struct runs *r, int side, int class, const char *type_k, const char *type_v) {
  const uint32_t n = r->model->hp.n_layer;
  for (uint32_t i = 0; i < n; i++) {
    const bool in = class < 0 || (int)tb_loss_at_end(i, n) == class;
    const char *k = in && side != TB_SIDE_V ? type_k : "f32", *v = in && side != TB_SIDE_K ? type_v : "f32";
    r->lines[i] = (struct tb_plan_layer){.window = WINDOW, .sinks = SINKS};
    memcpy(r->lines[i].type_k, k, strlen(k) + 1);
    memcpy(r->lines[i].type_v, v, strlen(v) + 1);
  }
}

static double sum_of(const struct tb_loss_table *t, size_t type, enum tb_side side, int class) {
  double sum = 0;
  for (uint32_t i = 0; i < t->n_layer; i++)
    if (class < 0 || (int)tb_loss_at_end(i, t->n_layer) == class) {
      const double e = *tb_loss_slot(t, i, type, side);
      if (e < 0) return -1;
      sum += e;
    }
  return sum;
}

/* The type of about `bits` bits' worth of error that suits all layers: the one whose error is nearest to `error`. */
static size_t type_near(const struct tb_loss_table *t, enum tb_side side, double error) {
  size_t best = t->n_types;
  double nearest = INFINITY;
  for (size_t i = 0; i < t->n_types; i++) {
    double prior;
    if (!tb_loss_error(tb_loss_type(i), &prior) || prior <= 0 || sum_of(t, i, side, -1) <= 0) continue;
    const double distance = fabs(log(prior / error));
    if (distance < nearest) {
      nearest = distance;
      best = i;
    }
  }
  return best;
}

#define COARSE 0.1   /* relative squared error of a type of about two bits */
#define MIDDLE 0.008 /* of one of four */

static enum tb_status measure_scales(struct runs *r, struct tb_loss_table *t) {
  double scale[2][2];
  for (int side = 0; side < 2; side++)
    for (int class = 0; class < 2; class ++) {
      const size_t type = type_near(t, (enum tb_side)side, COARSE);
      const double proxy = type < t->n_types ? sum_of(t, type, (enum tb_side)side, class) : 0;
      double kld = 0;
      scale[side][class] = class ? scale[side][0] : 1;
      if (proxy <= 0) continue; /* a model of few layers has none in the middle */
      set_lines(r, side, class, tb_loss_type(type), tb_loss_type(type));
      enum tb_status status = run(r, &kld);
      if (status) return status;
      if (kld > 0) scale[side][class] = kld / proxy;
    }
  for (uint32_t i = 0; i < t->n_layer; i++)
    for (size_t type = 0; type < t->n_types; type++)
      for (int side = 0; side < 2; side++) {
        double *e = tb_loss_slot(t, i, type, (enum tb_side)side);
        if (*e > 0) *e *= scale[side][tb_loss_at_end(i, t->n_layer)];
      }
  for (int side = 0; side < 2; side++)
    for (int class = 0; class < 2; class ++)
      t->scale[side][class] = (float)scale[side][class];
  return TB_OK;
}

/* All layers on both sides: what the sum of losses says and what comes out. */
static enum tb_status verify(struct runs *r, struct tb_loss_table *t) {
  static const double errors[TB_LOSS_CHECKS] = {COARSE, MIDDLE};
  for (int i = 0; i < TB_LOSS_CHECKS; i++) {
    const size_t k = type_near(t, TB_SIDE_K, errors[i]), v = type_near(t, TB_SIDE_V, errors[i]);
    double kld;
    if (k == t->n_types || v == t->n_types) continue;
    set_lines(r, -1, -1, tb_loss_type(k), tb_loss_type(v));
    enum tb_status status = run(r, &kld);
    if (status) return status;
    t->check[i].predicted = (float)(sum_of(t, k, TB_SIDE_K, -1) + sum_of(t, v, TB_SIDE_V, -1));
    t->check[i].measured = (float)kld;
  }
  return TB_OK;
}

static enum tb_status measure_runs(struct runs *r, struct tb_loss_table *t) {
  const struct tb_model *m = r->model;
  r->logits = tb_alloc(&m->alloc, (size_t)r->n_samples * m->hp.n_vocab, sizeof *r->logits);
  r->lines = tb_calloc(&m->alloc, m->hp.n_layer, sizeof *r->lines);
  enum tb_status status = r->logits && r->lines ? TB_OK : tb_fail(r->err, TB_E_NOMEM, "calibrate: out of memory");
  if (!status) {
    set_lines(r, -1, -1, "f32", "f32");
    status = run(r, NULL);
  }
  if (!status) status = measure_scales(r, t);
  if (!status) status = verify(r, t);
  tb_free(&m->alloc, r->logits);
  tb_free(&m->alloc, r->lines);
  return status;
}

size_t tb_calibrate_loss_work(uint32_t n) {
  return (PROXY_WORK + 1 + 4 + TB_LOSS_CHECKS) * (size_t)n;
}

uint32_t tb_calibrate_loss_tokens(const struct tb_model *m, size_t n_tokens) {
  uint32_t n = PIECE < m->hp.n_ctx_train ? PIECE : m->hp.n_ctx_train;
  return n < n_tokens ? n : (uint32_t)n_tokens;
}

enum tb_status tb_calibrate_loss(struct tb_loss_table *t, const struct tb_model *model, const tb_token *ids, uint32_t n,
                                 const char *profile, uint32_t n_threads, const struct tb_loss_progress *progress,
                                 struct tb_error *err) {
  struct tb_context *ctx = NULL;
  if (!go_on(progress, 0)) return tb_fail(err, TB_E_CANCELLED, "cancelled");
  const struct tb_context_options o = {
      .n_ctx = n, .n_batch = n, .n_threads = n_threads, .type_k = "f32", .type_v = "f32", .kv_profile = profile};
  enum tb_status status = tb_context_create(&ctx, model, &o, err);
  if (!status) status = measure_proxy(ctx, ids, n, t, err);
  tb_context_free(ctx);
  struct runs r = {.model = model,
                   .ids = ids,
                   .n = n,
                   .n_samples = n / 4 < SAMPLES ? n / 4 : SAMPLES,
                   .n_threads = n_threads,
                   .profile = profile,
                   .progress = progress,
                   .err = err};
  if (!status) status = measure_runs(&r, t);
  if (!status && !go_on(progress, tb_calibrate_loss_work(n))) status = tb_fail(err, TB_E_CANCELLED, "cancelled");
  return status;
}
