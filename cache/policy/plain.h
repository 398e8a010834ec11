/* Inside of the plain policy: one side (keys or values) of one layer, and where its rows are.
 *
 *   position:  0 … sinks-1 | sinks … sinks+encoded-1     | … length-1
 *   kept in:   sink (f16)  | main, in whole granules     | tail (f16), the newest `window` to window+granule-1 tokens
 *
 * Tokens that come in one step attend to each other exactly: those that the tail has no room for lie in a chunk (f16,
 * shared by all layers) from append to the end of attend, which encodes what has left the window.
 *
 * A store that encodes row by row (granule 1) needs neither sink nor tail: main holds everything. */
#ifndef TB_CACHE_POLICY_PLAIN_H
#define TB_CACHE_POLICY_PLAIN_H

#include "cache/policy/policy.h"

struct tb_plain_side {
  struct tb_store main, sink, tail, chunk; /* chunk: memory of the work area, cap n_batch */
  uint32_t sinks; /* 0 when granule is 1 */
  uint32_t window;
  uint32_t encoded; /* rows in main that hold tokens; granule 1: unused, like the two below */
  uint32_t tail_rows, chunk_rows;
};

struct tb_plain {
  struct tb_policy base;
  const struct tb_kv_shape *shape;
  struct tb_plain_side k, v;
  uint32_t length; /* tokens held */
};

/* Where a position is: the store, its row, and how many further positions follow there (limit ≥ 1 given). */
struct tb_plain_run {
  const struct tb_store *store;
  uint32_t row, n;
};
struct tb_plain_run tb_plain_locate(const struct tb_plain_side *side, uint32_t pos, uint32_t limit);

/* n contiguous query rows (d_k) or output rows (d_v) of a KV head into and out of the basis of the layer's stores. */
void tb_plain_turn_query(const struct tb_plain *p, uint32_t kv, uint32_t n, float *q, void *scratch);
void tb_plain_turn_output(const struct tb_plain *p, uint32_t kv, uint32_t n, float *o, void *scratch);

/* plain_decode.c: one query token. plain_prefill.c: several. */
void tb_plain_decode(struct tb_plain *p, struct tb_cache_work *w, uint32_t pos, const float *q, float *out);
void tb_plain_prefill(struct tb_plain *p, struct tb_cache_work *w, uint32_t pos, uint32_t n, const float *q,
                      float *out);

/* Workspace bounds of the two. */
size_t tb_plain_decode_scratch(const struct tb_kv_shape *s);
size_t tb_plain_prefill_scratch(const struct tb_kv_shape *s);
size_t tb_plain_partials(const struct tb_kv_shape *s, uint32_t n_ctx);

#endif
