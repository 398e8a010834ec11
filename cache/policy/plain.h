/* Inside of the plain policy: one side (keys or values) of one layer, and where its rows are.
 *
 *   position:  0 … sinks-1 | sinks … sinks+encoded-1     | … length-1
 *   kept in:   sink (f16)  | main, in whole granules     | tail (f16), the newest `window` to window+granule-1 tokens
 *
 * Tokens that come in one step attend to each other exactly: those that the tail has no room for lie in a chunk (f16,
 * shared by all layers) from append to the end of attend, which encodes what has left the window.
 *
 * A store that encodes row by row (granule 1) needs neither sink nor tail: main holds everything, but for spilled rows,
 * whose sink and tail are of their own type. */
#ifndef TB_CACHE_POLICY_PLAIN_H
#define TB_CACHE_POLICY_PLAIN_H

#include "cache/policy/blocks.h"
#include "cache/policy/policy.h"

struct tb_plain_side {
  struct tb_store main, sink, tail, chunk; /* chunk: memory of the work area, cap n_batch */
  bool direct;                             /* main holds every token at its position, the other stores nothing */
  uint32_t sinks;                          /* 0 when direct */
  uint32_t window;
  uint32_t encoded; /* rows in main that hold tokens; direct: unused, like the two below */
  uint32_t tail_rows, chunk_rows;
  /* Where main is a part of a spilled whole (spill.h): rows of a page, and where those of the block are that a thread
   * looks at, in its copy of this side. */
  uint32_t page;
  const uint32_t *slots;
};

struct tb_plain {
  struct tb_policy base;
  const struct tb_kv_shape *shape;
  struct tb_plain_side k, v;
  uint32_t length; /* tokens held */
  struct tb_spill *spill; /* or NULL: everything is in memory */
};

/* For policies that store as this one does and attend differently. Their object begins with a struct tb_plain. `wait`:
 * rows that wait in the tail to be encoded together, a multiple of the granule. `rows`: what main holds of each head when
 * it is a part of a spilled whole, else 0. */
enum tb_status tb_plain_check(const struct tb_policy_layer *l, struct tb_error *err);
struct tb_policy_need tb_plain_need(const struct tb_policy_layer *l);
size_t tb_plain_chunk(const struct tb_policy_layer *l, enum tb_side side);
struct tb_plain tb_plain_make(struct tb_arena *arena, const struct tb_policy_layer *l, uint32_t wait, uint32_t rows,
                              const struct tb_kernels *kernels, uint64_t *stored);
void tb_plain_append(struct tb_policy *self, struct tb_cache_work *w, uint32_t pos, uint32_t n, float *k, float *v);
/* A store of one side. A side's sinks, window and step; its main is made. */
struct tb_store tb_plain_store(struct tb_arena *arena, const struct tb_policy_layer *l, enum tb_side side,
                               const char *type, uint32_t cap, const struct tb_kernels *kernels, uint64_t *stored);
void tb_plain_window(struct tb_plain_side *s, struct tb_arena *arena, const struct tb_policy_layer *l,
                     enum tb_side side, uint32_t wait, const struct tb_kernels *kernels, uint64_t *stored);
/* Attention alone: nothing moves. */
void tb_plain_look(struct tb_plain *p, struct tb_cache_work *w, uint32_t pos, uint32_t n, const float *q, float *out);
/* Rows of one head as floats, wherever they are; row i at x + i·ldx. */
void tb_plain_rows(const struct tb_plain_side *s, uint32_t head, uint32_t pos, uint32_t n, float *x, size_t ldx,
                   void *scratch);
/* How many rows are behind the window, in whole granules. */
uint32_t tb_plain_due(const struct tb_plain_side *s);
/* Pieces of the first rows of a store. */
enum tb_status tb_plain_store_pieces(struct tb_store *st, uint32_t rows, tb_cache_piece_fn fn, void *user,
                                     struct tb_error *err);
/* The first n rows that wait are in main: the rest of the tail and of the chunk moves up. */
void tb_plain_leave(struct tb_plain_side *s, uint32_t n);
/* Rows that wait when a side holds `length` tokens; whether it can. */
uint32_t tb_plain_rows_in_tail(const struct tb_plain_side *s, uint32_t length);
bool tb_plain_possible(const struct tb_plain_side *s, uint32_t length, uint32_t encoded);
enum tb_status tb_plain_pieces(struct tb_policy *self, tb_cache_piece_fn fn, void *user, struct tb_error *err);

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

/* Parts of decoding. Queries of one token: scaled, turned and quantised into w; those of n heads from `head` on.
 *   score    of n_q heads of a KV head against the tokens of a block, to s[g·TB_ATTN_BLOCK + t]; accum likewise
 *   fold     running softmax of one query head over n scores, of which at least one is finite: they become weights.
 * part[0] is the maximum, part[1] the sum, acc (d_v) what was accumulated before. Returns how far the largest of the
 *            scores is below the maximum (≤ 0)
 *   partial  result of one split of one head: maximum, sum, d_v accumulated values
 *   merge    the output of a head from its splits */
void tb_plain_load_query(const struct tb_plain *p, struct tb_cache_work *w, const float *q);
struct tb_kv_query tb_plain_query(const struct tb_plain *p, const struct tb_cache_work *w, uint32_t head, uint32_t n,
                                  uint32_t pos);
void tb_plain_score(const struct tb_plain *p, uint32_t kv, const struct tb_kv_query *q, struct tb_block b, float *s,
                    void *scratch);
void tb_plain_accum(const struct tb_plain *p, uint32_t kv, uint32_t n_q, struct tb_block b, const float *s, float *acc,
                    void *scratch);
float tb_plain_fold(const struct tb_cache_work *w, uint32_t d_v, float *part, float *acc, float *s, uint32_t n);
/* A block of packed values is skipped when none of its weights is above 1e-6 of the largest one of its split so far:
 * what is left out of an output is at most 1e-6 of the largest value for each token of the context, and a far smaller
 * part where weights fall off as they do in practice. `nearest`: the greatest of the heads' tb_plain_fold. */
static inline bool tb_plain_matters(const struct tb_plain *p, float nearest) {
  return nearest >= -13.8f || p->v.main.ops->granule == 1;
}
float *tb_plain_partial(const struct tb_plain *p, const struct tb_cache_work *w, uint32_t split, uint32_t head);
void tb_plain_merge(const struct tb_plain *p, const struct tb_cache_work *w, uint32_t n_splits, uint32_t head,
                    float *out, void *scratch);

/* Workspace bounds of the two. */
size_t tb_plain_decode_scratch(const struct tb_kv_shape *s);
size_t tb_plain_prefill_scratch(const struct tb_kv_shape *s);
size_t tb_plain_partials(const struct tb_kv_shape *s, uint32_t n_ctx);

#endif
