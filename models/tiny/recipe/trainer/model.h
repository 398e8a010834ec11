/* Forward and backward pass of the model over rows of tokens. */
#ifndef TRAINER_MODEL_H
#define TRAINER_MODEL_H

#include "matrix.h"
#include "shape.h"

/* Zeroed memory on huge pages; ends the program when there is none. */
void *big_alloc(size_t bytes);

/* Parameters and, for products, the matrices and the embedding in both packed forms. */
struct weights {
  float *values;    /* N_PARAMETERS */
  pair *transposed; /* W^T as right operand: y = x · W^T. Same offsets as in `values`, halved */
  pair *plain;      /* W as right operand: dx = dy · W */
};
/* Packs n × k values at offset `at`; `scratch` holds n·k bf16. */
void pack_weight(struct weights *w, int at, int n, int k, bf16 *scratch);

/* Everything that one thread needs for a micro-batch of n_tokens tokens in rows of `length`. */
struct workspace {
  int length;
  /* kept by the forward pass for the backward pass: inputs of layer, of its feed-forward half; 1/rms of both; their
   * normed forms; rotated queries and keys, and values; attention's output and log-sum-exp; gate and up */
  float *x[LAYERS + 1], *middle[LAYERS], *attn_rms[LAYERS], *ffn_rms[LAYERS];
  bf16 *attn_in[LAYERS], *ffn_in[LAYERS], *qkv[LAYERS], *attended[LAYERS], *gate_up[LAYERS];
  float *lse[LAYERS];
  /* gradients of activations */
  float *dx;
  bf16 *dx16, *d_gate_up, *d_attended, *d_qkv, *d_logits;
  bf16 *hidden, *last;          /* silu(gate)·up; normed output of the last layer */
  float *tile, *tile2, *logits; /* results of products */
  pair *left, *right;           /* add_outer's */
  struct attention_scratch *attention;
  float *gradient;          /* N_PARAMETERS */
  double loss, answer_loss; /* sums: weighted over all tokens, plain over the answers' tokens */
  long n_answer;
  struct muon_scratch *muon; /* optimizer.h */
};
void workspace_init(struct workspace *w, int n_tokens, int length);

/* Rotation tables for `length` positions, shared by all threads. Call once. */
void rope_init(int length);
/* Rotates 64 values (neighbours are pairs) for a position; backwards for gradients. */
void rope_row(const float *from, bf16 *to, int position, bool backwards);

/* One sequence: qkv has rotated queries and keys and the values, rows of QKV; out rows of ATTN. */
void attention_forward(struct workspace *w, const bf16 *qkv, bf16 *out, float *lse);
/* d_qkv is with respect to the queries and keys before rotation. */
void attention_backward(struct workspace *w, const bf16 *qkv, const bf16 *d_out, const float *lse, bf16 *d_qkv);
struct attention_scratch *attention_scratch_new(int length);

/* Adds the gradient of Σ weight·loss·scale over n_rows rows of length+1 tokens to w->gradient, and to the sums of loss.
 */
void micro_batch(struct workspace *w, const struct weights *weights, int n_rows, const int *ids,
                 const float *token_weights, float scale);

#endif
