/* Sums over what goes through the layers' attention. A pass's work on a layer is cut into tasks by what they add to, so
 * that no sum depends on the number of threads. */
#include <math.h>
#include "core/calibrate.h"

enum { CHANNELS = 64 }; /* channels of a task that looks at them one by one */

/* ------------------------------------------------------------------------------------------------------------- memory
 */

static struct tb_moment carve_moment(struct tb_arena *a, uint32_t d) {
  return (struct tb_moment){.d = d, .tiles = tb_carve(a, tb_moment_values(d), sizeof(double))};
}

static struct tb_range carve_range(struct tb_arena *a, uint32_t d, bool bounds) {
  struct tb_range r = {.sum = tb_carve(a, d, sizeof(double))};
  if (!bounds) return r;
  r.min = tb_carve(a, d, sizeof(float));
  r.max = tb_carve(a, d, sizeof(float));
  for (uint32_t i = 0; a->base && i < d; i++) {
    r.min[i] = INFINITY;
    r.max[i] = -INFINITY;
  }
  return r;
}

static struct tb_moment *carve_heads(struct tb_arena *a, uint32_t n, uint32_t d) {
  struct tb_moment *m = tb_carve(a, n, sizeof *m);
  for (uint32_t h = 0; h < n; h++) {
    struct tb_moment one = carve_moment(a, d);
    if (m) m[h] = one;
  }
  return m;
}

static void carve_layer(struct tb_arena *a, const struct tb_layer *l, uint32_t n_embd, struct tb_layer_sums *out) {
  const uint32_t dk = l->n_kv * l->d_k, dv = l->n_kv * l->d_v;
  *out = (struct tb_layer_sums){.k = carve_range(a, dk, true),
                                .kr = carve_range(a, dk, false),
                                .v = carve_range(a, dv, true),
                                .input = tb_carve(a, n_embd, sizeof(double)),
                                .k_joint = {.d = dk},
                                .v_joint = {.d = dv}};
  if (dk <= TB_CALIBRATE_JOINT) out->k_joint = carve_moment(a, dk);
  if (dv <= TB_CALIBRATE_JOINT) out->v_joint = carve_moment(a, dv);
  out->kr_heads = carve_heads(a, l->n_kv, l->d_k);
  out->q_heads = carve_heads(a, l->n_kv, l->d_k);
}

static void carve(struct tb_calibration *c, struct tb_arena *a) {
  const struct tb_model *m = c->model;
  size_t widest = 0;
  c->layers = tb_carve(a, m->hp.n_layer, sizeof *c->layers);
  for (uint32_t i = 0; i < m->hp.n_layer; i++) {
    const struct tb_layer *l = &m->layers[i];
    struct tb_layer_sums sums;
    carve_layer(a, l, m->hp.n_embd, &sums);
    if (c->layers) c->layers[i] = sums;
    if ((size_t)l->n_kv * l->d_k > widest) widest = (size_t)l->n_kv * l->d_k;
  }
  tb_pairs_carve(a, c);
  c->keys = tb_carve(a, c->n_batch * widest, sizeof *c->keys);
  c->scratch_floats = tb_round_up(tb_moment_scratch(c->n_batch), TB_ALIGN / sizeof(float));
  c->scratch = tb_carve(a, tb_team_threads(c->team) * c->scratch_floats, sizeof *c->scratch);
}

enum tb_status tb_calibration_create(struct tb_calibration *c, const struct tb_model *model, struct tb_team *team,
                                     uint32_t n_batch, struct tb_error *err) {
  *c = (struct tb_calibration){.model = model, .team = team, .n_batch = n_batch};
  struct tb_arena a = {0};
  carve(c, &a);
  c->block = a.used == SIZE_MAX ? NULL : tb_calloc(&model->alloc, 1, a.used);
  if (!c->block) return tb_fail(err, TB_E_NOMEM, "calibrate: cannot allocate %.1f MiB", (double)a.used / 0x1p20);
  a = (struct tb_arena){.base = c->block};
  carve(c, &a);
  return TB_OK;
}

void tb_calibration_free(struct tb_calibration *c) {
  if (c->block) tb_free(&c->model->alloc, c->block);
  c->block = NULL;
}

/* ----------------------------------------------------------------------------------------------------------- watching
 */

struct job {
  struct tb_calibration *c;
  const struct tb_pass *p;
  const struct tb_layer *l;
  struct tb_layer_sums *sums;
};

/* One head's key back from its rotation: by the inverse of the angle, and of YaRN's magnitude cos² + sin². */
static void unrotate(const struct tb_rope_table *t, uint32_t pos, float *x) {
  const uint32_t pairs = t->n_rot / 2, step = t->neox ? 1 : 2, apart = t->neox ? pairs : 1;
  const float *cos_row = t->cos + (size_t)pos * pairs, *sin_row = t->sin + (size_t)pos * pairs;
  for (uint32_t i = 0; i < pairs; i++) {
    const float c = cos_row[i], s = sin_row[i], norm = c * c + s * s;
    const float a = x[i * step], b = x[i * step + apart];
    x[i * step] = (a * c + b * s) / norm;
    x[i * step + apart] = (b * c - a * s) / norm;
  }
}

static void unrotate_task(void *arg, size_t token, unsigned thread) {
  (void)thread;
  const struct job *j = arg;
  const size_t d = (size_t)j->l->n_kv * j->l->d_k;
  float *out = j->c->keys + token * d;
  for (size_t i = 0; i < d; i++)
    out[i] = j->p->k[token * d + i];
  for (uint32_t h = 0; h < j->l->n_kv; h++)
    unrotate(j->p->rope, j->p->pos + (uint32_t)token, out + h * j->l->d_k);
}

/* The parts of a layer's work, in the order of their tasks. */
enum part { K_JOINT, V_JOINT, HEADS, KEYS, VALUES, INPUT, PARTS };

static uint32_t pieces(size_t channels) {
  return (uint32_t)((channels + CHANNELS - 1) / CHANNELS);
}

static uint32_t part_tasks(const struct job *j, enum part part) {
  const struct tb_layer *l = j->l;
  switch (part) {
  case K_JOINT:
    return j->sums->k_joint.tiles ? tb_moment_rows(j->sums->k_joint.d) : 0;
  case V_JOINT:
    return j->sums->v_joint.tiles ? tb_moment_rows(j->sums->v_joint.d) : 0;
  case HEADS:
    return l->n_kv * tb_moment_rows(l->d_k);
  case KEYS:
    return pieces((size_t)l->n_kv * l->d_k);
  case VALUES:
    return pieces((size_t)l->n_kv * l->d_v);
  case INPUT:
    return pieces(j->p->model->hp.n_embd);
  case PARTS:
    break;
  }
  return 0;
}

/* Keys of a head with RoPE, and the queries that meet them. */
static void add_heads(const struct job *j, uint32_t task, float *scratch) {
  const struct tb_layer *l = j->l;
  const struct tb_kernels *kernels = &j->p->model->kernels;
  const uint32_t rows = tb_moment_rows(l->d_k), head = task / rows, row = task % rows, group = l->n_head / l->n_kv;
  tb_moment_add(&j->sums->kr_heads[head], kernels, row, j->p->k + head * l->d_k, (size_t)l->n_kv * l->d_k, j->p->n,
                scratch);
  for (uint32_t g = 0; g < group; g++)
    tb_moment_add(&j->sums->q_heads[head], kernels, row, j->p->q + (head * group + g) * l->d_k,
                  (size_t)l->n_head * l->d_k, j->p->n, scratch);
}

static void add_channels(const struct job *j, enum part part, uint32_t task) {
  const struct tb_layer *l = j->l;
  const struct tb_pass *p = j->p;
  const uint32_t width = part == KEYS ? l->n_kv * l->d_k : part == VALUES ? l->n_kv * l->d_v : p->model->hp.n_embd;
  const uint32_t first = task * CHANNELS, end = first + CHANNELS < width ? first + CHANNELS : width;
  if (part == INPUT) {
    tb_abs_add(j->sums->input, first, end, p->act.f, width, p->n);
  } else if (part == VALUES) {
    tb_range_add(&j->sums->v, first, end, p->v, width, p->n);
  } else {
    tb_range_add(&j->sums->k, first, end, j->c->keys, width, p->n);
    tb_range_add(&j->sums->kr, first, end, p->k, width, p->n);
  }
}

/* Rows of tiles get longer: the long ones begin. */
static void add_joint(struct tb_moment *m, const struct job *j, uint32_t task, const float *x, float *scratch) {
  tb_moment_add(m, &j->p->model->kernels, tb_moment_rows(m->d) - 1 - task, x, m->d, j->p->n, scratch);
}

static void observe_task(void *arg, size_t at, unsigned thread) {
  const struct job *j = arg;
  float *scratch = j->c->scratch + thread * j->c->scratch_floats;
  uint32_t task = (uint32_t)at;
  enum part part = K_JOINT;
  for (; task >= part_tasks(j, part); part++)
    task -= part_tasks(j, part);
  if (part == K_JOINT)
    add_joint(&j->sums->k_joint, j, task, j->c->keys, scratch);
  else if (part == V_JOINT)
    add_joint(&j->sums->v_joint, j, task, j->p->v, scratch);
  else if (part == HEADS)
    add_heads(j, task, scratch);
  else
    add_channels(j, part, task);
}

void tb_calibration_observe(void *user, const struct tb_pass *p, uint32_t il) {
  struct tb_calibration *c = user;
  struct job j = {.c = c, .p = p, .l = &p->model->layers[il], .sums = &c->layers[il]};
  size_t tasks = 0;
  for (enum part part = K_JOINT; part < PARTS; part++)
    tasks += part_tasks(&j, part);
  tb_parallel_for(c->team, p->n, unrotate_task, &j);
  tb_parallel_for(c->team, tasks, observe_task, &j);
  tb_pairs_observe(c, p, il);
  if (il == 0) c->tokens += p->n;
}
