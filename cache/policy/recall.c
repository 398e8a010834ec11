/* recall: everything is stored, and a generated token attends to a few thousand tokens of it. After ClusterKV (arXiv
 * 2412.03213, DAC 2025): keys that lie close together score alike for every query, so it is enough to score one
 * centroid for all of them and to attend to whole clusters, best first, until a budget is full. Nothing is ever thrown
 * away: a late question recalls what earlier ones passed over.
 *
 *   position   0 … base-1 | base …  segments of `segment` tokens  … | newest, at least `window`
 *   order      as written | by cluster within each segment          | as written
 *   attended   always     | clusters chosen by each step            | always
 *
 * Published: cosine k-means of all keys after the prompt, n/80 clusters, 20 iterations; every query head takes clusters
 * by q·mean until the budget is full. The better form, each choice by measurement (tests/quality):
 *   segments       keys are clustered 320 at a time as they leave the window, in prompts as while generating: recall is
 *                  as good, the work per token does not grow with the context, and a prompt needs no second pass
 *   small clusters 4, 8, 16 or 32 tokens: attention is sharper than clusters of 80, and a budget should hold 64 of them
 *   reach          a cluster is ranked by q·mean + 2·|q|·(root mean square deviation per channel): its best keys count,
 *                  not its average one
 *   one choice     for all query heads of a KV head, each of which gets what comes next to its best: rows are read once
 *   residuals      packed keys are kept less their cluster's centroid (recall_keys.c)
 * Prompts attend to everything: softmax does not mind the order of rows, and all that is clustered is older than the
 * tokens of the batch.
 *
 * Rows of stores that keep them one by one change places in memory; stores of blocks of 160 encode a segment when it is
 * clustered, and until then its rows are in the f16 tail. Stores that use a row's position cannot be reordered and are
 * refused.
 *
 * Spilled (resident=N), a part of the rows is in memory and the rest in a file (spill.h); a segment's rows wait in the tail
 * until they are clustered, whatever the store.
 *
 * Memory per clustered token and KV head: (d + 10)/cluster + 2 bytes, + 1/cluster per choice; d = 64, clusters of 16:
 * 6.7 bytes, of 32 4.3, beside 256 of f16 or 35 of skvqx2. For block stores also segment · 2·(d_k + d_v) bytes of tail.
 * Limits: head sizes of keys that are a multiple of 16; no sliding window. */
#include "cache/policy/recall.h"

#include <string.h>

/* ------------------------------------------------------------------------------------------------------- making */

enum { SEGMENT = 320, SEGMENT_MAX = 40960, BEST_OF = 64, ITERATIONS = 4, ITERATIONS_PUBLISHED = 20 };

struct tb_recall_params tb_recall_params_of(const struct tb_plan_layer *plan) {
  struct tb_recall_params p = {.budget = plan->recall, .cluster = plan->cluster, .segment = plan->segment};
  p.published = plan->form == TB_RECALL_PUBLISHED;
  p.iterations = p.published ? ITERATIONS_PUBLISHED : ITERATIONS;
  if (!p.segment) p.segment = SEGMENT;
  if (!p.cluster && p.published) p.cluster = 80;
  if (!p.cluster)
    p.cluster = p.budget >= 32 * BEST_OF ? 32 : p.budget >= 16 * BEST_OF ? 16 : p.budget >= 8 * BEST_OF ? 8 : 4;
  return p;
}

static struct tb_recall *recall_of(struct tb_policy *p) {
  return (struct tb_recall *)(void *)p;
}

static const struct tb_recall *recall_of_const(const struct tb_policy *p) {
  return (const struct tb_recall *)(const void *)p;
}

static enum tb_status check_params(const struct tb_policy_layer *l, struct tb_error *err) {
  const struct tb_recall_params p = tb_recall_params_of(l->plan);
  if (p.segment % TB_ATTN_BLOCK != 0 || p.segment > SEGMENT_MAX)
    return tb_fail(err, TB_E_ARG, "recall: segment %u is not a multiple of %d up to %d", p.segment, TB_ATTN_BLOCK,
                   SEGMENT_MAX);
  if (p.segment % p.cluster != 0)
    return tb_fail(err, TB_E_ARG, "recall: cluster %u does not divide the segment of %u tokens", p.cluster, p.segment);
  if (l->plan->form > TB_RECALL_PUBLISHED)
    return tb_fail(err, TB_E_ARG, "recall: form %u is not 0 or 1", l->plan->form);
  if (l->plan->resident && p.published)
    return tb_fail(err, TB_E_ARG, "recall: the published form (form=1) keeps everything in memory, resident=%u does not",
                   l->plan->resident);
  if (l->shape->sliding) return tb_fail(err, TB_E_UNSUPPORTED, "recall: the layer has a sliding window already");
  if (l->shape->d_k % 16 != 0 || l->shape->d_k > TB_CLUSTER_D_MAX)
    return tb_fail(err, TB_E_UNSUPPORTED, "recall: key head size %u is not a multiple of 16 up to %d", l->shape->d_k,
                   TB_CLUSTER_D_MAX);
  const char *types[] = {l->plan->type_k, l->plan->type_v};
  for (int i = 0; i < 2; i++)
    if (tb_store_find(types[i])->ordered || tb_store_find(types[i])->joint)
      return tb_fail(err, TB_E_UNSUPPORTED, "recall: cache type %s keeps rows in the order of positions only",
                     types[i]);
  return TB_OK;
}

static enum tb_status recall_check(const struct tb_policy_layer *l, struct tb_error *err) {
  enum tb_status status = tb_plain_check(l, err);
  return status ? status : check_params(l, err);
}

static uint32_t base_of(const struct tb_policy_layer *l) {
  return l->plan->sinks < l->n_ctx ? l->plan->sinks : l->n_ctx;
}

static uint32_t rows_of(const struct tb_policy_layer *l) {
  const uint32_t segment = tb_recall_params_of(l->plan).segment;
  return (l->n_ctx - base_of(l)) / segment * segment;
}

static uint32_t choices_of(const struct tb_policy_layer *l) {
  return l->plan->form == TB_RECALL_PUBLISHED ? l->shape->n_head : l->shape->n_kv;
}

static uint32_t cap_of(const struct tb_policy_layer *l) {
  return (uint32_t)tb_round_up(rows_of(l) / tb_recall_params_of(l->plan).cluster, TB_CLUSTER_TILE);
}

static struct tb_spill_shape spill_of(const struct tb_policy_layer *l) {
  if (!l->plan->resident) return (struct tb_spill_shape){0};
  return tb_spill_shape_of(l, l->plan->resident, tb_recall_params_of(l->plan).segment, rows_of(l));
}

uint32_t tb_recall_rows(const struct tb_policy_layer *l) {
  return spill_of(l).rows;
}

static struct tb_policy_need recall_need(const struct tb_policy_layer *l) {
  const struct tb_recall_params par = tb_recall_params_of(l->plan);
  struct tb_policy_need need = tb_plain_need(l);
  const size_t cluster = tb_recall_cluster_scratch(l->shape, &par);
  const size_t decode = tb_recall_decode_scratch(l->shape, cap_of(l), spill_of(l).n_pages);
  const size_t most = cluster > decode ? cluster : decode;
  if (most > need.scratch_bytes) need.scratch_bytes = most;
  need.shared_bytes = tb_recall_decode_shared(l->shape, choices_of(l), l->n_ctx, cap_of(l), par.budget);
  for (int i = 0; l->plan->resident && i < 2; i++)
    need.chunk[i] = tb_plain_chunk(l, (enum tb_side)i);
  return need;
}

static struct tb_policy *recall_create(struct tb_arena *arena, const struct tb_policy_layer *l,
                                       struct tb_policy *before, const struct tb_kernels *kernels, uint64_t *stored) {
  (void)before;
  const size_t f = sizeof(float), n_kv = l->shape->n_kv;
  struct tb_recall *r = tb_carve(arena, 1, sizeof *r);
  struct tb_recall made = {.par = tb_recall_params_of(l->plan),
                           .base = base_of(l),
                           .cap = cap_of(l),
                           .rows = rows_of(l),
                           .window = l->plan->window,
                           .n_ctx = l->n_ctx};
  const struct tb_spill_shape shape = spill_of(l);
  made.plain = tb_plain_make(arena, l, made.par.segment, shape.rows, kernels, stored);
  made.plain.base.ops = &tb_policy_recall; /* rows wait for a whole segment */
  made.n_choices = choices_of(l);
  const size_t before_clusters = arena->used;
  made.c.codes = tb_carve(arena, n_kv * made.cap, l->shape->d_k);
  made.c.scale = tb_carve(arena, n_kv * made.cap, f);
  made.c.reach = tb_carve(arena, n_kv * made.cap, f);
  made.c.size = tb_carve(arena, n_kv * made.cap, sizeof *made.c.size);
  made.c.chosen = tb_carve(arena, made.n_choices, made.cap);
  made.centre = tb_carve(arena, n_kv * l->shape->d_k, f);
  made.from = tb_carve(arena, n_kv * made.rows, sizeof *made.from);
  made.counts = tb_carve(arena, made.n_choices, sizeof *made.counts);
  if (l->plan->resident) made.plain.spill = tb_spill_make(arena, l, shape);
  *stored += arena->used - before_clusters;
  if (!r) return NULL;
  *r = made;
  tb_recall_keys_init(r);
  if (r->plain.spill) *l->file_bytes = tb_spill_attach(r->plain.spill, &r->plain.k, &r->plain.v, *l->file_bytes);
  return &r->plain.base;
}

/* -------------------------------------------------------------------------------------------------------- steps */

/* After truncation or loading: n tokens are clustered, of `length`. */
static void set_clustered(struct tb_recall *r, uint32_t n, uint32_t length) {
  struct tb_plain_side *sides[] = {&r->plain.k, &r->plain.v};
  r->clustered = n;
  r->plain.length = length;
  for (int i = 0; i < 2; i++) {
    if (sides[i]->direct) continue;
    sides[i]->encoded = n;
    sides[i]->tail_rows = tb_plain_rows_in_tail(sides[i], length);
    sides[i]->chunk_rows = 0;
  }
  if (r->plain.spill) tb_spill_forget(r->plain.spill, n);
  memset(r->c.chosen, 0, (size_t)r->n_choices * r->cap);
}

/* After a step: segments that have left the window are clustered, which for block stores means encoded. When one of them
 * cannot be written to the file, none has left: their rows still are in the tail. */
static void settle(struct tb_recall *r, struct tb_cache_work *w) {
  struct tb_plain_side *sides[] = {&r->plain.k, &r->plain.v};
  const uint32_t before = r->clustered;
  for (; r->plain.length >= r->base + r->clustered + r->window + r->par.segment; r->clustered += r->par.segment) {
    tb_recall_cluster(r, w);
    if (!tb_work_failed(w)) continue;
    r->clustered = before;
    return;
  }
  for (int i = 0; i < 2; i++)
    if (!sides[i]->direct) tb_plain_leave(sides[i], r->clustered - before);
}

static void recall_attend(struct tb_policy *self, struct tb_cache_work *w, uint32_t pos, uint32_t n, const float *q,
                          float *out) {
  struct tb_recall *r = recall_of(self);
  if (!q)
    ;
  else if (n > 1)
    tb_plain_prefill(&r->plain, w, pos, n, q, out);
  else if (r->clustered == 0)
    tb_plain_decode(&r->plain, w, pos, q, out);
  else
    tb_recall_decode(r, w, pos, q, out);
  if (!tb_work_failed(w)) settle(r, w);
}

/* --------------------------------------------------------------------------------------------------- truncating */

struct unsort {
  struct tb_recall *r;
  struct tb_cache_work *w;
  uint32_t first, n; /* the segment's first position less base; tokens of it that stay */
};

static void unsort_side(const struct unsort *j, struct tb_plain_side *s, uint32_t head, const uint16_t *order,
                        unsigned char *scratch) {
  const uint32_t segment = j->r->par.segment, d = s->main.config.d;
  float *row = (float *)(void *)(scratch + TB_STORE_SCRATCH);
  if (s->direct) {
    unsigned char *done = scratch + TB_STORE_SCRATCH + TB_CLUSTER_D_MAX * sizeof(float);
    tb_recall_permute(&s->main, head, j->r->base + j->first, order, segment, done, (unsigned char *)row);
    return;
  }
  const struct tb_spill *spill = j->r->plain.spill;
  for (uint32_t i = 0; i < j->n; i++) { /* what stays goes back to the tail as floats of its codes */
    const uint32_t at = j->first + order[i];
    s->main.ops->expand(&s->main, head, spill ? tb_spill_row(spill, head, at) : at, 1, j->r->base + at, row, d,
                         scratch);
    s->tail.ops->encode(&s->tail, head, i, 1, 0, row, d, scratch);
  }
}

static void unsort_task(void *arg, size_t head, unsigned thread) {
  const struct unsort *j = arg;
  const uint32_t segment = j->r->par.segment;
  unsigned char *scratch = j->w->scratch + thread * j->w->scratch_bytes;
  const uint16_t *from = j->r->from + head * j->r->rows + j->first;
  uint16_t *order = (uint16_t *)(void *)(scratch + TB_STORE_SCRATCH + TB_CLUSTER_D_MAX * sizeof(float) + segment);
  for (uint32_t i = 0; i < segment; i++)
    order[from[i]] = (uint16_t)i;
  unsort_side(j, &j->r->plain.k, (uint32_t)head, order, scratch);
  unsort_side(j, &j->r->plain.v, (uint32_t)head, order, scratch);
}

/* The segment that n tokens cut, of which .n tokens stay; .n 0 when they cut none. */
static struct unsort cut_at(struct tb_recall *r, struct tb_cache_work *w, uint32_t n) {
  const uint32_t after = n > r->base ? n - r->base : 0, keep = after / r->par.segment * r->par.segment;
  return (struct unsort){.r = r, .w = w, .first = keep, .n = keep < r->clustered ? after - keep : 0};
}

/* Whole segments stay clustered; the one that is cut goes back to the order of positions. */
static void recall_truncate(struct tb_policy *self, struct tb_cache_work *w, uint32_t n) {
  struct tb_recall *r = recall_of(self);
  struct unsort j = cut_at(r, w, n);
  if (j.n) tb_parallel_for(w->team, r->plain.shape->n_kv, unsort_task, &j);
  set_clustered(r, j.first < r->clustered ? j.first : r->clustered, n);
}

static void prepare_task(void *arg, size_t head, unsigned thread) {
  const struct unsort *j = arg;
  struct tb_spill *spill = j->r->plain.spill;
  const uint32_t n = j->r->par.segment / spill->shape.page;
  uint32_t *pages = (uint32_t *)(void *)(j->w->scratch + thread * j->w->scratch_bytes);
  for (uint32_t i = 0; i < n; i++)
    pages[i] = j->first / spill->shape.page + i;
  tb_spill_load(spill, j->w, thread, (uint32_t)head, pages, n);
}

static bool recall_prepare(struct tb_policy *self, struct tb_cache_work *w, uint32_t n) {
  struct tb_recall *r = recall_of(self);
  struct unsort j = cut_at(r, w, n);
  if (r->plain.spill && j.n) tb_parallel_for(w->team, r->plain.shape->n_kv, prepare_task, &j);
  return !tb_work_failed(w);
}

static uint32_t recall_settled(const struct tb_policy *self, uint32_t n) {
  const struct tb_recall *r = recall_of_const(self);
  const uint32_t after = n > r->base ? n - r->base : 0, keep = after / r->par.segment * r->par.segment;
  return r->plain.spill && keep < r->clustered && after > 0 ? r->base + keep : n;
}

static uint32_t recall_encoded(const struct tb_policy *self) {
  const struct tb_recall *r = recall_of_const(self);
  return r->plain.k.direct && r->plain.v.direct ? r->plain.length : r->clustered;
}

/* ------------------------------------------------------------------------------------------------------- saving */

static uint32_t recall_state_words(const struct tb_policy *self) {
  (void)self;
  return 1;
}

static void recall_get_state(const struct tb_policy *self, uint32_t *words) {
  words[0] = recall_of_const(self)->clustered;
}

static bool recall_set_state(struct tb_policy *self, uint32_t length, const uint32_t *words) {
  struct tb_recall *r = recall_of(self);
  const uint32_t n = words[0], after = length > r->base ? length - r->base : 0;
  if (n % r->par.segment != 0 || n > r->rows || n > after) return false;
  const struct tb_plain_side *sides[] = {&r->plain.k, &r->plain.v};
  for (int i = 0; i < 2; i++)
    if (!tb_plain_possible(sides[i], length, sides[i]->direct ? 0 : n)) return false;
  set_clustered(r, n, length);
  return true;
}

static enum tb_status head_pieces(struct tb_recall *r, uint32_t head, tb_cache_piece_fn fn, void *user,
                                  struct tb_error *err) {
  const size_t n = tb_recall_n(r), d = r->plain.shape->d_k, at = (size_t)head * r->cap, tiles = tb_cluster_tiles(n);
  const struct {
    void *p;
    size_t bytes;
  } pieces[] = {
      {r->centre + head * d, d * sizeof *r->centre}, {r->c.codes + at * d, tiles * TB_CLUSTER_TILE * d},
      {r->c.scale + at, n * sizeof *r->c.scale},     {r->c.reach + at, n * sizeof *r->c.reach},
      {r->c.size + at, n * sizeof *r->c.size},       {r->from + (size_t)head * r->rows, r->clustered * sizeof *r->from},
  };
  enum tb_status status = TB_OK;
  for (size_t i = 0; !status && i < sizeof pieces / sizeof *pieces; i++)
    status = fn(user, pieces[i].p, pieces[i].bytes, err);
  return status;
}

static enum tb_status recall_pieces(struct tb_policy *self, tb_cache_piece_fn fn, void *user, struct tb_error *err) {
  struct tb_recall *r = recall_of(self);
  enum tb_status status = tb_plain_pieces(self, fn, user, err);
  for (uint32_t h = 0; !status && r->clustered && h < r->plain.shape->n_kv; h++)
    status = head_pieces(r, h, fn, user, err);
  return status;
}

/* All of 0 … n-1 once: none is too large and none comes twice. Marks for 4096 numbers at a time. */
static bool is_permutation(const uint16_t *p, uint32_t n) {
  enum { MARKS = 4096 };
  for (uint32_t low = 0; low < n; low += MARKS) {
    uint64_t seen[MARKS / 64] = {0};
    for (uint32_t i = 0; i < n; i++) {
      const uint32_t at = p[i] - low;
      if (p[i] >= n || (at < MARKS && seen[at / 64] >> at % 64 & 1)) return false;
      if (at < MARKS) seen[at / 64] |= (uint64_t)1 << at % 64;
    }
  }
  return true;
}

/* In every segment the sizes add up, and `from` can be undone: truncation follows its cycles. */
static bool verify_segment(const struct tb_recall *r, uint32_t head, uint32_t first) {
  const uint32_t segment = r->par.segment;
  const uint16_t *size = r->c.size + (size_t)head * r->cap + first / r->par.cluster;
  uint64_t rows = 0;
  for (uint32_t i = 0; i < segment / r->par.cluster; i++)
    rows += size[i];
  return rows == segment && is_permutation(r->from + (size_t)head * r->rows + first, segment);
}

static bool recall_verify(const struct tb_policy *self) {
  const struct tb_recall *r = recall_of_const(self);
  for (uint32_t h = 0; h < r->plain.shape->n_kv; h++)
    for (uint32_t first = 0; first < r->clustered; first += r->par.segment)
      if (!verify_segment(r, h, first)) return false;
  return true;
}

static void recall_recalled(const struct tb_policy *self, struct tb_recalled *counts) {
  const struct tb_recall *r = recall_of_const(self);
  for (uint32_t i = 0; i < r->n_choices; i++) {
    const struct tb_recalled *c = &r->counts[i];
    counts->steps += c->steps;
    counts->attended += c->attended;
    counts->held += c->held;
    counts->chosen += c->chosen;
    counts->again += c->again;
    counts->bytes += c->bytes;
  }
  const struct tb_spill *spill = r->plain.spill;
  for (uint32_t head = 0; spill && head < r->plain.shape->n_kv; head++) {
    counts->pages += spill->counts[head].wanted;
    counts->read += spill->counts[head].read;
    counts->read_bytes += spill->counts[head].read * spill->bytes;
  }
}

const struct tb_policy_ops tb_policy_recall = {.name = "recall",
                                               .revision = 2, /* default clusters; packed keys less their centroids */
                                               .check = recall_check,
                                               .need = recall_need,
                                               .create = recall_create,
                                               .append = tb_plain_append,
                                               .attend = recall_attend,
                                               .prepare = recall_prepare,
                                               .settled = recall_settled,
                                               .truncate = recall_truncate,
                                               .encoded = recall_encoded,
                                               .state_words = recall_state_words,
                                               .get_state = recall_get_state,
                                               .set_state = recall_set_state,
                                               .pieces = recall_pieces,
                                               .verify = recall_verify,
                                               .recalled = recall_recalled};
