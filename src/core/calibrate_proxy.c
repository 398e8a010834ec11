/* What a cache type does to the attention's output of one layer:
 *
 *   error(layer, side, type)   mean over positions of |Wₒ·(ô - o)|²: what the layer then adds to the residual stream is
 * wrong by. One pass over a stretch of text; each type in turn keeps one side of each layer's cache. */
#include "cache/plan/loss.h"
#include "cache/plan/measure.h"
#include "core/calibrate.h"

enum {
  POSITIONS = 192, /* where outputs are looked at, in the second half */
  SINKS = 5,
};

struct proxy {
  struct tb_context *ctx;
  struct tb_loss_table *table;
  uint32_t at[POSITIONS], n_at;
  float *exact, *out; /* n_at × widest attention output */
  float *y;           /* n_at × n_embd */
  enum tb_status status;
  struct tb_error *err;
};

/* Mean of |Wo·(out - exact)|². */
static double error_of(struct proxy *o, const struct tb_pass *p, const struct tb_layer *l) {
  const size_t width = (size_t)l->n_head * l->d_v;
  struct tb_pass pass = *p; /* its buffer is free at this point: the attention's output will be there */
  pass.n = o->n_at;
  pass.act.k = width;
  pass.in = &pass.act;
  for (size_t i = 0; i < o->n_at * width; i++)
    pass.act.f[i] = o->out[i] - o->exact[i];
  tb_act_quantize(&pass, &pass.act);
  tb_op_head(&pass, &l->wo, 0, o->n_at, o->y);
  double sum = 0;
  for (size_t i = 0; i < (size_t)o->n_at * p->model->hp.n_embd; i++)
    sum += (double)o->y[i] * o->y[i];
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
                               .sinks = SINKS};
  if (o->status) return;
  o->status = tb_measure_output(&m, TB_SIDE_K, "f32", &model->kernels, p->team, &model->alloc, o->exact, o->err);
  for (size_t t = 0; !o->status && t < o->table->n_types; t++)
    for (int side = 0; !o->status && side < 2; side++) {
      double *loss = tb_loss_slot(o->table, il, t, (enum tb_side)side);
      if (!tb_measure_fits(&m, (enum tb_side)side, tb_loss_type(t))) {
        *loss = -1;
        continue;
      }
      o->status = tb_measure_output(&m, (enum tb_side)side, tb_loss_type(t), &model->kernels, p->team, &model->alloc,
                                    o->out, o->err);
      if (!o->status) *loss += error_of(o, p, &model->layers[il]);
    }
}

enum tb_status tb_loss_proxy(struct tb_loss_table *t, struct tb_context *ctx, const tb_token *ids, uint32_t n,
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
