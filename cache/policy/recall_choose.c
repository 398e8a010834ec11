/* Choosing for one token: scores of all centroids, a histogram of how far clusters are behind the best one, clusters
 * from the top until the budget is full.
 *
 * Score of cluster i for query head g:  s = q·mean + REACH·|q|·reach, near the largest that a row of it may have. The
 * budget is in tokens, so clusters compete by what a row can weigh, not by their sums. Heads that share a choice agree
 * by the sum over heads of 1/(1 + best s - s)²: each head gets the clusters next to its best, those first that several
 * want; and scores hundreds behind the best, which occur where attention is sharp, still differ, which exp would not
 * let them. Histogram bins are eighths of octaves of it. */
#include "cache/policy/recall_decode.h"

#include <math.h>
#include <string.h>

enum { REACH = 2 }; /* deviations above the mean; 1 to 3 recall alike, 0 and 4 less */

/* Scores of all clusters for each head, and the best of them. */
static void estimate(const struct tb_recall_step *j, uint32_t choice, const struct tb_recall_memory *m) {
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
  struct tb_recall_pick *picks, *end; /* in order */
  uint32_t rows;
};

/* q · centroid: the score of a cluster less what its reach adds. */
static void note_dots(const struct tb_recall_step *j, const struct tb_recall_memory *m, uint32_t i, const float *reach,
                      float *dots) {
  for (uint32_t g = 0; g < j->heads; g++)
    dots[g] = m->s[(size_t)g * j->r->cap + i] - m->eq[g] * reach[i];
}

/* Clusters in bins from the top while they fit whole; then the newest of the next bin, as many as still fit. */
static struct chosen choose_clusters(const struct tb_recall_step *j, uint32_t choice, const struct tb_recall_memory *m,
                                     const uint16_t *size, const float *reach) {
  struct tb_recall *r = j->r;
  struct tb_recalled *counts = &r->counts[choice];
  const uint32_t n = tb_recall_n(r);
  uint8_t *marks = r->c.chosen + (size_t)choice * r->cap;
  struct tb_recall_pick *end = j->picks + (size_t)(choice + 1) * j->most_picks, *pick = end;
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
static void mark_rows(struct tb_recall_item *item, uint32_t first, uint32_t end) {
  for (uint32_t part = first / TB_ATTN_PART; part * TB_ATTN_PART < end; part++) {
    const uint32_t from = part * TB_ATTN_PART, to = from + TB_ATTN_PART;
    uint32_t bits = UINT32_MAX;
    if (first > from) bits <<= first - from;
    if (end < to) bits &= UINT32_MAX >> (to - end);
    item->rows[part] |= bits;
  }
}

/* The blocks that hold rows of chosen clusters, then those that are always attended to. */
static void list_items(const struct tb_recall_step *j, uint32_t choice, const uint16_t *size, struct chosen chosen) {
  const struct tb_recall *r = j->r;
  struct tb_recall_item *items = j->items + (size_t)choice * j->per_choice;
  uint32_t n = 0;
  for (struct tb_recall_pick *pick = chosen.picks; pick < chosen.end; pick++) {
    const uint32_t cluster = pick->first;
    uint32_t row = pick->first = row_of(r, size, cluster);
    for (pick->end = row + size[cluster]; row < pick->end;) {
      const uint32_t block = row / TB_ATTN_BLOCK, first = row % TB_ATTN_BLOCK;
      const uint32_t left = TB_ATTN_BLOCK - first, take = pick->end - row < left ? pick->end - row : left;
      if (!n || items[n - 1].block != block + 1)
        items[n++] = (struct tb_recall_item){.block = block + 1, .pick = (uint32_t)(pick - j->picks)};
      mark_rows(&items[n - 1], first, first + take);
      row += take;
    }
  }
  if (r->base) items[n++] = (struct tb_recall_item){.block = 0, .all = true};
  for (uint32_t b = r->clustered / TB_ATTN_BLOCK + 1; b <= tb_block_of(j->pos, r->base); b++)
    items[n++] = (struct tb_recall_item){.block = b, .all = true};
  j->n_items[choice] = n;
}

/* The spilled pages that hold rows of chosen clusters: the items learn of theirs, and they come into memory as far as
 * there is room; the others are read when it is their turn. */
static void load_pages(const struct tb_recall_step *j, uint32_t choice, unsigned thread, struct chosen chosen,
                       uint32_t *pages) {
  const struct tb_recall *r = j->r;
  struct tb_spill *spill = r->plain.spill;
  const uint32_t each = TB_ATTN_BLOCK / spill->shape.page;
  struct tb_recall_item *item = j->items + (size_t)choice * j->per_choice;
  uint32_t n = 0;
  for (const struct tb_recall_pick *pick = chosen.picks; pick < chosen.end; pick++) {
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

/* What the step reads: rows of the two sides (whole parts where a store scores no less), and all centroids. */
static void count_step(const struct tb_recall_step *j, uint32_t choice, uint32_t chosen) {
  const struct tb_recall *r = j->r;
  const struct tb_store *sides[] = {&r->plain.k.main, &r->plain.v.main};
  struct tb_recalled *counts = &r->counts[choice];
  const uint32_t attended = chosen + j->pos + 1 - r->clustered;
  const struct tb_recall_item *items = j->items + (size_t)choice * j->per_choice;
  uint64_t packed = 0; /* rows that packed stores read */
  for (uint32_t i = 0; i < j->n_items[choice]; i++) {
    const struct tb_block b = items[i].all ? (struct tb_block){0, TB_ATTN_BLOCK} : tb_recall_parts(&items[i]);
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

void tb_recall_choose(const struct tb_recall_step *j, uint32_t choice, unsigned thread) {
  const struct tb_recall *r = j->r;
  const struct tb_kv_shape *s = r->plain.shape;
  const struct tb_recall_memory m = tb_recall_memory_of(j, thread);
  const size_t at = ((size_t)choice * j->heads / (s->n_head / s->n_kv)) * r->cap;
  estimate(j, choice, &m);
  const struct chosen chosen = choose_clusters(j, choice, &m, r->c.size + at, r->c.reach + at);
  list_items(j, choice, r->c.size + at, chosen);
  if (r->plain.spill) load_pages(j, choice, thread, chosen, m.pages);
  count_step(j, choice, chosen.rows);
}
