/* Packed keys of clustered rows are kept less the centroid of their cluster, which recall keeps anyway: what is left is
 * shorter, so that as few levels are closer to it, for no more bytes. A head's common centre stays in the rows; the
 * midpoints of channels take it up.
 *
 * Decoding scores all centroids before it chooses, and adds the chosen ones' scores to those of what is left
 * (recall_decode.c). Prompts and truncation want whole rows: main of the K side gets the operations of its type but
 * expand, which adds the centroids. It knows a row's cluster by the position: p - base among the clustered ones,
 * wherever main keeps the row. */
#include "cache/policy/recall.h"

/* x += factor · centroid of its cluster, for n rows from the clustered one `first` on. */
static void add_centroids(const struct tb_recall *r, uint32_t head, uint32_t first, uint32_t n, float factor, float *x,
                          size_t ldx) {
  const uint32_t d = r->plain.shape->d_k, segment = first / r->par.segment;
  const size_t clusters = (size_t)head * r->cap;
  const int8_t *codes = r->c.codes + clusters * d;
  const uint16_t *size = r->c.size + clusters;
  float centroid[TB_CLUSTER_D_MAX];
  uint32_t i = segment * (r->par.segment / r->par.cluster); /* a cluster, */
  uint32_t end = segment * r->par.segment;                  /* and where the rows of those before it end */
  for (uint32_t t = first; t < first + n; i++) {
    end += size[i];
    if (end <= t) continue;
    const float scale = factor * r->c.scale[clusters + i];
    for (uint32_t c = 0; c < d; c++)
      centroid[c] = scale * (float)codes[tb_cluster_place(i, c, d)];
    for (; t < end && t < first + n; t++)
      for (uint32_t c = 0; c < d; c++)
        x[(t - first) * ldx + c] += centroid[c];
  }
}

void tb_recall_keys_subtract(const struct tb_recall *r, uint32_t head, uint32_t first, uint32_t n, float *x,
                             size_t ldx) {
  if (r->keys.inner) add_centroids(r, head, first, n, -1, x, ldx);
}

static void expand(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, float *x,
                   size_t ldx, void *scratch) {
  const struct tb_recall *r = st->around;
  struct tb_store inner = *st;
  inner.ops = r->keys.inner;
  inner.ops->expand(&inner, head, t0, n, pos, x, ldx, scratch);
  add_centroids(r, head, pos - r->base, n, 1, x, ldx);
}

void tb_recall_keys_init(struct tb_recall *r) {
  struct tb_store *main = &r->plain.k.main;
  if (main->ops->granule == 1 || r->par.published) return;
  r->keys.inner = main->ops;
  r->keys.ops = *main->ops;
  r->keys.ops.expand = expand;
  main->ops = &r->keys.ops;
  main->around = r;
}
