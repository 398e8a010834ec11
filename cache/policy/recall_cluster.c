/* Clustering of a segment: k-means on the keys of one KV head, begun at every m-th key, on 8-bit codes: a key's code is
 * within 1/254 of its largest value of the key, far closer than the keys of a cluster are to each other. Distances are
 * Euclidean: |k - m|² = |k|² - 2·(k·m - |m|²/2), so the nearest mean has the greatest k·m - |m|²/2. A head's keys are
 * taken less the mean of its first segment, which changes all scores of a query alike and keeps what many keys share
 * out of the codes. The published form compares directions instead, and subtracts nothing. */
#include "cache/policy/recall.h"

#include <math.h>
#include <string.h>

#define EMPTY (-1e30f) /* reach of a cluster without rows: it ranks behind all others */

enum { TILE = 32 }; /* rows that become floats together; divides every segment */

/* The scratch of a thread, after the store's. */
struct memory {
  float *rows;  /* a granule's: TB_ATTN_BLOCK · max(d_k, d_v) */
  int8_t *code; /* segment · d */
  float *scale; /* of the codes */
  float *ones;  /* factors of the two terms of a distance: scales of queries, -1 */
  float *minus;
  uint16_t *label;
  uint16_t *order;
  unsigned char *done;
  float *sum; /* clusters · d */
  uint32_t *count;
  int8_t *lanes;  /* whole tiles of centroids */
  float *dx, *bx; /* their scales, their |m|²/2 */
  int8_t *one;    /* a centroid's codes */
};

static struct memory carve_memory(const struct tb_kv_shape *s, const struct tb_recall_params *par, unsigned char *base,
                                  size_t *bytes) {
  struct tb_arena a = {.base = base};
  const size_t f = sizeof(float), n = par->segment, d = s->d_k, c = n / par->cluster;
  const size_t whole = tb_cluster_tiles(c) * TB_CLUSTER_TILE, widest = d > s->d_v ? d : s->d_v;
  struct memory m;
  m.rows = tb_carve(&a, TB_ATTN_BLOCK * widest, f);
  m.code = tb_carve(&a, n, d);
  m.scale = tb_carve(&a, n, f);
  m.ones = tb_carve(&a, n, f);
  m.minus = tb_carve(&a, n, f);
  m.label = tb_carve(&a, n, sizeof *m.label);
  m.order = tb_carve(&a, n, sizeof *m.order);
  m.done = tb_carve(&a, n, 1);
  m.sum = tb_carve(&a, c * d, f);
  m.count = tb_carve(&a, c, sizeof *m.count);
  m.lanes = tb_carve(&a, whole, d);
  m.dx = tb_carve(&a, whole, f);
  m.bx = tb_carve(&a, whole, f);
  m.one = tb_carve(&a, d, 1);
  *bytes = a.used;
  return m;
}

size_t tb_recall_cluster_scratch(const struct tb_kv_shape *s, const struct tb_recall_params *par) {
  size_t bytes;
  carve_memory(s, par, NULL, &bytes);
  const size_t unsort = TB_CLUSTER_D_MAX * sizeof(float) + par->segment * (1 + sizeof(uint16_t));
  return TB_STORE_SCRATCH + (bytes > unsort ? bytes : unsort);
}

struct job {
  struct tb_recall *r;
  struct tb_cache_work *w;
  uint32_t first; /* position of the segment's first token, less base */
};

/* ------------------------------------------------------------------------------------------------------- means */

/* Rows at positions from pos on, as floats. */
static void load(const struct tb_plain_side *s, uint32_t head, uint32_t pos, uint32_t n, float *x, void *scratch) {
  for (uint32_t at = 0; at < n;) {
    struct tb_plain_run run = tb_plain_locate(s, pos + at, n - at);
    run.store->ops->expand(run.store, head, run.row, run.n, pos + at, x + (size_t)at * s->main.config.d,
                           s->main.config.d, scratch);
    at += run.n;
  }
}

static void find_centre(const struct job *j, uint32_t head, const struct memory *m, void *scratch) {
  const uint32_t n = j->r->par.segment, d = j->r->plain.shape->d_k;
  float *centre = j->r->centre + (size_t)head * d;
  memset(centre, 0, d * sizeof *centre);
  if (j->r->par.published) return;
  for (uint32_t t = 0; t < n; t += TILE) {
    load(&j->r->plain.k, head, j->r->base + j->first + t, TILE, m->rows, scratch);
    for (uint32_t i = 0; i < TILE * d; i++)
      centre[i % d] += m->rows[i];
  }
  for (uint32_t c = 0; c < d; c++)
    centre[c] /= (float)n;
}

static void load_codes(const struct job *j, uint32_t head, const struct memory *m, void *scratch) {
  const uint32_t n = j->r->par.segment, d = j->r->plain.shape->d_k;
  const float *centre = j->r->centre + (size_t)head * d;
  for (uint32_t t = 0; t < n; t += TILE) {
    load(&j->r->plain.k, head, j->r->base + j->first + t, TILE, m->rows, scratch);
    j->w->kernels->cluster_code(m->code + (size_t)t * d, m->scale + t, m->rows, d, centre, TILE, d);
  }
}

/* Squared length of a row of codes, in units of its scale. */
static float squares(const int8_t *code, uint32_t d) {
  int32_t sum = 0;
  for (uint32_t c = 0; c < d; c++)
    sum += code[c] * code[c];
  return (float)sum;
}

/* Centroid i becomes `code`·scale; its two terms of a distance. */
static void set_centroid(const struct memory *m, uint32_t i, const int8_t *code, float scale, uint32_t d, bool cosine) {
  const float square = squares(code, d);
  for (uint32_t c = 0; c < d; c++)
    m->lanes[tb_cluster_place(i, c, d)] = code[c];
  m->dx[i] = !cosine ? scale : square > 0 ? 1 / sqrtf(square) : 0;
  m->bx[i] = cosine ? 0 : 0.5f * square * scale * scale;
}

static void sum_rows(const struct tb_kernels *k, const struct memory *m, uint32_t n, uint32_t n_clusters, uint32_t d) {
  memset(m->sum, 0, (size_t)n_clusters * d * sizeof *m->sum);
  memset(m->count, 0, n_clusters * sizeof *m->count);
  for (uint32_t i = 0; i < n; i++)
    m->count[m->label[i]]++;
  k->cluster_sum(m->sum, m->label, m->code, m->scale, n, d);
  for (uint32_t i = 0; i < n_clusters; i++)
    for (uint32_t c = 0; c < d && m->count[i]; c++)
      m->sum[(size_t)i * d + c] /= (float)m->count[i];
}

/* Labels of all rows. A cluster that loses all its rows keeps its centroid. */
static void k_means(const struct job *j, const struct memory *m, const float *zero) {
  const struct tb_kernels *k = j->w->kernels;
  const struct tb_recall_params *par = &j->r->par;
  const uint32_t n = par->segment, d = j->r->plain.shape->d_k, n_clusters = n / par->cluster;
  for (uint32_t i = 0; i < n_clusters; i++) {
    const uint32_t seed = i * par->cluster + par->cluster / 2;
    set_centroid(m, i, m->code + (size_t)seed * d, m->scale[seed], d, par->published);
  }
  for (uint32_t i = 0; i < n; i++) {
    m->ones[i] = par->published ? 1 : m->scale[i];
    m->minus[i] = -1;
  }
  for (uint32_t turn = 0;; turn++) {
    k->cluster_assign(m->label, m->code, m->ones, m->minus, n, m->lanes, m->dx, m->bx, n_clusters, d);
    sum_rows(k, m, n, n_clusters, d);
    if (turn == par->iterations) break;
    for (uint32_t i = 0; i < n_clusters; i++) {
      float scale;
      if (m->count[i] == 0) continue;
      k->cluster_code(m->one, &scale, m->sum + (size_t)i * d, d, zero, 1, d);
      set_centroid(m, i, m->one, scale, d, par->published);
    }
  }
}

/* ------------------------------------------------------------------------------------------------------ keeping */

/* Means and reaches of the labels, as decoding wants them. */
static void describe(const struct job *j, uint32_t head, const struct memory *m, const float *zero) {
  struct tb_recall *r = j->r;
  const uint32_t n = r->par.segment, d = r->plain.shape->d_k, n_clusters = n / r->par.cluster;
  const uint32_t first = j->first / r->par.cluster;
  const size_t at = (size_t)head * r->cap;
  float *spread = m->bx; /* no longer needed: sums of squared lengths */
  memset(spread, 0, n_clusters * sizeof *spread);
  for (uint32_t i = 0; i < n; i++)
    spread[m->label[i]] += squares(m->code + (size_t)i * d, d) * m->scale[i] * m->scale[i];
  for (uint32_t i = 0; i < n_clusters; i++) {
    const float *mean = m->sum + (size_t)i * d;
    float scale, length = 0;
    for (uint32_t c = 0; c < d; c++)
      length += mean[c] * mean[c];
    j->w->kernels->cluster_code(m->one, &scale, mean, d, zero, 1, d);
    for (uint32_t c = 0; c < d; c++)
      r->c.codes[at * d + tb_cluster_place(first + i, c, d)] = m->one[c];
    const float variance = m->count[i] ? (spread[i] / (float)m->count[i] - length) / (float)d : 0;
    r->c.scale[at + first + i] = scale;
    r->c.reach[at + first + i] = !m->count[i] ? EMPTY : variance > 0 && !r->par.published ? sqrtf(variance) : 0;
    r->c.size[at + first + i] = (uint16_t)m->count[i];
  }
}

/* order[i]: the row that comes to place i; rows of a cluster keep their order. */
static void sort_labels(const struct memory *m, uint32_t n, uint32_t n_clusters, uint16_t *order) {
  uint32_t at = 0;
  for (uint32_t i = 0; i < n_clusters; i++) {
    const uint32_t size = m->count[i];
    m->count[i] = at;
    at += size;
  }
  for (uint32_t i = 0; i < n; i++)
    order[m->count[m->label[i]]++] = (uint16_t)i;
}

void tb_recall_permute(const struct tb_store *st, uint32_t head, uint32_t first, const uint16_t *order, uint32_t n,
                       unsigned char *done, unsigned char *row) {
  size_t at, bytes;
  st->ops->span(&st->config, head, 1, &at, &bytes);
  unsigned char *rows = st->mem + at + first * bytes;
  memset(done, 0, n);
  for (uint32_t start = 0; start < n; start++) {
    if (done[start]) continue;
    memcpy(row, rows + start * bytes, bytes);
    uint32_t to = start;
    for (; order[to] != start; to = order[to]) {
      memcpy(rows + to * bytes, rows + order[to] * bytes, bytes);
      done[to] = 1;
    }
    memcpy(rows + to * bytes, row, bytes);
    done[to] = 1;
  }
}

/* A side's rows in their new order: in place, or out of the tail into whole granules. */
static void move_rows(const struct job *j, struct tb_plain_side *s, uint32_t head, const struct memory *m,
                      void *scratch) {
  const uint32_t n = j->r->par.segment, granule = s->main.ops->granule, d = s->main.config.d;
  const uint16_t *order = m->order;
  if (s->direct) {
    tb_recall_permute(&s->main, head, j->r->base + j->first, order, n, m->done, (unsigned char *)m->rows);
    return;
  }
  for (uint32_t t = 0; t < n; t += granule) {
    for (uint32_t i = 0; i < granule; i++)
      load(s, head, j->r->base + j->first + order[t + i], 1, m->rows + (size_t)i * d, scratch);
    if (s == &j->r->plain.k) tb_recall_keys_subtract(j->r, head, j->first + t, granule, m->rows, d);
    s->main.ops->encode(&s->main, head, j->first + t, granule, 0, m->rows, d, scratch);
  }
}

/* The same for both sides, page by page, out of the tail into memory and file, until the file refuses. */
static void spill_rows(const struct job *j, uint32_t head, unsigned thread, const struct memory *m, void *scratch) {
  struct tb_plain *p = &j->r->plain;
  const uint32_t n = p->spill->shape.page;
  struct tb_plain_side *sides[2] = {&p->k, &p->v};
  for (uint32_t t = 0; t < j->r->par.segment; t += n) {
    const uint32_t page = (j->first + t) / n, slot = tb_spill_take(p->spill, head, page);
    for (int side = 0; side < 2; side++) {
      const struct tb_plain_side *s = sides[side];
      const uint32_t d = s->main.config.d;
      for (uint32_t i = 0; i < n; i++)
        load(s, head, j->r->base + j->first + m->order[t + i], 1, m->rows + (size_t)i * d, scratch);
      if (side == TB_SIDE_K) tb_recall_keys_subtract(j->r, head, j->first + t, n, m->rows, d);
      s->main.ops->encode(&sides[side]->main, head, slot * n, n, 0, m->rows, d, scratch);
    }
    if (!tb_spill_write(p->spill, j->w, thread, head, page)) return;
  }
}

static void head_task(void *arg, size_t head, unsigned thread) {
  static const float zero[TB_CLUSTER_D_MAX] = {0};
  const struct job *j = arg;
  struct tb_recall *r = j->r;
  unsigned char *scratch = j->w->scratch + thread * j->w->scratch_bytes;
  size_t unused;
  const struct memory m = carve_memory(r->plain.shape, &r->par, scratch + TB_STORE_SCRATCH, &unused);
  if (j->first == 0) find_centre(j, (uint32_t)head, &m, scratch);
  load_codes(j, (uint32_t)head, &m, scratch);
  k_means(j, &m, zero);
  describe(j, (uint32_t)head, &m, zero);
  sort_labels(&m, r->par.segment, r->par.segment / r->par.cluster, m.order);
  memcpy(r->from + head * r->rows + j->first, m.order, r->par.segment * sizeof *m.order);
  if (r->plain.spill) {
    spill_rows(j, (uint32_t)head, thread, &m, scratch);
    return;
  }
  move_rows(j, &r->plain.k, (uint32_t)head, &m, scratch);
  move_rows(j, &r->plain.v, (uint32_t)head, &m, scratch);
}

void tb_recall_cluster(struct tb_recall *r, struct tb_cache_work *w) {
  struct job j = {r, w, r->clustered};
  tb_parallel_for(w->team, r->plain.shape->n_kv, head_task, &j);
}
