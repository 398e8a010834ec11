#include "cache/plan/measure.h"

#include <math.h>
#include <string.h>
#include "base/arena.h"

struct job {
  const struct tb_measure *m;
  const struct tb_kernels *kernels;
  struct tb_store store;
  enum tb_side side;
  const float *given; /* rows of the side, or NULL: the store's */
  uint32_t encoded;   /* tokens sinks … sinks+encoded-1 go through the store */
  unsigned char *block;
  size_t per_thread;
  float *out;
};

/* What a thread works with: the rows of one KV head. */
struct head {
  void *scratch;
  float *k, *v;     /* exact: n × d */
  float *kept;      /* the store's side again, as the store gives it back */
  float *q, *s, *o; /* queries, weights and outputs of one position's group */
  float *part;      /* n weights: those of kept rows, or scores against them */
};

static uint32_t group_of(const struct tb_kv_shape *s) {
  return s->n_head / s->n_kv;
}

static struct head carve_head(const struct tb_measure *m, unsigned char *base, size_t *bytes) {
  const struct tb_kv_shape *s = m->shape;
  const uint32_t group = group_of(s), d = s->d_k > s->d_v ? s->d_k : s->d_v;
  struct tb_arena a = {.base = base};
  struct head h;
  h.scratch = tb_carve(&a, TB_STORE_SCRATCH, 1);
  h.k = tb_carve(&a, (size_t)m->n * s->d_k, sizeof(float));
  h.v = tb_carve(&a, (size_t)m->n * s->d_v, sizeof(float));
  h.kept = tb_carve(&a, (size_t)m->n * d, sizeof(float));
  h.q = tb_carve(&a, (size_t)group * s->d_k, sizeof(float));
  h.s = tb_carve(&a, (size_t)group * m->n, sizeof(float));
  h.o = tb_carve(&a, (size_t)group * s->d_v, sizeof(float));
  h.part = tb_carve(&a, (size_t)group * m->n, sizeof(float));
  *bytes = a.used;
  return h;
}

static struct tb_store_config config_of(const struct tb_measure *m, enum tb_side side, const char *type) {
  const struct tb_kv_shape *s = m->shape;
  const struct tb_store_ops *ops = tb_store_find(type);
  const uint32_t granule = ops ? ops->granule : 1;
  const char *args = strchr(type, ':');
  return (struct tb_store_config){.side = side,
                                  .n_heads = s->n_kv,
                                  .d = side == TB_SIDE_K ? s->d_k : s->d_v,
                                  .cap = (uint32_t)tb_round_up(m->n, granule),
                                  .layer = s->layer,
                                  .profile = s->profile,
                                  .rope = side == TB_SIDE_K ? s->rope : NULL,
                                  .args = args ? args + 1 : NULL};
}

bool tb_measure_fits(const struct tb_measure *m, enum tb_side side, const char *type) {
  const struct tb_store_ops *ops = tb_store_find(type);
  const struct tb_store_config c = config_of(m, side, type);
  return ops && !ops->joint && ops->check(&c, NULL) == TB_OK;
}

/* Rows of a head into h->k and h->v, those of the measured side in the store's basis; then what the store keeps. */
static void load(struct job *j, uint32_t head, const struct head *h) {
  const struct tb_kv_shape *s = j->m->shape;
  for (uint32_t i = 0; i < j->m->n; i++) {
    memcpy(h->k + (size_t)i * s->d_k, j->m->k + ((size_t)i * s->n_kv + head) * s->d_k, s->d_k * sizeof(float));
    memcpy(h->v + (size_t)i * s->d_v, j->m->v + ((size_t)i * s->n_kv + head) * s->d_v, s->d_v * sizeof(float));
  }
  if (j->given) {
    const uint32_t width = j->side == TB_SIDE_K ? s->d_k : s->d_v;
    for (uint32_t i = 0; i < j->m->n; i++)
      memcpy(h->kept + (size_t)i * width, j->given + ((size_t)i * s->n_kv + head) * width, width * sizeof(float));
    return;
  }
  const uint32_t d = j->store.config.d, first = j->store.ops->granule > 1 ? j->m->sinks : 0;
  float *exact = j->side == TB_SIDE_K ? h->k : h->v;
  if (j->store.ops->turn) j->store.ops->turn(&j->store, head, j->m->n, exact, d, h->scratch);
  memcpy(h->kept, exact, (size_t)j->m->n * d * sizeof(float));
  if (j->encoded == 0) return;
  j->store.ops->encode(&j->store, head, 0, j->encoded, first, exact + (size_t)first * d, d, h->scratch);
  j->store.ops->expand(&j->store, head, 0, j->encoded, first, h->kept + (size_t)first * d, d, h->scratch);
}

/* Tokens of which a query at p sees the kept form: [*lo, *hi). Those before and after are exact. */
static void kept_range(const struct job *j, uint32_t p, uint32_t *lo, uint32_t *hi) {
  const bool block = !j->given && j->store.ops->granule > 1;
  *lo = block ? j->m->sinks : 0;
  *hi = p + 1;
  if (block) *hi = *hi > j->m->window ? *hi - j->m->window : 0;
  if (*hi > *lo + j->encoded) *hi = *lo + j->encoded;
  if (*hi < *lo) *hi = *lo;
}

/* Scores, exact and kept rows mixed, then weights that sum to 1; [from, p] is what is seen. */
static void weigh(const struct job *j, const struct head *h, uint32_t p, uint32_t from) {
  const struct tb_kv_shape *s = j->m->shape;
  const uint32_t group = group_of(s), n = j->m->n;
  uint32_t lo, hi;
  kept_range(j, p, &lo, &hi);
  j->kernels->tile_qk(h->s, n, h->q, s->d_k, group, h->k, s->d_k, p + 1, s->d_k);
  if (j->side == TB_SIDE_K && hi > lo) {
    j->kernels->tile_qk(h->part, n, h->q, s->d_k, group, h->kept + (size_t)lo * s->d_k, s->d_k, hi - lo, s->d_k);
    for (uint32_t g = 0; g < group; g++)
      memcpy(h->s + (size_t)g * n + lo, h->part + (size_t)g * n, (hi - lo) * sizeof(float));
  }
  for (uint32_t g = 0; g < group; g++) {
    float *w = h->s + (size_t)g * n;
    const float sum = j->kernels->attn_exp(w + from, p + 1 - from, j->kernels->attn_max(w + from, p + 1 - from));
    for (uint32_t i = 0; i <= p; i++)
      w[i] = i < from ? 0 : w[i] / sum;
  }
}

static void mix(const struct job *j, const struct head *h, uint32_t p) {
  const struct tb_kv_shape *s = j->m->shape;
  const uint32_t group = group_of(s), n = j->m->n;
  uint32_t lo, hi;
  kept_range(j, p, &lo, &hi);
  memset(h->o, 0, (size_t)group * s->d_v * sizeof(float));
  if (j->side == TB_SIDE_V && hi > lo) {
    j->kernels->tile_pv(h->o, s->d_v, h->s + lo, n, group, h->kept + (size_t)lo * s->d_v, s->d_v, hi - lo, s->d_v);
    for (uint32_t g = 0; g < group; g++)
      memset(h->s + (size_t)g * n + lo, 0, (hi - lo) * sizeof(float));
  }
  j->kernels->tile_pv(h->o, s->d_v, h->s, n, group, h->v, s->d_v, p + 1, s->d_v);
}

static void head_task(void *arg, size_t head, unsigned thread) {
  struct job *j = arg;
  const struct tb_kv_shape *s = j->m->shape;
  const struct tb_store_ops *ops = j->store.ops;
  const uint32_t group = group_of(s);
  size_t unused;
  const struct head h = carve_head(j->m, j->block + thread * j->per_thread, &unused);
  load(j, (uint32_t)head, &h);
  for (uint32_t i = 0; i < j->m->n_at; i++) {
    const uint32_t p = j->m->at[i], from = s->sliding && p + 1 > s->sliding ? p + 1 - s->sliding : 0;
    const float *q = j->m->q + ((size_t)p * s->n_head + head * group) * s->d_k;
    for (size_t c = 0; c < (size_t)group * s->d_k; c++)
      h.q[c] = q[c] * s->scale;
    if (j->side == TB_SIDE_K && ops->turn_query)
      ops->turn_query(&j->store, (uint32_t)head, group, h.q, s->d_k, h.scratch);
    weigh(j, &h, p, from);
    mix(j, &h, p);
    if (j->side == TB_SIDE_V && ops->turn_output)
      ops->turn_output(&j->store, (uint32_t)head, group, h.o, s->d_v, h.scratch);
    memcpy(j->out + ((size_t)i * s->n_head + head * group) * s->d_v, h.o, (size_t)group * s->d_v * sizeof(float));
  }
}

enum tb_status tb_measure_output(const struct tb_measure *m, enum tb_side side, const char *type,
                                 const struct tb_kernels *kernels, struct tb_team *team, const struct tb_allocator *a,
                                 float *out, struct tb_error *err) {
  struct job j = {.m = m,
                  .kernels = kernels,
                  .store = {.ops = tb_store_find(type), .config = config_of(m, side, type), .kernels = kernels},
                  .side = side,
                  .out = out};
  const struct tb_store_ops *ops = j.store.ops;
  const uint32_t left = ops->granule == 1 ? m->n : m->n > m->sinks ? m->n - m->sinks : 0;
  j.encoded = left / ops->granule * ops->granule;
  carve_head(m, NULL, &j.per_thread);
  j.store.mem = tb_calloc(a, 1, ops->bytes(&j.store.config));
  j.block = tb_alloc(a, tb_team_threads(team), j.per_thread);
  void *work = ops->init_bytes ? tb_alloc(a, 1, ops->init_bytes(&j.store.config)) : NULL;
  const bool ok = j.store.mem && j.block && (work || !ops->init_bytes);
  if (ok && ops->init) ops->init(&j.store, work);
  if (ok) tb_parallel_for(team, m->shape->n_kv, head_task, &j);
  tb_free(a, work);
  tb_free(a, j.block);
  tb_free(a, j.store.mem);
  return ok ? TB_OK : tb_fail(err, TB_E_NOMEM, "measure: out of memory");
}

enum tb_status tb_measure_rows(const struct tb_measure *m, enum tb_side side, const struct tb_store *store,
                               const float *rows, const struct tb_kernels *kernels, struct tb_team *team,
                               const struct tb_allocator *a, float *out, struct tb_error *err) {
  struct job j = {
      .m = m, .kernels = kernels, .store = *store, .side = side, .given = rows, .encoded = m->n, .out = out};
  carve_head(m, NULL, &j.per_thread);
  j.block = tb_alloc(a, tb_team_threads(team), j.per_thread);
  if (!j.block) return tb_fail(err, TB_E_NOMEM, "measure: out of memory");
  tb_parallel_for(team, m->shape->n_kv, head_task, &j);
  tb_free(a, j.block);
  return TB_OK;
}
