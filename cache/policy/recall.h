/* Inside of the recall policy: what it holds beside the rows, which are kept as the plain policy keeps them. */
#ifndef TB_CACHE_POLICY_RECALL_H
#define TB_CACHE_POLICY_RECALL_H

#include "cache/policy/plain.h"
#include "cache/policy/spill.h"

/* A plan line's numbers, its zeros filled in. */
struct tb_recall_params {
  uint32_t budget, cluster, segment;
  uint32_t iterations; /* of k-means */
  bool published;
};

/* Operations of the packed keys of clustered rows (recall_keys.c); inner NULL: those of their type. */
struct tb_recall_keys {
  struct tb_store_ops ops;
  const struct tb_store_ops *inner;
};

/* What describes the clusters of a layer: an array for each KV head of the same `cap` clusters, those in use first. */
struct tb_recall_clusters {
  int8_t *codes;  /* centroid less the head's centre: codes in lanes (simd/cluster), cap · d */
  float *scale;   /* of the codes */
  float *reach;   /* root of the mean variance of a channel within the cluster */
  uint16_t *size; /* rows; clusters follow each other in the order of rows */
  uint8_t *chosen; /* by the last step, one array for each choice */
};

struct tb_recall {
  struct tb_plain plain; /* positions base … base+clustered-1 hold rows in the order of clusters, segment by segment */
  struct tb_recall_params par;
  uint32_t base;       /* sinks, which are never clustered */
  uint32_t clustered;  /* tokens, a multiple of par.segment */
  uint32_t cap;        /* clusters of a head, rounded up to whole tiles */
  uint32_t rows;       /* most tokens that may be clustered */
  uint32_t window;     /* newest tokens that are not clustered */
  uint32_t n_ctx;
  uint32_t n_choices;  /* that a step makes: KV heads, or query heads in the published form */
  struct tb_recall_clusters c;
  struct tb_recall_keys keys;
  float *centre;       /* n_kv · d: mean of the first segment's keys */
  uint16_t *from;      /* n_kv · rows: the row at i came from position from[i] of its segment */
  struct tb_recalled *counts; /* n_choices */
};

struct tb_recall_params tb_recall_params_of(const struct tb_plan_layer *plan);
/* Rows that main holds of each head when a part is spilled, or 0. */
uint32_t tb_recall_rows(const struct tb_policy_layer *l);

static inline uint32_t tb_recall_n(const struct tb_recall *r) { return r->clustered / r->par.cluster; }

/* recall_cluster.c: clusters the segment that begins at position base + clustered; every head on its own. */
void tb_recall_cluster(struct tb_recall *r, struct tb_cache_work *w);
size_t tb_recall_cluster_scratch(const struct tb_kv_shape *s, const struct tb_recall_params *par);
/* Rows of a side whose rows are contiguous change places: row first + i becomes what row first + order[i] was.
 * `done`: n bytes of workspace. */
void tb_recall_permute(const struct tb_store *st, uint32_t head, uint32_t first, const uint16_t *order, uint32_t n,
                       unsigned char *done, unsigned char *row);

/* recall_keys.c. init: of a policy's object in its place, the K side's store made. subtract: what is kept of n rows, the
 * clustered ones from `first` on, whose clusters are described. */
void tb_recall_keys_init(struct tb_recall *r);
void tb_recall_keys_subtract(const struct tb_recall *r, uint32_t head, uint32_t first, uint32_t n, float *x, size_t ldx);

/* recall_decode.c: one query token. */
void tb_recall_decode(struct tb_recall *r, struct tb_cache_work *w, uint32_t pos, const float *q, float *out);
size_t tb_recall_decode_scratch(const struct tb_kv_shape *s, uint32_t cap, uint32_t n_pages);
size_t tb_recall_decode_shared(const struct tb_kv_shape *s, uint32_t n_choices, uint32_t n_ctx, uint32_t cap,
                               uint32_t budget);

#endif
