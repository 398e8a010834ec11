/* What each side of each layer does to the next token when it alone is coarse, at the price of SHARE runs of the text
 * however many layers there are.
 *
 * A run with layer l coarse is an exact run up to what goes into l, so it begins there: over all layers that saves
 * half. And each layer walks a part of every stretch only, as long as the price allows, behind keys and values that an
 * exact run left. What the walk itself has written is read by its later tokens, so that an early layer's errors reach
 * the later layers' keys and values as they do when all of the text is run.
 *
 * Parts of a text differ in how much they mind, and a part's share in what a layer shows: divergence in a cell (a batch
 * of one stretch) is taken to be effect(layer, side) · weight(cell), weights averaging 1. Both are fitted by turns,
 * each so that its sums come out right (the maximum likelihood of counts that are Poisson). */
#include <math.h>
#include <string.h>
#include "base/arena.h"
#include "core/calibrate_runs.h"

enum { SHARE = 5, ROUNDS = 30 };

/* Tokens that a layer walks in a stretch, whole batches: Σ over layers of 2·(n_layer - l)/n_layer, and f16 throughout
 * once, make n_layer + 2 of them. */
static uint32_t walk_length(const struct tb_model *m, uint32_t n, uint32_t first) {
  uint32_t batches = SHARE * n / (m->hp.n_layer + 2) / TB_RUN_BATCH,
           most = (n - first + TB_RUN_BATCH - 1) / TB_RUN_BATCH;
  if (batches >= most) return n - first;
  return (batches ? batches : 1) * TB_RUN_BATCH;
}

size_t tb_runs_effects_work(const struct tb_model *m, uint32_t n, uint32_t first) {
  return n + (size_t)walk_length(m, n, first) * (m->hp.n_layer + 2);
}

struct effects {
  struct tb_runs *r;
  struct tb_runs_trace *traces; /* [stretch] */
  unsigned char *block;         /* owned: all that is pointed to here */
  uint32_t n_rows;              /* 2·n_layer, and one for f16 */
  uint32_t n_cells;
  double *sum;     /* [row][cell]: divergences */
  uint32_t *looks; /* [row][cell] */
  double *weight;  /* [cell] */
  double *effect;  /* [row] */
  uint32_t row;    /* at hand */
};

/* ------------------------------------------------------------------------------------------------------------- memory
 */

static void carve_trace(const struct tb_model *m, uint32_t n, uint32_t length, struct tb_arena *a,
                        struct tb_runs_trace *t) {
  const uint32_t n_layer = m->hp.n_layer;
  t->length = length;
  t->start = tb_carve(a, n_layer, sizeof *t->start);
  t->x = tb_carve(a, n_layer, sizeof *t->x);
  t->seen.k = tb_carve(a, n_layer, sizeof *t->seen.k);
  t->seen.v = tb_carve(a, n_layer, sizeof *t->seen.v);
  for (uint32_t i = 0; i < n_layer; i++) {
    const struct tb_layer *l = &m->layers[i];
    float *x = tb_carve(a, (size_t)length * m->hp.n_embd, sizeof *x);
    float *k = tb_carve(a, (size_t)n * l->n_kv * l->d_k, sizeof *k);
    float *v = tb_carve(a, (size_t)n * l->n_kv * l->d_v, sizeof *v);
    if (!a->base) continue;
    t->x[i] = x;
    t->seen.k[i] = k;
    t->seen.v[i] = v;
  }
}

size_t tb_runs_effects_bytes(const struct tb_model *m, uint32_t n, uint32_t first) {
  struct tb_arena a = {0};
  struct tb_runs_trace t;
  carve_trace(m, n, walk_length(m, n, first), &a, &t);
  return a.used;
}

static void carve(struct effects *e, struct tb_arena *a) {
  const struct tb_runs *r = e->r;
  e->traces = tb_carve(a, r->stretches, sizeof *e->traces);
  e->sum = tb_carve(a, (size_t)e->n_rows * e->n_cells, sizeof *e->sum);
  e->looks = tb_carve(a, (size_t)e->n_rows * e->n_cells, sizeof *e->looks);
  e->weight = tb_carve(a, e->n_cells, sizeof *e->weight);
  e->effect = tb_carve(a, e->n_rows, sizeof *e->effect);
  for (uint32_t i = 0; i < r->stretches; i++) {
    struct tb_runs_trace unused;
    carve_trace(r->model, r->n, walk_length(r->model, r->n, r->first), a, a->base ? &e->traces[i] : &unused);
  }
}

/* --------------------------------------------------------------------------------------------------------- measuring
 */

static uint32_t batches_of(const struct tb_runs *r) {
  return (r->n - r->first + TB_RUN_BATCH - 1) / TB_RUN_BATCH;
}

/* Layers begin all over the stretch, and elsewhere in the next one: multiples of the golden ratio, modulo 1, lie evenly
 * however many there are. */
static void place(const struct tb_runs *r, uint32_t i, struct tb_runs_trace *t) {
  const uint32_t slots = (r->n - r->first - t->length) / TB_RUN_BATCH + 1, n_layer = r->model->hp.n_layer;
  for (uint32_t il = 0; il < n_layer; il++)
    t->start[il] = r->first + TB_RUN_BATCH * (uint32_t)(fmod((il + i * n_layer) * 0.6180339887498949, 1) * slots);
}

static enum tb_status run_exact(struct effects *e) {
  struct tb_context *ctx = NULL;
  tb_runs_types(e->r, "f32", "f32");
  enum tb_status status = tb_runs_open(e->r, &ctx);
  for (uint32_t i = 0; !status && i < e->r->stretches; i++) {
    place(e->r, i, &e->traces[i]);
    status = tb_runs_exact(e->r, ctx, i, &e->traces[i]);
  }
  tb_context_free(ctx);
  return status;
}

static void add(void *user, const struct tb_runs *r) {
  struct effects *e = user;
  const uint32_t behind = r->n - r->first, i = r->at / behind;
  const size_t cell = (size_t)e->row * e->n_cells + i * batches_of(r) + (r->at - i * behind) / TB_RUN_BATCH;
  e->sum[cell] += r->sum;
  e->looks[cell] += r->looks;
}

/* The row's walks, with the types that are set. */
static enum tb_status walk_row(struct effects *e, uint32_t row, uint32_t layer) {
  struct tb_context *ctx = NULL;
  enum tb_status status = tb_runs_open(e->r, &ctx);
  e->row = row;
  for (uint32_t i = 0; !status && i < e->r->stretches; i++)
    status = tb_runs_walk(e->r, ctx, i, layer, &e->traces[i], add, e);
  tb_context_free(ctx);
  return status;
}

static enum tb_status walk(struct effects *e, const char *const *coarse) {
  const uint32_t n_layer = e->r->model->hp.n_layer;
  enum tb_status status = TB_OK;
  for (uint32_t row = 0; !status && row < 2 * n_layer; row++) {
    if (!coarse[row]) continue;
    tb_runs_types(e->r, "f32", "f32");
    tb_runs_side(e->r, row / 2, (enum tb_side)(row % 2), coarse[row]);
    status = walk_row(e, row, row / 2);
  }
  tb_runs_types(e->r, "f16", "f16");
  return status ? status : walk_row(e, 2 * n_layer, 0);
}

/* ------------------------------------------------------------------------------------------------------------ the fit
 */

static void fit_effects(struct effects *e) {
  for (uint32_t row = 0; row < e->n_rows; row++) {
    const double *sum = e->sum + (size_t)row * e->n_cells;
    const uint32_t *looks = e->looks + (size_t)row * e->n_cells;
    double total = 0, weight = 0;
    for (uint32_t c = 0; c < e->n_cells; c++) {
      total += sum[c];
      weight += looks[c] * e->weight[c];
    }
    e->effect[row] = weight > 0 ? total / weight : 0;
  }
}

static void fit_weights(struct effects *e) {
  double mean = 0;
  uint32_t seen = 0;
  for (uint32_t c = 0; c < e->n_cells; c++) {
    double total = 0, expected = 0;
    for (uint32_t row = 0; row < e->n_rows; row++) {
      total += e->sum[(size_t)row * e->n_cells + c];
      expected += e->looks[(size_t)row * e->n_cells + c] * e->effect[row];
    }
    e->weight[c] = expected > 0 ? total / expected : 0;
    if (expected <= 0) continue;
    mean += e->weight[c];
    seen++;
  }
  for (uint32_t c = 0; mean > 0 && c < e->n_cells; c++)
    e->weight[c] *= seen / mean;
}

static void fit(struct effects *e) {
  for (uint32_t c = 0; c < e->n_cells; c++)
    e->weight[c] = 1;
  fit_effects(e);
  for (int round = 0; round < ROUNDS; round++) {
    fit_weights(e);
    fit_effects(e);
  }
}

enum tb_status tb_runs_effects(struct tb_runs *r, const char *const *coarse, double *effects) {
  struct effects e = {.r = r, .n_rows = 2 * r->model->hp.n_layer + 1, .n_cells = r->stretches * batches_of(r)};
  struct tb_arena a = {0};
  carve(&e, &a);
  e.block = a.used == SIZE_MAX ? NULL : tb_calloc(&r->model->alloc, 1, a.used);
  if (!e.block) return tb_fail(r->err, TB_E_NOMEM, "calibrate: out of memory");
  a = (struct tb_arena){.base = e.block};
  carve(&e, &a);
  enum tb_status status = run_exact(&e);
  if (!status) status = walk(&e, coarse);
  if (!status) fit(&e);
  const double floor = e.effect[e.n_rows - 1];
  for (uint32_t row = 0; !status && row < e.n_rows - 1; row++)
    effects[row] = fmax(e.effect[row] - floor, 0);
  if (!status) effects[e.n_rows - 1] = floor;
  tb_free(&r->model->alloc, e.block);
  return status;
}
