/* Attention of one token to chosen clusters, in three parallel parts:
 *   choose   a task per choice (KV head, or query head in the published form): scores of all centroids, a histogram of
 *            how far clusters are behind the best one, clusters from the top until the budget is full
 *   attend   a task per (choice × split): the blocks of 160 positions that hold chosen rows, sinks or newest tokens,
 *            cut into splits of the same blocks whatever the number of threads. Of a block, packed stores read the parts
 *            of 32 rows that hold chosen ones, the others the chosen rows; no other counts
 *   merge    a task per query head, in order
 *
 * Score of cluster i for query head g:  s = q·mean + REACH·|q|·reach, near the largest that a row of it may have. The
 * budget is in tokens, so clusters compete by what a row can weigh, not by their sums. Heads that share a choice agree
 * by the sum over heads of 1/(1 + best s - s)²: each head gets the clusters next to its best, those first that several
 * want; and scores hundreds behind the best, which occur where attention is sharp, still differ, which exp would not let
 * them. Histogram bins are eighths of octaves of it. */
#include "cache/policy/recall.h"

#include <math.h>
#include <string.h>

enum {
  TASKS = 40, /* a layer's attention in about as many, as plain_decode.c: each begins with a wait for memory */
  SPLIT_BLOCKS = 4,
  AHEAD = 2, /* items whose rows are asked for before their turn */
  PARTS = TB_ATTN_BLOCK / TB_ATTN_PART,
  REACH = 2, /* deviations above the mean; 1 to 3 recall alike, 0 and 4 less */
};

/* Rows of a chosen cluster; its number in `first` until they are looked up. */
struct pick {
  uint32_t first, end;
};

/* A block to attend to. */
struct item {
  uint32_t block;
  uint32_t pick;        /* the first chosen cluster that reaches into it */
  uint32_t rows[PARTS]; /* bit i of rows[p]: row 32·p + i of it was chosen */
  bool all;             /* all rows count: sinks, newest */
  uint16_t pages;       /* of a spilled block: those with chosen rows (tb_spill_block) */
};

struct decode {
  struct tb_recall *r;
  struct tb_cache_work *w;
  float *out;
  uint32_t pos, heads; /* heads: query heads of a choice */
  uint32_t per_choice; /* items there is room for */
  uint32_t split;      /* items of one */
  uint32_t most_picks; /* of a choice; its picks end where its room ends */
  struct item *items;
  uint32_t *n_items;
  struct pick *picks;
  float *dots; /* q · centroid of each pick for each head of the choice */
  int8_t *q;   /* codes of all query heads, their scales */
  float *dq;
};

static uint32_t most_items(uint32_t n_ctx) {
  return n_ctx / TB_ATTN_BLOCK + 3;
}

static uint32_t splits(const struct decode *j, uint32_t n_items) {
  return (n_items + j->split - 1) / j->split;
}

/* ------------------------------------------------------------------------------------------------------- scratch */

struct memory {
  float *eq, *s, *best; /* choosing */
  uint8_t *bin;
  uint32_t *pages;     /* of spilled rows, that hold what was chosen */
  float *scores, *acc; /* attending */
};

static struct memory carve_memory(const struct tb_kv_shape *s, uint32_t cap, uint32_t n_pages, unsigned char *base,
                                  size_t *bytes) {
  struct tb_arena a = {.base = base};
  const size_t heads = s->n_head / s->n_kv, f = sizeof(float);
  struct memory m;
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

/* The memory of a thread. */
static struct memory memory_of(const struct decode *j, unsigned thread) {
  const struct tb_spill *spill = j->r->plain.spill;
  size_t unused;
  return carve_memory(j->r->plain.shape, j->r->cap, spill ? spill->shape.n_pages : 0,
                      j->w->scratch + thread * j->w->scratch_bytes + TB_STORE_SCRATCH, &unused);
}

static void carve_shared(struct decode *j, const struct tb_kv_shape *s, uint32_t n_choices, unsigned char *base,
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
  struct decode j = {.per_choice = most_items(n_ctx), .most_picks = most_picks(cap, budget)};
  size_t bytes;
  carve_shared(&j, s, n_choices, NULL, &bytes);
  return bytes;
}

/* ------------------------------------------------------------------------------------------------------ choosing */

/* Scores of all clusters for each head, and the best of them. */
static void estimate(const struct decode *j, uint32_t choice, const struct memory *m) {
  const struct tb_recall *r = j->r;
  const struct tb_kernels *k = j->w->kernels;
  const uint32_t d = r->plain.shape->d_k, n = tb_recall_n(r), head = choice * j->heads;
  const size_t at = (size_t)(head / (r->plain.shape->n_head / r->plain.shape->n_kv)) * r->cap;
  const float *q = j->w->query + (size_t)head * d;
  for (uint32_t g = 0; g < j->heads; g++) {
    float square = 0;
    for (uint32_t c = 0; c < d; c++)
      square += q[g * d + c] * q[g * d + c];
    m->eq[g] = REACH * sqrtf(square);
  }
  k->cluster_score(m->s, r->cap, j->q + (size_t)head * d, j->dq + head, m->eq, j->heads, r->c.codes + at * d,
                   r->c.scale + at, r->c.reach + at, n, d);
  for (uint32_t g = 0; g < j->heads; g++)
    m->best[g] = k->attn_max(m->s + (size_t)g * r->cap, n);
}

/* True when none of 16 bins reaches the edge: nearly always, among many clusters. */
static bool none_of_16(const uint8_t *bin, int edge) {
  uint8_t most = 0;
  for (int i = 0; i < 16; i++)
    most = bin[i] > most ? bin[i] : most;
  return most < edge;
}

struct chosen {
  struct pick *picks, *end; /* in order */
  uint32_t rows;
};

/* q · centroid: the score of a cluster less what its reach adds. */
static void note_dots(const struct decode *j, const struct memory *m, uint32_t i, const float *reach, float *dots) {
  for (uint32_t g = 0; g < j->heads; g++)
    dots[g] = m->s[(size_t)g * j->r->cap + i] - m->eq[g] * reach[i];
}

/* Clusters in bins from the top while they fit whole; then the newest of the next bin, as many as still fit. */
static struct chosen choose_clusters(const struct decode *j, uint32_t choice, const struct memory *m,
                                     const uint16_t *size, const float *reach) {
  struct tb_recall *r = j->r;
  struct tb_recalled *counts = &r->counts[choice];
  const uint32_t n = tb_recall_n(r);
  uint8_t *marks = r->c.chosen + (size_t)choice * r->cap;
  struct pick *end = j->picks + (size_t)(choice + 1) * j->most_picks, *pick = end;
  uint32_t hist[TB_CLUSTER_BINS] = {0}, left = r->par.budget;
  j->w->kernels->cluster_hist(hist, m->bin, m->s, r->cap, m->best, j->heads, size, n);
  int edge = TB_CLUSTER_BINS - 1;
  for (; edge >= 0 && hist[edge] <= left; edge--)
    left -= hist[edge];
  for (uint32_t i = n; i > 0;) {
    if (i % 16 == 0 && none_of_16(m->bin + i - 16, edge)) {
      i -= 16;
      memset(marks + i, 0, 16);
      continue;
    }
    i--;
    bool take = m->bin[i] > edge;
    if (m->bin[i] == edge && size[i] <= left) {
      take = true;
      left -= size[i];
    }
    if (take && size[i]) {
      counts->again += marks[i];
      (--pick)->first = i;
      if (r->keys.inner) note_dots(j, m, i, reach, j->dots + (size_t)(pick - j->picks) * j->heads);
    }
    marks[i] = take;
  }
  counts->chosen += (uint64_t)(end - pick);
  return (struct chosen){pick, end, r->par.budget - left};
}

/* The first row of a cluster: sizes add up to whole segments. */
static uint32_t row_of(const struct tb_recall *r, const uint16_t *size, uint32_t cluster) {
  const uint32_t each = r->par.segment / r->par.cluster, first = cluster / each * each;
  uint32_t row = first / each * r->par.segment;
  for (uint32_t i = first; i < cluster; i++)
    row += size[i];
  return row;
}

/* Rows first … end-1 of a block. */
static void mark_rows(struct item *item, uint32_t first, uint32_t end) {
  for (uint32_t part = first / TB_ATTN_PART; part * TB_ATTN_PART < end; part++) {
    const uint32_t from = part * TB_ATTN_PART, to = from + TB_ATTN_PART;
    uint32_t bits = UINT32_MAX;
    if (first > from) bits <<= first - from;
    if (end < to) bits &= UINT32_MAX >> (to - end);
    item->rows[part] |= bits;
  }
}

/* The blocks that hold rows of chosen clusters, then those that are always attended to. */
static void list_items(const struct decode *j, uint32_t choice, const uint16_t *size, struct chosen chosen) {
  const struct tb_recall *r = j->r;
  struct item *items = j->items + (size_t)choice * j->per_choice;
  uint32_t n = 0;
  for (struct pick *pick = chosen.picks; pick < chosen.end; pick++) {
    const uint32_t cluster = pick->first;
    uint32_t row = pick->first = row_of(r, size, cluster);
    for (pick->end = row + size[cluster]; row < pick->end;) {
      const uint32_t block = row / TB_ATTN_BLOCK, first = row % TB_ATTN_BLOCK;
      const uint32_t left = TB_ATTN_BLOCK - first, take = pick->end - row < left ? pick->end - row : left;
      if (!n || items[n - 1].block != block + 1)
        items[n++] = (struct item){.block = block + 1, .pick = (uint32_t)(pick - j->picks)};
      mark_rows(&items[n - 1], first, first + take);
      row += take;
    }
  }
  if (r->base) items[n++] = (struct item){.block = 0, .all = true};
  for (uint32_t b = r->clustered / TB_ATTN_BLOCK + 1; b <= tb_block_of(j->pos, r->base); b++)
    items[n++] = (struct item){.block = b, .all = true};
  j->n_items[choice] = n;
}

/* The spilled pages that hold rows of chosen clusters: the items learn of theirs, and they come into memory as far as
 * there is room; the others are read when it is their turn. */
static void load_pages(const struct decode *j, uint32_t choice, unsigned thread, struct chosen chosen,
                       uint32_t *pages) {
  const struct tb_recall *r = j->r;
  struct tb_spill *spill = r->plain.spill;
  const uint32_t each = TB_ATTN_BLOCK / spill->shape.page;
  struct item *item = j->items + (size_t)choice * j->per_choice;
  uint32_t n = 0;
  for (const struct pick *pick = chosen.picks; pick < chosen.end; pick++) {
    const uint32_t last = (pick->end - 1) / spill->shape.page;
    uint32_t page = pick->first / spill->shape.page;
    if (n && pages[n - 1] == page) page++;
    for (; page <= last; page++) {
      while (item->block != page / each + 1)
        item++;
      item->pages |= (uint16_t)(1u << page % each);
      pages[n++] = page;
    }
  }
  spill->counts[choice].wanted += n;
  spill->counts[choice].read += tb_spill_missing(spill, choice, pages, n);
  tb_spill_load(spill, j->w, thread, choice, pages, n);
}

/* The parts of a block from the first to the last that hold chosen rows, in rows. */
static struct tb_block parts_of(const struct item *item) {
  uint32_t first = 0, end = PARTS;
  while (!item->rows[first])
    first++;
  while (!item->rows[end - 1])
    end--;
  return (struct tb_block){first * TB_ATTN_PART, end * TB_ATTN_PART};
}

/* What the step reads: rows of the two sides (whole parts where a store scores no less), and all centroids. */
static void count_step(const struct decode *j, uint32_t choice, uint32_t chosen) {
  const struct tb_recall *r = j->r;
  const struct tb_store *sides[] = {&r->plain.k.main, &r->plain.v.main};
  struct tb_recalled *counts = &r->counts[choice];
  const uint32_t attended = chosen + j->pos + 1 - r->clustered;
  const struct item *items = j->items + (size_t)choice * j->per_choice;
  uint64_t packed = 0; /* rows that packed stores read */
  for (uint32_t i = 0; i < j->n_items[choice]; i++) {
    const struct tb_block b = items[i].all ? (struct tb_block){0, TB_ATTN_BLOCK} : parts_of(&items[i]);
    packed += b.end - b.first;
  }
  counts->steps++;
  counts->attended += attended;
  counts->held += j->pos + 1;
  counts->bytes += (uint64_t)tb_recall_n(r) * (r->plain.shape->d_k + 2 * sizeof(float) + sizeof *r->c.size);
  for (int i = 0; i < 2; i++) {
    const uint64_t all = sides[i]->ops->bytes(&sides[i]->config),
                   rows = (uint64_t)sides[i]->config.n_heads * sides[i]->config.cap;
    counts->bytes += all / rows * (sides[i]->ops->granule > 1 ? packed : attended);
  }
}

static void choose_task(void *arg, size_t choice, unsigned thread) {
  const struct decode *j = arg;
  const struct tb_recall *r = j->r;
  const struct tb_kv_shape *s = r->plain.shape;
  const struct memory m = memory_of(j, thread);
  const size_t at = (choice * j->heads / (s->n_head / s->n_kv)) * r->cap;
  estimate(j, (uint32_t)choice, &m);
  const struct chosen chosen = choose_clusters(j, (uint32_t)choice, &m, r->c.size + at, r->c.reach + at);
  list_items(j, (uint32_t)choice, r->c.size + at, chosen);
  if (r->plain.spill) load_pages(j, (uint32_t)choice, thread, chosen, m.pages);
  count_step(j, (uint32_t)choice, chosen.rows);
}

/* ----------------------------------------------------------------------------------------------------- attending */

struct attend {
  const struct decode *j;
  const struct tb_plain *p; /* the layer's, or this thread's view of it when it is spilled */
  const struct memory *m;
  struct tb_kv_query q;
  uint32_t kv, head;
  void *scratch;
};

/* The first run of chosen rows from row *at of a block on; false when there is none. *at is then behind it. */
static bool next_run(const struct item *item, uint32_t *at, struct tb_block *run) {
  run->end = 0;
  for (uint32_t row = *at; row < TB_ATTN_BLOCK;) {
    const uint32_t bits = item->rows[row / TB_ATTN_PART] >> row % TB_ATTN_PART, left = TB_ATTN_PART - row % TB_ATTN_PART;
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
static void fetch(const struct attend *a, const struct tb_plain_side *side, const struct item *item) {
  const struct tb_store *st = &side->main;
  if (item->all || side->slots) return;
  struct tb_block run = parts_of(item);
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
static void score_rows(const struct attend *a, const struct item *item, struct tb_block b, struct tb_block parts) {
  float *s = a->m->scores;
  for (uint32_t g = 0; g < a->j->heads; g++)
    for (uint32_t i = 0; i < parts.end - parts.first; i++)
      s[g * TB_ATTN_BLOCK + i] = -INFINITY;
  struct tb_block run;
  for (uint32_t at = parts.first; next_run(item, &at, &run);)
    tb_plain_score(a->p, a->kv, &a->q, within(b, run), s + (run.first - parts.first), a->scratch);
}

/* The same where all rows are scored together and kept less their centroids, whose scores are known. */
static void score_packed(const struct attend *a, const struct item *item, struct tb_block b, struct tb_block parts) {
  const struct decode *j = a->j;
  const struct pick *end = j->picks + (size_t)(a->head / j->heads + 1) * j->most_picks;
  const uint32_t first = (item->block - 1) * TB_ATTN_BLOCK + parts.first, n = parts.end - parts.first;
  tb_plain_score(a->p, a->kv, &a->q, within(b, parts), a->m->scores, a->scratch);
  for (uint32_t g = 0; g < j->heads; g++) {
    float more[TB_ATTN_BLOCK];
    for (uint32_t i = 0; i < n; i++)
      more[i] = -INFINITY;
    for (const struct pick *pick = j->picks + item->pick; pick < end && pick->first < first + n; pick++) {
      const uint32_t from = pick->first > first ? pick->first - first : 0, to = pick->end - first;
      const float dot = j->r->keys.inner ? j->dots[(size_t)(pick - j->picks) * j->heads + g] : 0;
      for (uint32_t i = from; i < to && i < n; i++)
        more[i] = dot;
    }
    add(a->m->scores + g * TB_ATTN_BLOCK, more, n);
  }
}

static void accum_chosen(const struct attend *a, const struct item *item, struct tb_block b, struct tb_block parts) {
  float *s = a->m->scores;
  if (a->p->v.main.ops->granule > 1) {
    tb_plain_accum(a->p, a->kv, a->j->heads, within(b, parts), s, a->m->acc, a->scratch);
    return;
  }
  struct tb_block run;
  for (uint32_t at = parts.first; next_run(item, &at, &run);)
    tb_plain_accum(a->p, a->kv, a->j->heads, within(b, run), s + (run.first - parts.first), a->m->acc, a->scratch);
}

static void attend_item(const struct attend *a, const struct item *item, uint32_t split) {
  const struct decode *j = a->j;
  const struct tb_plain *p = a->p;
  const uint32_t d_v = p->shape->d_v;
  const struct tb_block b = tb_block_at(item->block, j->r->base, j->pos + 1);
  const struct tb_block parts = item->all ? (struct tb_block){0, b.end - b.first} : parts_of(item);
  if (item->all)
    tb_plain_score(p, a->kv, &a->q, b, a->m->scores, a->scratch);
  else if (p->k.main.ops->granule > 1)
    score_packed(a, item, b, parts);
  else
    score_rows(a, item, b, parts);
  float nearest = -INFINITY;
  for (uint32_t g = 0; g < j->heads; g++)
    nearest = fmaxf(nearest,
                    tb_plain_fold(j->w, d_v, tb_plain_partial(p, j->w, split, a->head + g), a->m->acc + g * d_v,
                                  a->m->scores + g * TB_ATTN_BLOCK, parts.end - parts.first));
  if (!tb_plain_matters(p, nearest)) return;
  if (item->all)
    tb_plain_accum(p, a->kv, j->heads, b, a->m->scores, a->m->acc, a->scratch);
  else
    accum_chosen(a, item, b, parts);
}

static void attend_task(void *arg, size_t task, unsigned thread) {
  const struct decode *j = arg;
  const struct tb_recall *r = j->r;
  const struct tb_kv_shape *s = r->plain.shape;
  const uint32_t choice = (uint32_t)(task % r->n_choices), split = (uint32_t)(task / r->n_choices);
  const uint32_t first = split * j->split, head = choice * j->heads;
  if (first >= j->n_items[choice]) return;
  const uint32_t end = first + j->split < j->n_items[choice] ? first + j->split : j->n_items[choice];
  unsigned char *scratch = j->w->scratch + thread * j->w->scratch_bytes;
  const struct memory m = memory_of(j, thread);
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
  const struct item *items = j->items + (size_t)choice * j->per_choice;
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

static void merge_task(void *arg, size_t head, unsigned thread) {
  const struct decode *j = arg;
  tb_plain_merge(&j->r->plain, j->w, splits(j, j->n_items[head / j->heads]), (uint32_t)head,
                 j->out + head * j->r->plain.shape->d_v, j->w->scratch + thread * j->w->scratch_bytes);
}

void tb_recall_decode(struct tb_recall *r, struct tb_cache_work *w, uint32_t pos, const float *q, float *out) {
  const struct tb_kv_shape *s = r->plain.shape;
  struct decode j = {.r = r, .w = w, .out = out, .pos = pos, .heads = s->n_head / r->n_choices};
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
