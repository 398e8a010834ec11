/* What merging needs to know of neighbouring layers: how their keys and values of the same token agree (cache/align.h).
 * Tensors of the upper layer of each pair: k.cross, v.cross, merge.cosine (cache/profile.h). */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "cache/align.h"
#include "core/calibrate.h"

/* ----------------------------------------------------------------------------------------------------------- memory */

/* Layers of another shape than the one below, or too wide, are left out. */
static bool paired(const struct tb_model *m, uint32_t il) {
  if (il == 0) return false;
  const struct tb_layer *a = &m->layers[il - 1], *b = &m->layers[il];
  return a->n_kv == b->n_kv && a->d_k == b->d_k && a->d_v == b->d_v && b->n_kv * b->d_k <= TB_CALIBRATE_JOINT &&
         b->n_kv * b->d_v <= TB_CALIBRATE_JOINT;
}

static size_t cross_values(const struct tb_layer *l, int side) {
  return (size_t)l->n_kv * l->n_kv * tb_align_map_floats(side == 1, side ? l->d_v : l->d_k);
}

void tb_pairs_carve(struct tb_arena *a, struct tb_calibration *c) {
  const struct tb_model *m = c->model;
  size_t widest = 0;
  for (uint32_t i = 0; i < m->hp.n_layer; i++) {
    const struct tb_layer *l = &m->layers[i];
    for (int side = 0; side < 2; side++) {
      const size_t wide = (size_t)l->n_kv * (side ? l->d_v : l->d_k);
      if (wide > widest) widest = wide;
      double *sums = paired(m, i) ? tb_carve(a, cross_values(l, side), sizeof *sums) : NULL;
      if (a->base) c->layers[i].cross[side] = sums;
    }
  }
  for (int i = 0; i < 4; i++)
    c->units[i / 2][i % 2] = tb_carve(a, c->n_batch * widest, sizeof(float));
}

/* --------------------------------------------------------------------------------------------------------- watching */

struct job {
  struct tb_calibration *c;
  const struct tb_pass *p;
  const struct tb_layer *l;
  uint32_t il;
};

/* Rows of every head to length 1. */
static void unit_task(void *arg, size_t token, unsigned thread) {
  (void)thread;
  const struct job *j = arg;
  for (int side = 0; side < 2; side++) {
    const uint32_t d = side ? j->l->d_v : j->l->d_k;
    const float *x = (side ? j->p->v : j->p->k) + token * j->l->n_kv * d;
    float *u = j->c->units[side][j->il & 1] + token * j->l->n_kv * d;
    for (uint32_t h = 0; h < j->l->n_kv; h++, x += d, u += d) {
      double sum = 0;
      for (uint32_t i = 0; i < d; i++)
        sum += (double)x[i] * x[i];
      const float scale = sum > 0 ? (float)(1 / sqrt(sum)) : 0;
      for (uint32_t i = 0; i < d; i++)
        u[i] = x[i] * scale;
    }
  }
}

/* Keys with RoPE: neighbouring layers' rotate alike, so their complex products are those before it. */
static void add_keys(const struct job *j, const float *u, const float *w, double *sum) {
  const struct tb_rope_table *t = j->p->rope;
  const uint32_t pairs = t->n_rot / 2, step = t->neox ? 1 : 2, apart = t->neox ? pairs : 1;
  for (uint32_t i = 0; i < pairs; i++) {
    const double ua = u[i * step], ub = u[i * step + apart], wa = w[i * step], wb = w[i * step + apart];
    sum[2 * i] += ua * wa + ub * wb;
    sum[2 * i + 1] += ub * wa - ua * wb;
  }
  for (uint32_t i = t->n_rot; i < j->l->d_k; i++)
    sum[i] += (double)u[i] * w[i];
}

static void add_values(const struct job *j, const float *u, const float *w, double *sum) {
  const uint32_t d = j->l->d_v;
  for (uint32_t r = 0; r < d; r++)
    for (uint32_t i = 0; i < d; i++)
      sum[r * d + i] += (double)u[r] * w[i];
}

/* One head of the lower layer with one of the upper, one side: every sum has one task. */
static void cross_task(void *arg, size_t task, unsigned thread) {
  (void)thread;
  const struct job *j = arg;
  const uint32_t n = j->l->n_kv;
  const size_t side = task / (n * n), pair = task % (n * n), d = side ? j->l->d_v : j->l->d_k, wide = n * d;
  const float *u = j->c->units[side][(j->il - 1) & 1] + pair / n * d, *w = j->c->units[side][j->il & 1] + pair % n * d;
  double *sum = j->c->layers[j->il].cross[side] + pair * tb_align_map_floats(side == 1, (uint32_t)d);
  for (uint32_t t = 0; t < j->p->n; t++, u += wide, w += wide)
    (side ? add_values : add_keys)(j, u, w, sum);
}

void tb_pairs_observe(struct tb_calibration *c, const struct tb_pass *p, uint32_t il) {
  struct job j = {c, p, &p->model->layers[il], il};
  tb_parallel_for(c->team, p->n, unit_task, &j);
  if (c->layers[il].cross[0]) tb_parallel_for(c->team, 2 * (size_t)j.l->n_kv * j.l->n_kv, cross_task, &j);
}

/* ---------------------------------------------------------------------------------------------------------- writing */

void tb_pairs_describe(const struct tb_calibration *c, uint32_t il, struct tb_gguf_writer *g) {
  const struct tb_layer *l = &c->model->layers[il];
  const uint64_t k[3] = {l->d_k, l->n_kv, l->n_kv}, v[4] = {l->d_v, l->d_v, l->n_kv, l->n_kv}, four = 4;
  char name[64];
  if (!c->layers[il].cross[0]) return;
  snprintf(name, sizeof name, "blk.%u.k.cross", il);
  tb_gguf_add_tensor(g, name, TB_FMT_f32, 3, k);
  snprintf(name, sizeof name, "blk.%u.v.cross", il);
  tb_gguf_add_tensor(g, name, TB_FMT_f32, 4, v);
  snprintf(name, sizeof name, "blk.%u.merge.cosine", il);
  tb_gguf_add_tensor(g, name, TB_FMT_f32, 1, &four);
}

/* The cosines of one side. */
static enum tb_status cosines(const struct tb_calibration *c, const struct tb_layer *l, int side, const float *cross,
                              float out[2], struct tb_error *err) {
  const struct tb_allocator *a = &c->model->alloc;
  const uint32_t d = side ? l->d_v : l->d_k;
  const struct tb_align problem = {
      .values = side == 1, .n = l->n_kv, .d = d, .rotated = side ? 0 : c->model->hp.rope.n_rot, .cross = cross};
  struct tb_align_map m = {.head = tb_alloc(a, l->n_kv, sizeof *m.head),
                           .map = tb_alloc(a, l->n_kv * tb_align_map_floats(side == 1, d), sizeof *m.map)};
  void *work = tb_alloc(a, tb_align_bytes(l->n_kv, d), 1);
  const bool ok = m.head && m.map && work;
  if (ok) {
    tb_align_solve(&problem, true, &m, work);
    out[0] = (float)m.untouched;
    out[1] = (float)m.cosine;
  }
  tb_free(a, work);
  tb_free(a, m.map);
  tb_free(a, m.head);
  return ok ? TB_OK : tb_fail(err, TB_E_NOMEM, "calibrate: out of memory");
}

enum tb_status tb_pairs_put(const struct tb_calibration *c, uint32_t il, struct tb_gguf_writer *g,
                            struct tb_error *err) {
  const struct tb_layer *l = &c->model->layers[il];
  float measured[4];
  enum tb_status status = TB_OK;
  for (int side = 0; !status && c->layers[il].cross[0] && side < 2; side++) {
    const size_t n = cross_values(l, side);
    float *out = tb_alloc(&c->model->alloc, n, sizeof *out);
    if (!out) return tb_fail(err, TB_E_NOMEM, "calibrate: out of memory");
    for (size_t i = 0; i < n; i++)
      out[i] = (float)(c->layers[il].cross[side][i] / (double)c->tokens);
    status = tb_gguf_writer_put(g, out, n * sizeof *out, err);
    if (!status) status = cosines(c, l, side, out, measured + 2 * side, err);
    tb_free(&c->model->alloc, out);
  }
  if (!status && c->layers[il].cross[0]) status = tb_gguf_writer_put(g, measured, sizeof measured, err);
  return status;
}
