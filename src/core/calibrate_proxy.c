/* What a cache type does to the attention's output of one layer:
 *
 *   error(layer, side, type)   mean over positions of |Wₒ·(ô - o)|²: what the layer then adds to the residual stream is
 * wrong by. One pass over a stretch of text; each type in turn keeps one side of each layer's cache.
 *
 * The same of merging with the layer below, on both sides of both layers, and of recall, per token passed over for each
 * one attended to. */
#include <string.h>
#include "base/arena.h"
#include "cache/plan/loss.h"
#include "cache/plan/measure.h"
#include "core/calibrate.h"

enum {
  POSITIONS = 192, /* where outputs are looked at, in the second half */
  SINKS = 5,
  RECALLED = 8, /* recall: one of so many tokens */
};

/* A layer's text: two of them alternate, for what concerns neighbours. */
struct seen {
  struct tb_measure m; /* into the buffers */
  float *q, *k, *v;
  float *exact; /* n_at × attention output */
};

struct proxy {
  struct tb_context *ctx;
  struct tb_loss_table *table;
  uint32_t n, at[POSITIONS], n_at;
  struct seen seen[2];
  float *merged[2][2]; /* outputs of two layers, sides */
  float *out;          /* n_at × widest attention output */
  float *difference;   /* of one and the exact one */
  float *y;            /* n_at × n_embd */
  unsigned char *block;
  enum tb_status status;
  struct tb_error *err;
};

/* ------------------------------------------------------------------------------------------------------------- memory
 */

static void carve(struct proxy *o, struct tb_arena *a) {
  const struct tb_model *m = o->ctx->model;
  size_t q = 0, k = 0, v = 0, out = 0;
  for (uint32_t i = 0; i < m->hp.n_layer; i++) {
    const struct tb_layer *l = &m->layers[i];
    if ((size_t)l->n_head * l->d_k > q) q = (size_t)l->n_head * l->d_k;
    if ((size_t)l->n_kv * l->d_k > k) k = (size_t)l->n_kv * l->d_k;
    if ((size_t)l->n_kv * l->d_v > v) v = (size_t)l->n_kv * l->d_v;
    if ((size_t)l->n_head * l->d_v > out) out = (size_t)l->n_head * l->d_v;
  }
  for (int i = 0; i < 2; i++) {
    o->seen[i].q = tb_carve(a, o->n * q, sizeof(float));
    o->seen[i].k = tb_carve(a, o->n * k, sizeof(float));
    o->seen[i].v = tb_carve(a, o->n * v, sizeof(float));
    o->seen[i].exact = tb_carve(a, o->n_at * out, sizeof(float));
    o->merged[i][0] = tb_carve(a, o->n_at * out, sizeof(float));
    o->merged[i][1] = tb_carve(a, o->n_at * out, sizeof(float));
  }
  o->out = tb_carve(a, o->n_at * out, sizeof(float));
  o->difference = tb_carve(a, o->n_at * out, sizeof(float));
  o->y = tb_carve(a, (size_t)o->n_at * m->hp.n_embd, sizeof(float));
}

static void look(struct proxy *o, const struct tb_pass *p, uint32_t il) {
  const struct tb_layer *l = &p->model->layers[il];
  struct seen *s = &o->seen[il % 2];
  memcpy(s->q, p->q, (size_t)p->n * l->n_head * l->d_k * sizeof(float));
  memcpy(s->k, p->k, (size_t)p->n * l->n_kv * l->d_k * sizeof(float));
  memcpy(s->v, p->v, (size_t)p->n * l->n_kv * l->d_v * sizeof(float));
  s->m = (struct tb_measure){.shape = &o->ctx->shapes[il],
                             .n = p->n,
                             .q = s->q,
                             .k = s->k,
                             .v = s->v,
                             .at = o->at,
                             .n_at = o->n_at,
                             .sinks = SINKS};
}

/* ---------------------------------------------------------------------------------------------------------- measuring
 */

/* Mean of |Wo·(out - exact)|² in a layer. */
static double error_of(struct proxy *o, const struct tb_pass *p, uint32_t il, const float *out) {
  const struct tb_layer *l = &p->model->layers[il];
  const float *exact = o->seen[il % 2].exact;
  const size_t width = (size_t)l->n_head * l->d_v;
  struct tb_pass pass = *p; /* its codes' memory is free at this point: the attention's output will be there */
  pass.n = o->n_at;
  pass.act.k = width;
  pass.act.f = o->difference;
  pass.in = &pass.act;
  for (size_t i = 0; i < o->n_at * width; i++)
    o->difference[i] = out[i] - exact[i];
  tb_act_quantize(&pass, &pass.act);
  tb_op_head(&pass, &l->wo, 0, o->n_at, o->y);
  double sum = 0;
  for (size_t i = 0; i < (size_t)o->n_at * p->model->hp.n_embd; i++)
    sum += (double)o->y[i] * o->y[i];
  return sum / o->n_at;
}

static void types(struct proxy *o, const struct tb_pass *p, uint32_t il) {
  const struct tb_model *model = p->model;
  const struct tb_measure *m = &o->seen[il % 2].m;
  const char *type;
  for (size_t t = 0; !o->status && (type = tb_loss_type(t)); t++)
    for (int side = 0; !o->status && side < 2; side++) {
      double *loss = tb_loss_slot(o->table, il, t, (enum tb_side)side);
      if (!tb_measure_fits(m, (enum tb_side)side, type)) {
        *loss = -1;
        continue;
      }
      o->status =
          tb_measure_output(m, (enum tb_side)side, type, &model->kernels, p->team, &model->alloc, o->out, o->err);
      if (!o->status) *loss += error_of(o, p, il, o->out);
    }
}

static size_t row_called(const char *name) {
  size_t i = 0;
  while (strcmp(tb_loss_row(i), name) != 0)
    i++;
  return i;
}

static void leave_out(struct proxy *o, uint32_t il, const char *row) {
  const size_t at = row_called(row);
  *tb_loss_slot(o->table, il, at, TB_SIDE_K) = *tb_loss_slot(o->table, il, at, TB_SIDE_V) = -1;
}

/* A layer with the one below it. */
static void merging(struct proxy *o, const struct tb_pass *p, uint32_t il) {
  const struct tb_model *model = p->model;
  static const char *const names[] = {"merge.up", "merge.down"};
  const struct tb_measure m[2] = {o->seen[(il + 1) % 2].m, o->seen[il % 2].m};
  if (!tb_measure_merges(m)) {
    leave_out(o, il - 1, names[0]);
    leave_out(o, il, names[1]);
    return;
  }
  o->status = tb_measure_merged(m, &model->kernels, p->team, &model->alloc, o->merged, o->err);
  for (uint32_t i = 0; !o->status && i < 2; i++)
    for (int side = 0; side < 2; side++) {
      const uint32_t layer = il - 1 + i;
      *tb_loss_slot(o->table, layer, row_called(names[i]), (enum tb_side)side) +=
          error_of(o, p, layer, o->merged[i][side]);
    }
}

static void recall(struct proxy *o, const struct tb_pass *p, uint32_t il) {
  const struct tb_model *model = p->model;
  const struct tb_measure *m = &o->seen[il % 2].m;
  const size_t row = row_called("recall");
  const uint32_t budget = m->n / RECALLED;
  double held = 0;
  if (!tb_measure_recalls(m, budget)) {
    leave_out(o, il, "recall");
    return;
  }
  *tb_loss_slot(o->table, il, row, TB_SIDE_V) = -1;
  o->status = tb_measure_recalled(m, budget, &model->kernels, p->team, &model->alloc, o->out, o->err);
  for (uint32_t i = 0; i < o->n_at; i++)
    held += (o->at[i] + 1.0) / o->n_at;
  if (!o->status) *tb_loss_slot(o->table, il, row, TB_SIDE_K) += error_of(o, p, il, o->out) / (held / budget - 1);
}

static void observe(void *user, const struct tb_pass *p, uint32_t il) {
  struct proxy *o = user;
  const struct tb_model *model = p->model;
  if (o->status) return;
  look(o, p, il);
  struct seen *s = &o->seen[il % 2];
  o->status = tb_measure_output(&s->m, TB_SIDE_K, "f32", &model->kernels, p->team, &model->alloc, s->exact, o->err);
  types(o, p, il);
  if (!o->status && il > 0) merging(o, p, il);
  if (!o->status) recall(o, p, il);
  if (il == 0) leave_out(o, il, "merge.down");
  if (il + 1 == model->hp.n_layer) leave_out(o, il, "merge.up");
}

enum tb_status tb_loss_proxy(struct tb_loss_table *t, struct tb_context *ctx, const tb_token *ids, uint32_t n,
                             struct tb_error *err) {
  const struct tb_model *m = ctx->model;
  struct proxy o = {.ctx = ctx, .table = t, .n = n, .err = err};
  struct tb_arena a = {0};
  o.n_at = n / 2 < POSITIONS ? n / 2 : POSITIONS;
  for (uint32_t i = 0; i < o.n_at; i++)
    o.at[i] = n / 2 + i * (n / 2) / o.n_at;
  carve(&o, &a);
  o.block = a.used == SIZE_MAX ? NULL : tb_alloc(&m->alloc, 1, a.used);
  if (!o.block) return tb_fail(err, TB_E_NOMEM, "calibrate: out of memory");
  a = (struct tb_arena){.base = o.block};
  carve(&o, &a);
  ctx->pass.observe = observe;
  ctx->pass.observer = &o;
  const enum tb_status status = tb_eval(ctx, ids, n, NULL, NULL, err);
  ctx->pass.observe = NULL;
  tb_free(&m->alloc, o.block);
  return o.status ? o.status : status;
}
