/* Packed keys of clustered rows are kept less the centroid of their cluster, which recall keeps anyway: what is left is
 * shorter, so that as few levels are closer to it, for no more bytes. A head's common centre stays in the rows; the
 * midpoints of channels take it up. main of the K side gets operations of its own, those of its type but
 *
 *   score    q · row = q · (row - centroid) + q · centroid, the second as 8-bit codes of q and centroid (simd/cluster)
 *   expand   adds the centroid
 *
 * Both know a row's cluster by its position: row p - base of the clustered ones, wherever main keeps it. */
#include <math.h>
#include "cache/policy/recall.h"
#include "cache/store/fetch.h"

enum { QUERIES = 8 /* heads at a time: what lies on the stack */ };

/* A KV head's clusters from the one that holds `row` on. */
struct walk {
  const struct tb_recall *r;
  const uint16_t *size;
  size_t head;    /* first of its clusters in the arrays */
  uint32_t i, at; /* the cluster, its first row */
};

static struct walk walk_from(const struct tb_recall *r, uint32_t head, uint32_t row) {
  const uint32_t segment = row / r->par.segment;
  struct walk w = {.r = r, .head = (size_t)head * r->cap, .i = segment * (r->par.segment / r->par.cluster)};
  w.size = r->c.size + w.head;
  w.at = segment * r->par.segment;
  while (w.at + w.size[w.i] <= row)
    w.at += w.size[w.i++];
  return w;
}

static void next(struct walk *w) {
  w->at += w->size[w->i++];
}

/* Rows of its cluster among first … end-1. */
static struct tb_block rows_of(const struct walk *w, uint32_t first, uint32_t end) {
  const uint32_t last = w->at + w->size[w->i];
  return (struct tb_block){w->at > first ? w->at : first, last < end ? last : end};
}

static void add_centroids(const struct tb_recall *r, uint32_t head, uint32_t first, uint32_t n, float factor, float *x,
                          size_t ldx) {
  const uint32_t d = r->plain.shape->d_k, end = first + n;
  float centroid[TB_CLUSTER_D_MAX];
  for (struct walk w = walk_from(r, head, first); w.at < end; next(&w)) {
    const struct tb_block rows = rows_of(&w, first, end);
    if (rows.first >= rows.end) continue;
    const int8_t *codes = r->c.codes + w.head * d;
    const float scale = factor * r->c.scale[w.head + w.i];
    for (uint32_t c = 0; c < d; c++)
      centroid[c] = scale * (float)codes[tb_cluster_place(w.i, c, d)];
    for (uint32_t t = rows.first; t < rows.end; t++)
      for (uint32_t c = 0; c < d; c++)
        x[(t - first) * ldx + c] += centroid[c];
  }
}

void tb_recall_keys_subtract(const struct tb_recall *r, uint32_t head, uint32_t first, uint32_t n, float *x,
                             size_t ldx) {
  if (r->keys.inner) add_centroids(r, head, first, n, -1, x, ldx);
}

static struct tb_store inner_of(const struct tb_store *st) {
  struct tb_store inner = *st;
  inner.ops = st->around->keys.inner;
  return inner;
}

static void expand(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, float *x,
                   size_t ldx, void *scratch) {
  const struct tb_store inner = inner_of(st);
  inner.ops->expand(&inner, head, t0, n, pos, x, ldx, scratch);
  add_centroids(st->around, head, pos - st->around->base, n, 1, x, ldx);
}

static void add_to(float *restrict s, uint32_t n, float x) {
  for (uint32_t i = 0; i < n; i++)
    s[i] += x;
}

/* s += q · centroid for at most QUERIES heads, whose codes are here. */
static void score_centroids(const struct tb_kernels *k, struct walk w, uint32_t first, uint32_t end, const int8_t *code,
                            const float *scale, uint32_t heads, float *s, size_t lds) {
  static const float zero[QUERIES] = {0};
  const struct tb_recall *r = w.r;
  const uint32_t d = r->plain.shape->d_k;
  float dot[QUERIES * TB_CLUSTER_TILE];
  for (bool begun = false; w.at < end; next(&w), begun = true) {
    const struct tb_block rows = rows_of(&w, first, end);
    const size_t tile = w.head + w.i / TB_CLUSTER_TILE * TB_CLUSTER_TILE;
    if (!begun || w.i % TB_CLUSTER_TILE == 0)
      k->cluster_score(dot, TB_CLUSTER_TILE, code, scale, zero, heads, r->c.codes + tile * d, r->c.scale + tile,
                       r->c.reach + tile, TB_CLUSTER_TILE, d);
    for (uint32_t g = 0; g < heads && rows.first < rows.end; g++)
      add_to(s + g * lds + (rows.first - first), rows.end - rows.first, dot[g * TB_CLUSTER_TILE + w.i % TB_CLUSTER_TILE]);
  }
}

static void score(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos,
                  const struct tb_kv_query *q, float *s, size_t lds, void *scratch) {
  const struct tb_recall *r = st->around;
  const struct tb_store inner = inner_of(st);
  const uint32_t first = pos - r->base;
  inner.ops->score(&inner, head, t0, n, pos, q, s, lds, scratch);
  const struct walk w = walk_from(r, head, first);
  for (uint32_t g = 0; g < q->n_q; g += QUERIES) {
    const uint32_t heads = q->n_q - g < QUERIES ? q->n_q - g : QUERIES;
    score_centroids(st->kernels, w, first, first + n, q->rows + (size_t)g * st->config.d, q->scales + g, heads,
                    s + g * lds, lds);
  }
}

/* Rows are where they were clustered: what is spilled is not asked for. */
static void fetch(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n) {
  const struct tb_store inner = inner_of(st);
  const struct walk w = walk_from(st->around, head, t0);
  const size_t tile = (w.head + w.i / TB_CLUSTER_TILE * TB_CLUSTER_TILE) * st->config.d;
  inner.ops->fetch(&inner, head, t0, n);
  tb_fetch((const unsigned char *)st->around->c.codes + tile, (size_t)TB_CLUSTER_TILE * st->config.d);
}

void tb_recall_keys_init(struct tb_recall *r) {
  struct tb_store *main = &r->plain.k.main;
  if (main->ops->granule == 1 || r->par.published) return;
  r->keys.inner = main->ops;
  r->keys.ops = *main->ops;
  r->keys.ops.score = score;
  r->keys.ops.expand = expand;
  r->keys.ops.fetch = fetch;
  main->ops = &r->keys.ops;
  main->around = r;
}
