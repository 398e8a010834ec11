/* What policies make of a layer's rows, by caches in f32 that use them. */
#include <string.h>
#include "cache/plan/measure.h"
#include "cache/policy/plain.h"

enum {
  STEP = TB_ATTN_BLOCK, /* tokens appended at once */
  CLUSTER = 16,         /* tokens, as with the budgets of the contexts that recall is for */
};

static struct tb_cache_config config_of(const struct tb_measure *m, const struct tb_plan_layer *lines, uint32_t n_layer,
                                        struct tb_team *team) {
  return (struct tb_cache_config){.n_layer = n_layer,
                                  .shapes = m->shape,
                                  .plan = lines,
                                  .n_ctx = (uint32_t)tb_round_up(m->n, TB_ATTN_BLOCK),
                                  .n_batch = STEP,
                                  .n_threads = team ? tb_team_threads(team) : 1};
}

/* A cache, and room for a step's rows of one layer. */
struct filling {
  struct tb_cache *cache;
  float *k, *v;
};

static enum tb_status open_cache(struct filling *f, const struct tb_measure *m, const struct tb_cache_config *c,
                                 const struct tb_kernels *kernels, struct tb_team *team, const struct tb_allocator *a,
                                 struct tb_error *err) {
  const struct tb_kv_shape *s = m->shape;
  f->k = tb_alloc(a, STEP * (size_t)s->n_kv * s->d_k, sizeof *f->k);
  f->v = tb_alloc(a, STEP * (size_t)s->n_kv * s->d_v, sizeof *f->v);
  if (!f->k || !f->v) return tb_fail(err, TB_E_NOMEM, "measure: out of memory");
  return tb_cache_create(&f->cache, c, kernels, team, a, err);
}

static void close_cache(struct filling *f, const struct tb_allocator *a) {
  tb_cache_free(f->cache);
  tb_free(a, f->k);
  tb_free(a, f->v);
}

/* Rows of the step's n tokens, those behind the text zero: appending overwrites them. */
static void load(const struct tb_measure *m, uint32_t pos, uint32_t n, float *out, const float *x, size_t width) {
  const uint32_t there = pos + n <= m->n ? n : pos < m->n ? m->n - pos : 0;
  memcpy(out, x + pos * width, there * width * sizeof *out);
  memset(out + there * width, 0, (n - there) * width * sizeof *out);
}

/* The step's tokens of the layers' texts, attended to nowhere but where `q` asks (one layer). */
static void step(struct filling *f, const struct tb_measure *m, uint32_t n_layer, uint32_t n, const float *q,
                 float *out) {
  const struct tb_kv_shape *s = m->shape;
  const uint32_t pos = tb_cache_length(f->cache);
  tb_cache_step(f->cache, n);
  for (uint32_t i = 0; i < n_layer; i++) {
    load(&m[i], pos, n, f->k, m[i].k, (size_t)s->n_kv * s->d_k);
    load(&m[i], pos, n, f->v, m[i].v, (size_t)s->n_kv * s->d_v);
    tb_cache_append(f->cache, i, f->k, f->v);
    tb_cache_attend(f->cache, i, q, out);
  }
}

/* ------------------------------------------------------------------------------------------------------------- merging
 */

static void merge_lines(struct tb_plan_layer lines[2]) {
  for (uint32_t i = 0; i < 2; i++)
    lines[i] = (struct tb_plan_layer){
        .type_k = "f32",
        .type_v = "f32",
        .merge = {.with = i ? TB_MERGE_DOWN : TB_MERGE_UP, .retain = TB_MERGE_RETAIN, .cosine = 0}};
}

bool tb_measure_merges(const struct tb_measure m[2]) {
  struct tb_plan_layer lines[2];
  merge_lines(lines);
  const struct tb_cache_config c = config_of(m, lines, 2, NULL);
  return m[1].shape == m[0].shape + 1 && m[1].n == m[0].n && tb_cache_check(&c, NULL) == TB_OK;
}

static enum tb_status measure_side(const struct tb_measure *m, enum tb_side side, const struct tb_plain_side *s,
                                   const struct tb_kernels *kernels, struct tb_team *team, const struct tb_allocator *a,
                                   float *out, struct tb_error *err) {
  const uint32_t n_kv = m->shape->n_kv, d = s->main.config.d;
  const size_t width = (size_t)n_kv * d;
  void *scratch = tb_alloc(a, 1, TB_STORE_SCRATCH);
  float *rows = tb_alloc(a, m->n * width, sizeof *rows);
  enum tb_status status = scratch && rows ? TB_OK : tb_fail(err, TB_E_NOMEM, "measure: out of memory");
  for (uint32_t head = 0; !status && head < n_kv; head++)
    for (uint32_t pos = 0; pos < m->n; pos += STEP)
      tb_plain_rows(s, head, pos, m->n - pos < STEP ? m->n - pos : STEP, rows + pos * width + (size_t)head * d, width,
                    scratch);
  if (!status) status = tb_measure_rows(m, side, &s->main, rows, kernels, team, a, out, err);
  tb_free(a, rows);
  tb_free(a, scratch);
  return status;
}

enum tb_status tb_measure_merged(const struct tb_measure m[2], const struct tb_kernels *kernels, struct tb_team *team,
                                 const struct tb_allocator *a, float *const out[2][2], struct tb_error *err) {
  struct tb_plan_layer lines[2];
  struct filling f = {0};
  merge_lines(lines);
  const struct tb_cache_config c = config_of(m, lines, 2, team);
  enum tb_status status = open_cache(&f, m, &c, kernels, team, a, err);
  while (!status && tb_cache_length(f.cache) < c.n_ctx)
    step(&f, m, 2, STEP, NULL, NULL);
  for (uint32_t i = 0; !status && i < 2; i++) {
    const struct tb_plain *p = (const struct tb_plain *)(const void *)tb_cache_policy(f.cache, i);
    status = measure_side(&m[i], TB_SIDE_K, &p->k, kernels, team, a, out[i][TB_SIDE_K], err);
    if (!status) status = measure_side(&m[i], TB_SIDE_V, &p->v, kernels, team, a, out[i][TB_SIDE_V], err);
  }
  close_cache(&f, a);
  return status;
}

/* -------------------------------------------------------------------------------------------------------------- recall
 */

static struct tb_plan_layer recall_line(const struct tb_measure *m, uint32_t budget) {
  return (struct tb_plan_layer){
      .type_k = "f32", .type_v = "f32", .window = m->window, .sinks = m->sinks, .recall = budget, .cluster = CLUSTER};
}

bool tb_measure_recalls(const struct tb_measure *m, uint32_t budget) {
  const struct tb_plan_layer line = recall_line(m, budget);
  const struct tb_cache_config c = config_of(m, &line, 1, NULL);
  return budget > 0 && tb_cache_check(&c, NULL) == TB_OK;
}

enum tb_status tb_measure_recalled(const struct tb_measure *m, uint32_t budget, const struct tb_kernels *kernels,
                                   struct tb_team *team, const struct tb_allocator *a, float *out,
                                   struct tb_error *err) {
  const struct tb_kv_shape *s = m->shape;
  const size_t q_width = (size_t)s->n_head * s->d_k, o_width = (size_t)s->n_head * s->d_v;
  const struct tb_plan_layer line = recall_line(m, budget);
  const struct tb_cache_config c = config_of(m, &line, 1, team);
  struct filling f = {0};
  enum tb_status status = open_cache(&f, m, &c, kernels, team, a, err);
  for (uint32_t i = 0; !status && i < m->n_at; i++) {
    uint32_t before;
    while ((before = m->at[i] - tb_cache_length(f.cache)) > 0)
      step(&f, m, 1, before < STEP ? before : STEP, NULL, NULL);
    step(&f, m, 1, 1, m->q + m->at[i] * q_width, out + i * o_width);
  }
  close_cache(&f, a);
  return status;
}
