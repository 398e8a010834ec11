#ifndef TB_CORE_CONTEXT_H
#define TB_CORE_CONTEXT_H

#include "base/arena.h"
#include "core/ops.h"

struct tb_context {
  const struct tb_model *model;
  uint32_t n_ctx, n_batch, n_threads;
  const char *spill_dir;  /* while it is made */
  const char *reduced_by; /* what made n_ctx smaller than the model's, or NULL */
  struct tb_team *team;   /* owned, like everything below */
  struct tb_cache *cache;
  struct tb_plan_layer *plan; /* per layer */
  struct tb_kv_shape *shapes; /* per layer */
  struct tb_profile *profile; /* or NULL */
  struct tb_rope_table rope;
  float *cos, *sin;  /* its tables, */
  uint32_t n_angles; /* filled for so many positions (tb_context_reach) */
  unsigned char *block; /* buffers of the pass, logits, rope table */
  struct tb_pass pass;
  size_t ids; /* of its columns */
  tb_token *history; /* n_ctx: the tokens that the cache holds; -1 where it was filled without any */
  float *logits;     /* logits_columns × n_vocab, in memory that the next pass overwrites */
  uint32_t logits_columns;
  bool has_logits;
  uint64_t cache_bytes, memory_bytes;
};

enum { TB_CONTEXT_BATCH = 512 };
/* The default n_batch: TB_CONTEXT_BATCH, or half of it for a small model. Only hp and layers are read.
 * file_bytes: of the model. */
uint32_t tb_context_default_batch(const struct tb_model *m, uint64_t file_bytes);

/* Bytes that a context allocates beside its cache, counted by the code that allocates them. */
struct tb_context_need {
  uint64_t activations; /* of a batch */
  uint64_t scratch;     /* of the threads */
  uint64_t logits;
  uint64_t tables;  /* rotations and token history */
  uint64_t total;   /* the four above */
  uint64_t objects; /* the context itself */
};
/* sampler.c: what picking tokens takes with these options (NULL: the defaults). */
uint64_t tb_sampler_bytes(uint32_t n_vocab, const struct tb_sampler_options *options);
/* Only hp and layers of the model are read. */
void tb_context_count(const struct tb_model *m, uint32_t n_ctx, uint32_t n_batch, uint32_t n_threads,
                      struct tb_context_need *need);

/* Ranges and contradictions; names the option. */
enum tb_status tb_context_check_options(const struct tb_context_options *o, struct tb_error *err);
/* The plan that the options ask for: the plan text, or one line for all layers. */
enum tb_status tb_context_make_plan(const struct tb_context_options *o, uint32_t n_layer, struct tb_plan_layer *plan,
                                    struct tb_error *err);
/* The attention shapes of a model's layers, all with this rope table and profile (or NULL). */
void tb_context_make_shapes(const struct tb_model *m, const struct tb_rope_table *rope,
                            const struct tb_profile *profile, struct tb_kv_shape *shapes);

/* Keys and values that layers appended once: token t's at k[layer] + t·n_kv·d_k and v[layer] + t·n_kv·d_v. */
struct tb_seen {
  float **k, **v;
};
/* Puts the next n tokens of `seen` into the cache; nothing is computed. As many batches as it takes. */
enum tb_status tb_context_put(struct tb_context *c, const tb_token *tokens, uint32_t n, const struct tb_seen *seen,
                              struct tb_error *err);
/* As tb_eval_all of a batch (n ≤ n_batch), from layer `first` on: x (n × n_embd) goes into it, the layers below append
 * what was seen. */
enum tb_status tb_context_resume(struct tb_context *c, const tb_token *tokens, uint32_t n, const struct tb_seen *seen,
                                 uint32_t first, const float *x, tb_logits_fn each, void *user, struct tb_error *err);

/* Before the cache holds n tokens: makes what the first n positions need. */
void tb_context_reach(struct tb_context *c, uint32_t n);

/* What the context's cache was made from. */
struct tb_cache_config tb_context_cache_config(const struct tb_context *c);

#endif
