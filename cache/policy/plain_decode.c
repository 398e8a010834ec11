/* Attention of one token. Work is cut over (KV head × split of the positions); where a token's splits begin depends on
 * the positions alone, whatever the number of threads, and the splits' (maximum, sum, accumulator) triples are merged in
 * order: same bits for every thread count. One pass over a KV head's rows serves all its query heads. (Flash-decoding.) */
#include "cache/policy/plain.h"

#include <math.h>
#include <string.h>

enum {
  /* A layer's attention is cut into about TASKS pieces: enough to share among the cores of a phone, and no more, since
   * each begins where no prefetcher was before. A split has at least SPLIT_BLOCKS blocks, some microseconds of work. */
  TASKS = 40,
  SPLIT_BLOCKS = 4,
  SERIAL_PRODUCTS = 1 << 14, /* fewer products of q and k than this take less time than telling another thread */
  FETCH_ROWS = 8             /* of the values while keys are scored: enough for the hardware to notice where it goes on */
};

struct decode {
  struct tb_plain *p;
  struct tb_cache_work *w;
  float *out;
  uint32_t pos, first; /* attends to first … pos */
  uint32_t heads_per_kv, n_splits;
  uint32_t first_block, n_blocks, split_blocks; /* of all splits; of one */
};

/* A partial result of one query head: maximum, sum, accumulator. */
static size_t partial_floats(const struct tb_kv_shape *s) {
  return 2 + s->d_v;
}

float *tb_plain_partial(const struct tb_plain *p, const struct tb_cache_work *w, uint32_t split, uint32_t head) {
  return w->partials + ((size_t)split * p->shape->n_head + head) * partial_floats(p->shape);
}

static uint32_t most_splits(uint32_t n_ctx) {
  return n_ctx / (SPLIT_BLOCKS * TB_ATTN_BLOCK) + 2;
}

size_t tb_plain_partials(const struct tb_kv_shape *s, uint32_t n_ctx) {
  return (size_t)most_splits(n_ctx) * s->n_head * partial_floats(s);
}

size_t tb_plain_decode_scratch(const struct tb_kv_shape *s) {
  size_t group = s->n_head / s->n_kv;
  return TB_STORE_SCRATCH + tb_round_up(group * TB_ATTN_BLOCK * sizeof(float), TB_ALIGN) +
         tb_round_up(group * s->d_v * sizeof(float), TB_ALIGN);
}

float tb_plain_fold(const struct tb_cache_work *w, uint32_t d_v, float *part, float *acc, float *s, uint32_t n) {
  const struct tb_kernels *k = w->kernels;
  float block_max = k->attn_max(s, n);
  if (block_max > part[0]) {
    float shrink = expf(part[0] - block_max);
    for (uint32_t c = 0; c < d_v; c++)
      acc[c] *= shrink;
    part[1] *= shrink;
    part[0] = block_max;
  }
  part[1] += k->attn_exp(s, n, part[0]);
  return block_max - part[0];
}

struct tb_kv_query tb_plain_query(const struct tb_plain *p, const struct tb_cache_work *w, uint32_t head, uint32_t n,
                                  uint32_t pos) {
  const size_t d = p->shape->d_k, at = head * d;
  return (struct tb_kv_query){
      .acts = {.k = d,
               .f = w->query + at,
               .ldf = d,
               .q = w->query_q + at,
               .d = w->query_d + at / 32,
               .s = w->query_s + at / 16},
      .n_q = n,
      .pos = pos,
  };
}

void tb_plain_score(const struct tb_plain *p, uint32_t kv, const struct tb_kv_query *q, struct tb_block b, float *s,
                    void *scratch) {
  for (uint32_t at = b.first; at < b.end;) {
    struct tb_plain_run r = tb_plain_locate(&p->k, at, b.end - at);
    r.store->ops->score(r.store, kv, r.row, r.n, at, q, s + (at - b.first), TB_ATTN_BLOCK, scratch);
    at += r.n;
  }
}

void tb_plain_accum(const struct tb_plain *p, uint32_t kv, uint32_t n_q, struct tb_block b, const float *s, float *acc,
                    void *scratch) {
  for (uint32_t at = b.first; at < b.end;) {
    struct tb_plain_run r = tb_plain_locate(&p->v, at, b.end - at);
    r.store->ops->accum(r.store, kv, r.row, r.n, s + (at - b.first), TB_ATTN_BLOCK, n_q, acc, scratch);
    at += r.n;
  }
}

static void fetch_values(const struct tb_plain *p, uint32_t kv, struct tb_block b) {
  const uint32_t n = b.end - b.first < FETCH_ROWS ? b.end - b.first : FETCH_ROWS;
  const struct tb_plain_run r = tb_plain_locate(&p->v, b.first, n);
  if (r.store->ops->granule == 1) r.store->ops->fetch(r.store, kv, r.row, r.n);
}

void tb_plain_merge(const struct tb_plain *p, const struct tb_cache_work *w, uint32_t n_splits, uint32_t head,
                    float *out, void *scratch) {
  const uint32_t d = p->shape->d_v;
  float max = -INFINITY, sum = 0;
  for (uint32_t i = 0; i < n_splits; i++)
    max = fmaxf(max, tb_plain_partial(p, w, i, head)[0]);
  memset(out, 0, d * sizeof *out);
  for (uint32_t i = 0; i < n_splits; i++) {
    const float *part = tb_plain_partial(p, w, i, head);
    if (part[1] == 0) continue;
    float weight = expf(part[0] - max);
    sum += weight * part[1];
    for (uint32_t c = 0; c < d; c++)
      out[c] += weight * part[2 + c];
  }
  for (uint32_t c = 0; c < d; c++)
    out[c] /= sum;
  tb_plain_turn_output(p, head / (p->shape->n_head / p->shape->n_kv), 1, out, scratch);
}

static void merge_task(void *arg, size_t head, unsigned thread) {
  const struct decode *j = arg;
  tb_plain_merge(j->p, j->w, j->n_splits, (uint32_t)head, j->out + head * j->p->shape->d_v,
                 j->w->scratch + thread * j->w->scratch_bytes);
}

static void split_task(void *arg, size_t task, unsigned thread) {
  const struct decode *j = arg;
  const struct tb_kv_shape *s = j->p->shape;
  const uint32_t kv = (uint32_t)(task % s->n_kv), split = (uint32_t)(task / s->n_kv), group = j->heads_per_kv;
  unsigned char *scratch = j->w->scratch + thread * j->w->scratch_bytes;
  float *scores = (float *)(void *)(scratch + TB_STORE_SCRATCH);
  float *acc = scores + tb_round_up(group * TB_ATTN_BLOCK * sizeof(float), TB_ALIGN) / sizeof(float);
  const struct tb_kv_query q = tb_plain_query(j->p, j->w, kv * group, group, j->pos);
  float *parts = tb_plain_partial(j->p, j->w, split, kv * group);
  const size_t stride = partial_floats(s);
  memset(acc, 0, group * s->d_v * sizeof *acc);
  for (uint32_t g = 0; g < group; g++) {
    parts[g * stride] = -INFINITY;
    parts[g * stride + 1] = 0;
  }
  const uint32_t sinks = j->p->k.sinks > j->p->v.sinks ? j->p->k.sinks : j->p->v.sinks;
  const uint32_t from = split * j->split_blocks, to = from + j->split_blocks;
  for (uint32_t i = from; i < to && i < j->n_blocks; i++) {
    struct tb_block b = tb_block_at(j->first_block + i, sinks, j->pos + 1);
    if (b.first >= b.end || b.end <= j->first) continue;
    fetch_values(j->p, kv, b);
    tb_plain_score(j->p, kv, &q, b, scores, scratch);
    const uint32_t skip = j->first > b.first ? j->first - b.first : 0;
    float nearest = -INFINITY;
    for (uint32_t g = 0; g < group; g++) {
      float *sg = scores + g * TB_ATTN_BLOCK;
      for (uint32_t t = 0; t < skip; t++)
        sg[t] = 0;
      nearest = fmaxf(nearest, tb_plain_fold(j->w, s->d_v, parts + g * stride, acc + g * s->d_v, sg + skip,
                                             b.end - b.first - skip));
    }
    if (tb_plain_matters(j->p, nearest)) tb_plain_accum(j->p, kv, group, b, scores, acc, scratch);
  }
  for (uint32_t g = 0; g < group; g++)
    memcpy(parts + g * stride + 2, acc + g * s->d_v, s->d_v * sizeof *acc);
  for (uint32_t g = 0; g < group && j->n_splits == 1; g++) /* nobody else has a part of these heads */
    merge_task(arg, kv * group + g, thread);
}

void tb_plain_load_query(const struct tb_plain *p, struct tb_cache_work *w, const float *q) {
  const struct tb_kv_shape *s = p->shape;
  const size_t n = (size_t)s->n_head * s->d_k;
  for (size_t i = 0; i < n; i++)
    w->query[i] = q[i] * s->scale;
  for (uint32_t kv = 0; kv < s->n_kv; kv++)
    tb_plain_turn_query(p, kv, s->n_head / s->n_kv, w->query + kv * (n / s->n_kv), w->scratch);
  if (s->d_k % 32 == 0) w->kernels->quant_q8(w->query_q, w->query_d, w->query_s, w->query, n);
}

void tb_plain_decode(struct tb_plain *p, struct tb_cache_work *w, uint32_t pos, const float *q, float *out) {
  const struct tb_kv_shape *s = p->shape;
  tb_plain_load_query(p, w, q);
  struct decode j = {.p = p, .w = w, .out = out, .pos = pos, .heads_per_kv = s->n_head / s->n_kv};
  if (s->sliding && pos + 1 > s->sliding) j.first = pos + 1 - s->sliding;
  const uint32_t sinks = p->k.sinks > p->v.sinks ? p->k.sinks : p->v.sinks;
  j.first_block = tb_block_of(j.first, sinks);
  j.n_blocks = tb_block_of(pos, sinks) + 1 - j.first_block;
  j.split_blocks = (j.n_blocks * s->n_kv + TASKS - 1) / TASKS;
  if (j.split_blocks < SPLIT_BLOCKS) j.split_blocks = SPLIT_BLOCKS;
  j.n_splits = (j.n_blocks + j.split_blocks - 1) / j.split_blocks;
  const size_t tasks = (size_t)j.n_splits * s->n_kv;
  if ((size_t)(pos + 1 - j.first) * s->n_head * s->d_k < SERIAL_PRODUCTS)
    for (size_t i = 0; i < tasks; i++)
      split_task(&j, i, 0);
  else
    tb_parallel_for(w->team, tasks, split_task, &j);
  if (j.n_splits > 1) tb_parallel_for(w->team, s->n_head, merge_task, &j);
}
