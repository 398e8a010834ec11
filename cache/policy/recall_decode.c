/* Attention of one token to chosen clusters, in three parallel parts:
 *   choose   a task per choice (KV head, or query head in the published form): recall_choose.c
 *   attend   a task per (choice × split): the blocks of 160 positions that hold chosen rows, sinks or newest tokens,
 *            cut into splits of the same blocks whatever the number of threads. Of a block, packed stores read the parts
 *            of 32 rows that hold chosen ones, the others the chosen rows; no other counts
 *   merge    a task per query head, in order */
#include "cache/policy/recall_decode.h"

#include <math.h>
#include <string.h>

enum {
  TASKS = 40, /* a layer's attention in about as many, as plain_decode.c: each begins with a wait for memory */
  SPLIT_BLOCKS = 4,
  AHEAD = 2, /* items whose rows are asked for before their turn */
};

static uint32_t most_items(uint32_t n_ctx) {
  return n_ctx / TB_ATTN_BLOCK + 3;
}

static uint32_t splits(const struct tb_recall_step *j, uint32_t n_items) {
  return (n_items + j->split - 1) / j->split;
}

/* ------------------------------------------------------------------------------------------------------- scratch */

static struct tb_recall_memory carve_memory(const struct tb_kv_shape *s, uint32_t cap, uint32_t n_pages,
                                            unsigned char *base, size_t *bytes) {
  struct tb_arena a = {.base = base};
  const size_t heads = s->n_head / s->n_kv, f = sizeof(float);
  struct tb_recall_memory m;
  m.eq = tb_carve(&a, heads, f);
  m.s = tb_carve(&a, heads * cap, f);
  m.best = tb_carve(&a, heads, f);
  m.bin = tb_carve(&a, cap, 1);
  m.pages = tb_carve(&a, n_pages, sizeof *m.pages);
  m.scores = tb_carve(&a, heads * TB_ATTN_BLOCK, f);
  m.acc = tb_carve(&a, heads * s->d_v, f);
  *bytes = a.used;
  return m;
}

size_t tb_recall_decode_scratch(const struct tb_kv_shape *s, uint32_t cap, uint32_t n_pages) {
  size_t bytes;
  carve_memory(s, cap, n_pages, NULL, &bytes);
  return TB_STORE_SCRATCH + bytes;
}

struct tb_recall_memory tb_recall_memory_of(const struct tb_recall_step *j, unsigned thread) {
  const struct tb_spill *spill = j->r->plain.spill;
  size_t unused;
  return carve_memory(j->r->plain.shape, j->r->cap, spill ? spill->shape.n_pages : 0,
                      j->w->scratch + thread * j->w->scratch_bytes + TB_STORE_SCRATCH, &unused);
}

static void carve_shared(struct tb_recall_step *j, const struct tb_kv_shape *s, uint32_t n_choices, unsigned char *base,
                         size_t *bytes) {
  struct tb_arena a = {.base = base};
  j->n_items = tb_carve(&a, n_choices, sizeof *j->n_items);
  j->items = tb_carve(&a, (size_t)n_choices * j->per_choice, sizeof *j->items);
  j->picks = tb_carve(&a, (size_t)n_choices * j->most_picks, sizeof *j->picks);
  j->dots = tb_carve(&a, (size_t)s->n_head * j->most_picks, sizeof *j->dots);
  j->q = tb_carve(&a, s->n_head, s->d_k);
  j->dq = tb_carve(&a, s->n_head, sizeof *j->dq);
  *bytes = a.used;
}

/* A pick has a row of the budget at least. */
static uint32_t most_picks(uint32_t cap, uint32_t budget) {
  return cap < budget ? cap : budget;
}

size_t tb_recall_decode_shared(const struct tb_kv_shape *s, uint32_t n_choices, uint32_t n_ctx, uint32_t cap,
                               uint32_t budget) {
  struct tb_recall_step j = {.per_choice = most_items(n_ctx), .most_picks = most_picks(cap, budget)};
  size_t bytes;
  carve_shared(&j, s, n_choices, NULL, &bytes);
  return bytes;
}

/* ----------------------------------------------------------------------------------------------------- attending */

struct attend {
  const struct tb_recall_step *j;
  const struct tb_plain *p; /* the layer's, or this thread's view of it when it is spilled */
  const struct tb_recall_memory *m;
  struct tb_kv_query q;
  uint32_t kv, head;
  void *scratch;
};

/* The first run of chosen rows from row *at of a block on; false when there is none. *at is then behind it. */
static bool next_run(const struct tb_recall_item *item, uint32_t *at, struct tb_block *run) {
  run->end = 0;
  for (uint32_t row = *at; row < TB_ATTN_BLOCK;) {
    const uint32_t bits = item->rows[row / TB_ATTN_PART] >> row % TB_ATTN_PART,
                   left = TB_ATTN_PART - row % TB_ATTN_PART;
    if (!run->end) {
      const uint32_t skip = bits ? (uint32_t)__builtin_ctz(bits) : left;
      row += skip;
      if (skip < left) *run = (struct tb_block){row, row + 1};
      continue;
    }
    const uint32_t ones = ~bits ? (uint32_t)__builtin_ctz(~bits) : left, take = ones < left ? ones : left;
    row += take;
    run->end = row;
    if (take < left) break;
  }
  *at = run->end;
  return run->end != 0;
}

/* What will be read of a side: chosen rows lie anywhere in memory, and without this every first line of them is waited
 * for. Blocks that are attended to as a whole follow each other, which the hardware notices. */
static void fetch(const struct attend *a, const struct tb_plain_side *side, const struct tb_recall_item *item) {
  const struct tb_store *st = &side->main;
  if (item->all || side->slots) return;
  struct tb_block run = tb_recall_parts(item);
  const uint32_t first = (item->block - 1) * TB_ATTN_BLOCK, shift = side->direct ? a->j->r->base : 0;
  if (st->ops->granule > 1) {
    st->ops->fetch(st, a->kv, first + run.first, run.end - run.first);
    return;
  }
  for (uint32_t at = 0; next_run(item, &at, &run);)
    st->ops->fetch(st, a->kv, shift + first + run.first, run.end - run.first);
}

/* The part of a block that is scored, summed or both. */
static struct tb_block within(struct tb_block b, struct tb_block rows) {
  return (struct tb_block){b.first + rows.first, b.first + rows.end};
}

static void add(float *restrict s, const float *restrict x, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    s[i] += x[i];
}

/* Scores of the rows of `parts`; -inf for those that were not chosen. */
static void score_rows(const struct attend *a, const struct tb_recall_item *item, struct tb_block b,
                       struct tb_block parts) {
  float *s = a->m->scores;
  for (uint32_t g = 0; g < a->j->heads; g++)
    for (uint32_t i = 0; i < parts.end - parts.first; i++)
      s[g * TB_ATTN_BLOCK + i] = -INFINITY;
  struct tb_block run;
  for (uint32_t at = parts.first; next_run(item, &at, &run);)
    tb_plain_score(a->p, a->kv, &a->q, within(b, run), s + (run.first - parts.first), a->scratch);
}

/* The same where all rows are scored together and kept less their centroids, whose scores are known. */
static void score_packed(const struct attend *a, const struct tb_recall_item *item, struct tb_block b,
                         struct tb_block parts) {
  const struct tb_recall_step *j = a->j;
  const struct tb_recall_pick *end = j->picks + (size_t)(a->head / j->heads + 1) * j->most_picks;
  const uint32_t first = (item->block - 1) * TB_ATTN_BLOCK + parts.first, n = parts.end - parts.first;
  tb_plain_score(a->p, a->kv, &a->q, within(b, parts), a->m->scores, a->scratch);
  for (uint32_t g = 0; g < j->heads; g++) {
    float more[TB_ATTN_BLOCK];
    for (uint32_t i = 0; i < n; i++)
      more[i] = -INFINITY;
    for (const struct tb_recall_pick *pick = j->picks + item->pick; pick < end && pick->first < first + n; pick++) {
      const uint32_t from = pick->first > first ? pick->first - first : 0, to = pick->end - first;
      const float dot = j->r->keys.inner ? j->dots[(size_t)(pick - j->picks) * j->heads + g] : 0;
      for (uint32_t i = from; i < to && i < n; i++)
        more[i] = dot;
    }
    add(a->m->scores + g * TB_ATTN_BLOCK, more, n);
  }
}

static void accum_chosen(const struct attend *a, const struct tb_recall_item *item, struct tb_block b,
                         struct tb_block parts) {
  float *s = a->m->scores;
  if (a->p->v.main.ops->granule > 1) {
    tb_plain_accum(a->p, a->kv, a->j->heads, within(b, parts), s, a->m->acc, a->scratch);
    return;
  }
  struct tb_block run;
  for (uint32_t at = parts.first; next_run(item, &at, &run);)
    tb_plain_accum(a->p, a->kv, a->j->heads, within(b, run), s + (run.first - parts.first), a->m->acc, a->scratch);
}

static void attend_item(const struct attend *a, const struct tb_recall_item *item, uint32_t split) {
  const struct tb_recall_step *j = a->j;
  const struct tb_plain *p = a->p;
  const uint32_t d_v = p->shape->d_v;
  const struct tb_block b = tb_block_at(item->block, j->r->base, j->pos + 1);
  const struct tb_block parts = item->all ? (struct tb_block){0, b.end - b.first} : tb_recall_parts(item);
  if (item->all)
    tb_plain_score(p, a->kv, &a->q, b, a->m->scores, a->scratch);
  else if (p->k.main.ops->granule > 1)
    score_packed(a, item, b, parts);
  else
    score_rows(a, item, b, parts);
  float nearest = -INFINITY;
  for (uint32_t g = 0; g < j->heads; g++)
    nearest =
        fmaxf(nearest, tb_plain_fold(j->w, d_v, tb_plain_partial(p, j->w, split, a->head + g), a->m->acc + g * d_v,
                                     a->m->scores + g * TB_ATTN_BLOCK, parts.end - parts.first));
  if (!tb_plain_matters(p, nearest)) return;
  if (item->all)
    tb_plain_accum(p, a->kv, j->heads, b, a->m->scores, a->m->acc, a->scratch);
  else
    accum_chosen(a, item, b, parts);
}

static void attend_task(void *arg, size_t task, unsigned thread) {
  const struct tb_recall_step *j = arg;
  const struct tb_recall *r = j->r;
  const struct tb_kv_shape *s = r->plain.shape;
  const uint32_t choice = (uint32_t)(task % r->n_choices), split = (uint32_t)(task / r->n_choices);
  const uint32_t first = split * j->split, head = choice * j->heads;
  if (first >= j->n_items[choice]) return;
  const uint32_t end = first + j->split < j->n_items[choice] ? first + j->split : j->n_items[choice];
  unsigned char *scratch = j->w->scratch + thread * j->w->scratch_bytes;
  const struct tb_recall_memory m = tb_recall_memory_of(j, thread);
  struct attend a = {
      .j = j, .p = &r->plain, .m = &m, .kv = head / (s->n_head / s->n_kv), .head = head, .scratch = scratch};
  struct tb_plain view = r->plain;
  uint32_t slots[TB_SPILL_PAGES];
  if (view.spill) {
    view.k.slots = view.v.slots = slots;
    a.p = &view;
  }
  a.q = tb_plain_query(&r->plain, j->w, head, j->heads, j->pos);
  memset(m.acc, 0, j->heads * s->d_v * sizeof *m.acc);
  for (uint32_t g = 0; g < j->heads; g++) {
    float *part = tb_plain_partial(&r->plain, j->w, split, head + g);
    part[0] = -INFINITY;
    part[1] = 0;
  }
  const struct tb_recall_item *items = j->items + (size_t)choice * j->per_choice;
  for (uint32_t i = first; i < end && i < first + AHEAD; i++) {
    fetch(&a, &a.p->k, &items[i]);
    fetch(&a, &a.p->v, &items[i]);
  }
  for (uint32_t i = first; i < end; i++) {
    if (i + AHEAD < end) {
      fetch(&a, &a.p->k, &items[i + AHEAD]);
      fetch(&a, &a.p->v, &items[i + AHEAD]);
    }
    if (view.spill && !items[i].all &&
        !tb_spill_block(view.spill, j->w, thread, a.kv, items[i].block - 1, items[i].pages, slots))
      return;
    attend_item(&a, &items[i], split);
  }
  for (uint32_t g = 0; g < j->heads; g++)
    memcpy(tb_plain_partial(&r->plain, j->w, split, head + g) + 2, m.acc + g * s->d_v, s->d_v * sizeof *m.acc);
}

static void choose_task(void *arg, size_t choice, unsigned thread) {
  tb_recall_choose(arg, (uint32_t)choice, thread);
}

static void merge_task(void *arg, size_t head, unsigned thread) {
  const struct tb_recall_step *j = arg;
  tb_plain_merge(&j->r->plain, j->w, splits(j, j->n_items[head / j->heads]), (uint32_t)head,
                 j->out + head * j->r->plain.shape->d_v, j->w->scratch + thread * j->w->scratch_bytes);
}

void tb_recall_decode(struct tb_recall *r, struct tb_cache_work *w, uint32_t pos, const float *q, float *out) {
  const struct tb_kv_shape *s = r->plain.shape;
  struct tb_recall_step j = {.r = r, .w = w, .out = out, .pos = pos, .heads = s->n_head / r->n_choices};
  static const float zero[TB_CLUSTER_D_MAX] = {0};
  size_t unused;
  j.per_choice = most_items(r->n_ctx);
  j.most_picks = most_picks(r->cap, r->par.budget);
  carve_shared(&j, s, r->n_choices, w->shared, &unused);
  tb_plain_load_query(&r->plain, w, q);
  w->kernels->cluster_code(j.q, j.dq, w->query, s->d_k, zero, s->n_head, s->d_k);
  tb_parallel_for(w->team, r->n_choices, choose_task, &j);
  uint32_t most = 0;
  for (uint32_t c = 0; c < r->n_choices; c++)
    most = j.n_items[c] > most ? j.n_items[c] : most;
  j.split = (most * r->n_choices + TASKS - 1) / TASKS;
  if (j.split < SPLIT_BLOCKS) j.split = SPLIT_BLOCKS;
  tb_parallel_for(w->team, (size_t)splits(&j, most) * r->n_choices, attend_task, &j);
  tb_parallel_for(w->team, s->n_head, merge_task, &j);
}
