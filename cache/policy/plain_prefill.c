/* Attention of several tokens, by tiles (FlashAttention, arXiv 2205.14135): a task is (KV head × some query tokens). It
 * gathers the query rows of all heads of the group, then walks over the key blocks: keys and values of a block become
 * floats once and serve all rows; a running softmax keeps the memory constant. Nothing of size n × n ever exists. */
#include "cache/policy/plain.h"
#include "cache/policy/spill.h"
#include "cache/store/fetch.h"

#include <math.h>
#include <string.h>

enum {
  TILE_ROWS = 64, /* query rows (tokens × heads of the group) of a task, at least one token */
  AHEAD = 4       /* tokens: their queries, a row apart, may lie in another core's cache */
};

struct prefill {
  struct tb_plain *p;
  struct tb_cache_work *w;
  const float *q;
  float *out;
  uint32_t pos, n, group, tile; /* tile: tokens per task */
};

/* The scratch of a thread, after the store's. */
struct tile_memory {
  float *q, *s, *k, *v, *o, *max, *sum;
};

static uint32_t tile_tokens(const struct tb_kv_shape *s) {
  uint32_t group = s->n_head / s->n_kv;
  return group >= TILE_ROWS ? 1 : TILE_ROWS / group;
}

static struct tile_memory carve_tile(const struct tb_kv_shape *s, unsigned char *base, size_t *bytes) {
  struct tb_arena a = {.base = base};
  const size_t rows = (size_t)tile_tokens(s) * (s->n_head / s->n_kv), f = sizeof(float);
  struct tile_memory m;
  m.q = tb_carve(&a, rows * s->d_k, f);
  m.s = tb_carve(&a, rows * TB_ATTN_BLOCK, f);
  m.k = tb_carve(&a, (size_t)TB_ATTN_BLOCK * s->d_k, f);
  m.v = tb_carve(&a, (size_t)TB_ATTN_BLOCK * s->d_v, f);
  m.o = tb_carve(&a, rows * s->d_v, f);
  m.max = tb_carve(&a, rows, f);
  m.sum = tb_carve(&a, rows, f);
  *bytes = a.used;
  return m;
}

size_t tb_plain_prefill_scratch(const struct tb_kv_shape *s) {
  size_t bytes;
  carve_tile(s, NULL, &bytes);
  return TB_STORE_SCRATCH + bytes;
}

static void expand_block(const struct tb_plain_side *side, uint32_t kv, struct tb_block b, float *x, void *scratch) {
  const uint32_t d = side->main.config.d;
  for (uint32_t at = b.first; at < b.end;) {
    struct tb_plain_run r = tb_plain_locate(side, at, b.end - at);
    r.store->ops->expand(r.store, kv, r.row, r.n, at, x + (size_t)(at - b.first) * d, d, scratch);
    at += r.n;
  }
}

/* Softmax step of one row: scores of the keys it may see become weights, the others 0. */
static void fold_row(const struct prefill *j, const struct tile_memory *m, size_t row, uint32_t qpos,
                     struct tb_block b) {
  const struct tb_kv_shape *s = j->p->shape;
  float *w = m->s + row * TB_ATTN_BLOCK, *o = m->o + row * s->d_v;
  const uint32_t n = b.end - b.first;
  uint32_t from = s->sliding && qpos + 1 > s->sliding ? qpos + 1 - s->sliding : 0;
  uint32_t lo = from > b.first ? from - b.first : 0;
  uint32_t hi = qpos + 1 > b.first ? qpos + 1 - b.first : 0;
  if (lo > n) lo = n;
  if (hi > n) hi = n;
  if (lo >= hi) {
    memset(w, 0, n * sizeof *w);
    return;
  }
  memset(w, 0, lo * sizeof *w);
  memset(w + hi, 0, (n - hi) * sizeof *w);
  float block_max = j->w->kernels->attn_max(w + lo, hi - lo);
  if (block_max > m->max[row]) {
    if (m->sum[row] > 0) {
      float shrink = expf(m->max[row] - block_max);
      for (uint32_t c = 0; c < s->d_v; c++)
        o[c] *= shrink;
      m->sum[row] *= shrink;
    }
    m->max[row] = block_max;
  }
  m->sum[row] += j->w->kernels->attn_exp(w + lo, hi - lo, m->max[row]);
}

static void gather(const struct prefill *j, const struct tile_memory *m, uint32_t kv, uint32_t first, uint32_t tokens,
                   void *scratch) {
  const struct tb_kv_shape *s = j->p->shape;
  const size_t values = (size_t)j->group * s->d_k, step = (size_t)s->n_head * s->d_k;
  const float *q = j->q + first * step + kv * values;
  for (uint32_t i = 0; i < tokens; i++, q += step) {
    if (i + AHEAD < tokens) tb_fetch(q + AHEAD * step, values * sizeof *q);
    for (size_t c = 0; c < values; c++)
      m->q[i * values + c] = q[c] * s->scale;
  }
  for (uint32_t row = 0; row < tokens * j->group; row++) {
    m->max[row] = -INFINITY;
    m->sum[row] = 0;
  }
  tb_plain_turn_query(j->p, kv, tokens * j->group, m->q, scratch);
  memset(m->o, 0, (size_t)tokens * j->group * s->d_v * sizeof *m->o);
}

static void scatter(const struct prefill *j, const struct tile_memory *m, uint32_t kv, uint32_t first, uint32_t tokens,
                    void *scratch) {
  const struct tb_kv_shape *s = j->p->shape;
  const size_t rows = (size_t)tokens * j->group;
  const size_t values = (size_t)j->group * s->d_v, step = (size_t)s->n_head * s->d_v;
  float *out = j->out + first * step + kv * values;
  for (size_t row = 0; row < rows; row++) {
    if (row % j->group == 0) tb_fetch_to_write(out + row / j->group * step, values * sizeof *out);
    for (uint32_t c = 0; c < s->d_v; c++)
      m->o[row * s->d_v + c] /= m->sum[row];
  }
  tb_plain_turn_output(j->p, kv, (uint32_t)rows, m->o, scratch);
  for (uint32_t i = 0; i < tokens; i++)
    memcpy(out + i * step, m->o + i * values, values * sizeof *out);
}

/* Rows of a spilled block come into memory; false when they do not. */
static bool bring(const struct prefill *j, unsigned thread, uint32_t kv, struct tb_block b, uint32_t *slots) {
  const struct tb_plain_side *k = &j->p->k;
  if (!j->p->spill || b.first < k->sinks || b.first >= k->sinks + k->encoded) return true;
  return tb_spill_block(j->p->spill, j->w, thread, kv, (b.first - k->sinks) / TB_ATTN_BLOCK, ~0u, slots);
}

static void tile_task(void *arg, size_t task, unsigned thread) {
  const struct prefill *j = arg;
  const struct tb_kv_shape *s = j->p->shape;
  struct tb_plain_side k = j->p->k, v = j->p->v;
  uint32_t slots[TB_SPILL_PAGES];
  if (j->p->spill) k.slots = v.slots = slots;
  unsigned char *scratch = j->w->scratch + thread * j->w->scratch_bytes;
  size_t unused;
  const struct tile_memory m = carve_tile(s, scratch + TB_STORE_SCRATCH, &unused);
  const uint32_t kv = (uint32_t)(task % s->n_kv), first = (uint32_t)(task / s->n_kv) * j->tile;
  const uint32_t tokens = j->n - first < j->tile ? j->n - first : j->tile, rows = tokens * j->group;
  gather(j, &m, kv, first, tokens, scratch);
  const uint32_t sinks = j->p->k.sinks > j->p->v.sinks ? j->p->k.sinks : j->p->v.sinks;
  const uint32_t from = s->sliding && j->pos + first + 1 > s->sliding ? j->pos + first + 1 - s->sliding : 0;
  const uint32_t end = j->pos + first + tokens;
  for (uint32_t i = tb_block_of(from, sinks); i <= tb_block_of(end - 1, sinks); i++) {
    struct tb_block b = tb_block_at(i, sinks, end);
    if (b.first >= b.end) continue;
    if (!bring(j, thread, kv, b, slots)) return;
    expand_block(&k, kv, b, m.k, scratch);
    j->w->kernels->tile_qk(m.s, TB_ATTN_BLOCK, m.q, s->d_k, rows, m.k, s->d_k, b.end - b.first, s->d_k);
    for (uint32_t row = 0; row < rows; row++)
      fold_row(j, &m, row, j->pos + first + row / j->group, b);
    expand_block(&v, kv, b, m.v, scratch);
    j->w->kernels->tile_pv(m.o, s->d_v, m.s, TB_ATTN_BLOCK, rows, m.v, s->d_v, b.end - b.first, s->d_v);
  }
  scatter(j, &m, kv, first, tokens, scratch);
}

void tb_plain_prefill(struct tb_plain *p, struct tb_cache_work *w, uint32_t pos, uint32_t n, const float *q,
                      float *out) {
  const uint32_t tile = tile_tokens(p->shape);
  struct prefill j = {
      .p = p, .w = w, .q = q, .out = out, .pos = pos, .n = n, .group = p->shape->n_head / p->shape->n_kv, .tile = tile};
  tb_parallel_for(w->team, (size_t)((n + tile - 1) / tile) * p->shape->n_kv, tile_task, &j);
}
