/* Policies: what a layer keeps where, and what a query attends to. One object per layer; all of them live in the memory
 * that the cache carves. */
#ifndef TB_CACHE_POLICY_POLICY_H
#define TB_CACHE_POLICY_POLICY_H

#include "base/arena.h"
#include "cache/cache.h"

/* What every policy may use while it works; one per cache. */
struct tb_cache_work {
  const struct tb_kernels *kernels;
  struct tb_team *team;
  unsigned char *scratch; /* per thread: scratch + thread · scratch_bytes; aligned to 64 */
  size_t scratch_bytes;
  float *partials; /* of split attention, see plain_decode.c */
  float *query;    /* scaled queries of one step's token, n_head · d_k, then their codes */
  int8_t *query_q;
  float *query_d;
  int16_t *query_s;
};

struct tb_policy_layer {
  const struct tb_kv_shape *shape;
  const struct tb_plan_layer *plan;
  uint32_t n_ctx, n_batch;
};

/* Upper bounds that the cache allocates once for all layers. */
struct tb_policy_need {
  size_t scratch_bytes; /* per thread */
  size_t partials;      /* floats */
};

struct tb_plain;

/* plain: sinks and the newest `window` tokens in f16 (only where a store encodes in granules), everything attended. */
enum tb_status tb_plain_check(const struct tb_policy_layer *layer, struct tb_error *err);
struct tb_policy_need tb_plain_need(const struct tb_policy_layer *layer);
/* With arena->base NULL it only counts the bytes; `stored` grows by those that hold keys and values. */
struct tb_plain *tb_plain_create(struct tb_arena *arena, const struct tb_policy_layer *layer,
                                 const struct tb_kernels *kernels, uint64_t *stored);
void tb_plain_append(struct tb_plain *p, struct tb_cache_work *w, uint32_t pos, uint32_t n, const float *k,
                     const float *v);
void tb_plain_attend(struct tb_plain *p, struct tb_cache_work *w, uint32_t pos, uint32_t n, const float *q, float *out);
enum { TB_PLAIN_STATE = 2 }; /* state words of a layer: encoded rows of keys and of values */
void tb_plain_get_state(const struct tb_plain *p, uint32_t words[TB_PLAIN_STATE]);
/* False when no layer of this shape can be in that state. */
bool tb_plain_set_state(struct tb_plain *p, uint32_t length, const uint32_t words[TB_PLAIN_STATE]);
enum tb_status tb_plain_pieces(struct tb_plain *p, tb_cache_piece_fn fn, void *user, struct tb_error *err);
uint32_t tb_plain_encoded(const struct tb_plain *p); /* tokens in their final type on both sides */
void tb_plain_truncate(struct tb_plain *p, struct tb_cache_work *w, uint32_t n);

#endif
