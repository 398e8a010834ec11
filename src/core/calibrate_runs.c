#include "core/calibrate_runs.h"

#include <math.h>
#include <string.h>
#include "cache/plan/plan_file.h"
#include "core/plan.h"

enum { SINKS = 5 };

enum tb_status tb_runs_create(struct tb_runs *r, struct tb_error *err) {
  const struct tb_allocator *a = &r->model->alloc;
  const size_t all = r->stretches * (size_t)(r->n - r->first);
  r->err = err;
  r->logits = tb_alloc(a, (all / r->step + 1) * r->model->hp.n_vocab, sizeof *r->logits);
  r->lines = tb_calloc(a, r->model->hp.n_layer, sizeof *r->lines);
  return r->logits && r->lines ? TB_OK : tb_fail(err, TB_E_NOMEM, "calibrate: out of memory");
}

void tb_runs_free(struct tb_runs *r) {
  tb_free(&r->model->alloc, r->lines);
  tb_free(&r->model->alloc, r->logits);
}

enum tb_status tb_runs_go_on(const struct tb_runs *r) {
  const struct tb_loss_progress *p = r->progress;
  return !p->fn || p->fn(p->user, p->before + r->done, p->total) ? TB_OK : tb_fail(r->err, TB_E_CANCELLED, "cancelled");
}

void tb_runs_side(struct tb_runs *r, uint32_t layer, enum tb_side side, const char *type) {
  memcpy(side == TB_SIDE_K ? r->lines[layer].type_k : r->lines[layer].type_v, type, strlen(type) + 1);
}

void tb_runs_types(struct tb_runs *r, const char *k, const char *v) {
  for (uint32_t i = 0; i < r->model->hp.n_layer; i++) {
    r->lines[i] = (struct tb_plan_layer){.sinks = SINKS};
    tb_runs_side(r, i, TB_SIDE_K, k);
    tb_runs_side(r, i, TB_SIDE_V, v);
  }
}

/* -------------------------------------------------------------------------------------------------------- divergence
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
  struct tb_runs *r = user;
  const size_t at = r->at + position, n_vocab = r->model->hp.n_vocab;
  if (at % r->step != 0) return true;
  float *exact = r->logits + at / r->step * n_vocab;
  if (r->exact) {
    memcpy(exact, logits, n_vocab * sizeof *exact);
    return true;
  }
  r->sum += divergence(exact, logits, n_vocab);
  r->looks++;
  return true;
}

/* --------------------------------------------------------------------------------------------------------------- runs
 */

enum tb_status tb_runs_open(struct tb_runs *r, struct tb_context **ctx) {
  struct tb_plan_text text = {.a = &r->model->alloc};
  enum tb_status status = TB_OK;
  if (!tb_plan_write(r->lines, r->model->hp.n_layer, tb_plan_text_append, &text))
    status = tb_fail(r->err, TB_E_NOMEM, "calibrate: out of memory");
  const struct tb_context_options o = {
      .n_ctx = r->n, .n_batch = r->first, .n_threads = r->n_threads, .kv_plan = text.data, .kv_profile = r->profile};
  if (!status) status = tb_context_create(ctx, r->model, &o, r->err);
  tb_free(&r->model->alloc, text.data);
  return status;
}

const tb_token *tb_runs_stretch(const struct tb_runs *r, uint32_t i) {
  return r->ids + (r->n_ids - r->n) / r->stretches * i;
}

/* The batch at position `pos` of stretch i is next; its tokens. */
static uint32_t next(struct tb_runs *r, uint32_t i, uint32_t pos) {
  r->at = i * (r->n - r->first) + pos - r->first;
  return r->n - pos < TB_RUN_BATCH ? r->n - pos : TB_RUN_BATCH;
}

static enum tb_status run_stretch(struct tb_runs *r, struct tb_context *ctx, uint32_t i) {
  const tb_token *ids = tb_runs_stretch(r, i);
  enum tb_status status = tb_runs_go_on(r);
  if (!status) status = tb_truncate(ctx, 0, r->err);
  if (!status) status = tb_eval(ctx, ids, r->first, NULL, NULL, r->err);
  for (uint32_t pos = r->first, n; !status && pos < r->n; pos += n) {
    n = next(r, i, pos);
    status = tb_eval_all(ctx, ids + pos, n, look, r, r->err);
  }
  r->done += r->n;
  return status;
}

enum tb_status tb_runs_whole(struct tb_runs *r, double *kld) {
  struct tb_context *ctx = NULL;
  enum tb_status status = tb_runs_open(r, &ctx);
  r->exact = false;
  r->sum = r->looks = 0;
  for (uint32_t i = 0; !status && i < r->stretches; i++)
    status = run_stretch(r, ctx, i);
  tb_context_free(ctx);
  *kld = r->looks ? r->sum / r->looks : 0;
  return status;
}

static void observe(void *user, const struct tb_pass *p, uint32_t il) {
  const struct tb_runs_trace *t = user;
  const struct tb_layer *l = &p->model->layers[il];
  const size_t k = (size_t)l->n_kv * l->d_k, v = (size_t)l->n_kv * l->d_v, width = p->model->hp.n_embd;
  memcpy(t->seen.k[il] + p->pos * k, p->k, p->n * k * sizeof(float));
  memcpy(t->seen.v[il] + p->pos * v, p->v, p->n * v * sizeof(float));
  for (uint32_t i = 0; i < p->n; i++) {
    const uint32_t pos = p->pos + i;
    if (pos >= t->start[il] && pos < t->start[il] + t->length)
      memcpy(t->x[il] + (pos - t->start[il]) * width, p->x + i * width, width * sizeof(float));
  }
}

enum tb_status tb_runs_exact(struct tb_runs *r, struct tb_context *ctx, uint32_t i, struct tb_runs_trace *trace) {
  ctx->pass.observe = observe;
  ctx->pass.observer = trace;
  r->exact = true;
  enum tb_status status = run_stretch(r, ctx, i);
  r->exact = false;
  ctx->pass.observe = NULL;
  return status;
}

enum tb_status tb_runs_walk(struct tb_runs *r, struct tb_context *ctx, uint32_t i, uint32_t layer,
                            const struct tb_runs_trace *trace, void (*each)(void *user, const struct tb_runs *r),
                            void *user) {
  const tb_token *ids = tb_runs_stretch(r, i);
  const uint32_t start = trace->start[layer], end = start + trace->length, n_layer = r->model->hp.n_layer;
  enum tb_status status = tb_runs_go_on(r);
  if (!status) status = tb_truncate(ctx, 0, r->err);
  if (!status) status = tb_context_put(ctx, ids, start, &trace->seen, r->err);
  for (uint32_t pos = start, n; !status && pos < end; pos += n) {
    n = next(r, i, pos);
    r->sum = r->looks = 0;
    status = tb_context_resume(ctx, ids + pos, n, &trace->seen, layer,
                               trace->x[layer] + (size_t)(pos - start) * r->model->hp.n_embd, look, r, r->err);
    each(user, r);
  }
  r->done += (size_t)trace->length * (n_layer - layer) / n_layer;
  return status;
}
