/* The operations that models are written in. Each works on a pass: n tokens at positions pos … pos+n-1 that go through
 * the layers together. An operation checks nothing (the loader did), cuts its work over the team and calls kernels; it
 * allocates nothing. */
#ifndef TB_CORE_OPS_H
#define TB_CORE_OPS_H

#include "core/model.h"

/* Activations as the weight kernels want them (simd/act.h), for the pass's n tokens. */
struct tb_act_buffer {
  float *f;
  int8_t *q;
  float *d;
  int16_t *s;
  size_t k; /* values per token at present */
};

/* Sees what goes through a layer's attention, for calibration: the n tokens of a
 * pass, their normalised inputs in act.f (n × n_embd), queries and keys with RoPE and values in q, k, v. Called before
 * the cache takes them over. */
struct tb_pass;
typedef void (*tb_observe_fn)(void *user, const struct tb_pass *p, uint32_t il);

struct tb_pass {
  const struct tb_model *model;
  struct tb_team *team;
  struct tb_cache *cache;
  const struct tb_rope_table *rope;
  uint32_t n, pos;
  uint32_t first; /* the layer that x goes into: 0 but for tb_context_resume */
  uint32_t wanted; /* the last tokens, whose outputs are wanted: behind the last attention only these go on, and n is
                      their number */
  const tb_token *tokens;
  float *x;                  /* residual stream: n × n_embd */
  struct tb_act_buffer act;       /* a norm's output */
  struct tb_act_buffer attended;  /* the attention's: codes in act's memory, f in that of q where heads are of one size */
  struct tb_act_buffer gated;     /* the gate's; f only where hp.wide_floats. In the memory of q, k and v */
  const struct tb_act_buffer *in; /* the one of them that the next matrix multiplies */
  float *q, *k, *v;               /* n × heads × head size */
  unsigned char
      *scratch;         /* per thread, aligned: TB_GEMM_SCRATCH bytes, then 2 tiles of n_batch × TB_TILE_ROWS floats */
  size_t scratch_bytes; /* per thread */
  size_t *ids;          /* how many numbers for columns this scratch has seen (tb_acts.id) */
  tb_observe_fn observe; /* NULL: nobody looks */
  void *observer;
};

/* Rows of a matrix that one task of a batch computes; a multiple of 32 (quantisation groups), see linear.c. */
enum { TB_TILE_ROWS = 128 };

/* x ← rows of the embedding. */
void tb_op_embed(struct tb_pass *p);
/* in = act ← RMSNorm(x)·w, quantised. */
void tb_op_norm(struct tb_pass *p, const float *w);
/* q, k, v ← W·in + b. */
void tb_op_qkv(struct tb_pass *p, const struct tb_layer *l);
/* RMSNorm of every head of q and k. */
void tb_op_head_norm(struct tb_pass *p, const struct tb_layer *l);
/* Rotates q and k by their positions. */
void tb_op_rope(struct tb_pass *p, const struct tb_layer *l);
/* Appends k and v to the cache; in = attended ← attention of q, quantised (in the last layer: of the tokens wanted). */
void tb_op_attention(struct tb_pass *p, uint32_t il);
/* x ← x + W·in + b. */
void tb_op_add_linear(struct tb_pass *p, const struct tb_weight *w, const float *bias);
/* in = gated ← silu(gate·in) · (up·in), quantised. */
void tb_op_swiglu(struct tb_pass *p, const struct tb_weight *gate, const struct tb_weight *up);
/* y (n_cols × rows) ← W · in of tokens first … first+n_cols-1: the LM head. */
void tb_op_head(struct tb_pass *p, const struct tb_weight *w, uint32_t first, uint32_t n_cols, float *y);

/* Quantises n tokens of a buffer whose f is set. */
void tb_act_quantize(struct tb_pass *p, struct tb_act_buffer *a);

#endif
