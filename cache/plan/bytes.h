/* Bytes of a cache, counted by the code that allocates it. */
#ifndef TB_CACHE_PLAN_BYTES_H
#define TB_CACHE_PLAN_BYTES_H

#include "cache/cache.h"

/* What one layer takes at a context: keys, values, window, sinks and its bookkeeping, rounded as the arena rounds. */
uint64_t tb_plan_layer_bytes(const struct tb_kv_shape *shape, const struct tb_plan_layer *plan, uint32_t n_ctx,
                             uint32_t n_batch, uint32_t n_threads);

/* A whole cache in parts; their sum is what tb_cache_bytes calls the total. */
struct tb_plan_bytes {
  uint64_t main;   /* keys and values in their final type */
  uint64_t window; /* windows and sinks in f16 beside types that pack blocks */
  uint64_t shared; /* workspace, bookkeeping, rounding */
};
void tb_plan_cache_bytes(const struct tb_cache_config *config, struct tb_plan_bytes *bytes);

/* Bits per stored value of a type in a layer, its scales included. 0 when the type cannot be used so. */
double tb_plan_type_bits(const char *type, enum tb_side side, const struct tb_kv_shape *shape);

#endif
