#ifndef TB_CORE_CONTEXT_H
#define TB_CORE_CONTEXT_H

#include "base/arena.h"
#include "core/ops.h"

struct tb_context {
  const struct tb_model *model;
  uint32_t n_ctx, n_batch, n_threads;
  const char *reduced_by; /* what made n_ctx smaller than the model's, or NULL */
  struct tb_team *team;   /* owned, like everything below */
  struct tb_cache *cache;
  struct tb_plan_layer *plan; /* per layer */
  struct tb_kv_shape *shapes; /* per layer */
  struct tb_rope_table rope;
  unsigned char *block; /* buffers of the pass, logits, rope table */
  struct tb_pass pass;
  tb_token *history; /* n_ctx: the tokens that the cache holds; -1 where it was filled without any */
  float *logits;     /* HEAD_COLUMNS × n_vocab */
  bool has_logits;
  uint64_t cache_bytes, memory_bytes;
};

/* What the context's cache was made from. */
struct tb_cache_config tb_context_cache_config(const struct tb_context *c);

#endif
