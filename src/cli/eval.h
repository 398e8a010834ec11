/* What thimble eval measures: how far a compressed cache is from the uncompressed one. */
#ifndef TB_CLI_EVAL_H
#define TB_CLI_EVAL_H

#include "cli/cli.h"

enum { EVAL_CONFIGS = 32 };

/* One cache configuration and what was measured with it. */
struct eval_config {
  char name[72]; /* "K/V" as given */
  char type_k[32], type_v[32];
  struct tb_context *ctx;
  double seconds; /* spent in this configuration */
  uint64_t cache_bytes;
  /* text */
  size_t predictions, same_top;
  double nll;               /* sum of -log p of the text's tokens */
  double *kld;              /* per prediction, against the first configuration; owned */
  double encoded, attended; /* sums over predictions: tokens encoded, tokens attended to */
  /* recall */
  size_t questions, right, only_first, only_this; /* answers right in one of the two alone */
};

struct eval {
  struct tb_model *model;
  struct tb_model_info info;
  uint32_t n_ctx, n_batch, chunks; /* chunks 0: all of the text */
  bool decode; /* questions: what comes with the first one and after it goes in token by token, as it is generated */
  struct eval_config *configs;     /* the first one is what the others are compared with */
  size_t n_configs;
  bool stopped; /* Ctrl-C: what was measured so far is printed */
};

/* Perplexity of a text and the divergence of each configuration's predictions from the first one's. The protocol of
 * llama-perplexity: chunks of n_ctx tokens that begin anew, the second half of each counts. False on failure (said). */
bool eval_text(struct eval *e, const char *path);

/* Questions of a jsonl file: lines {"task": …, "parts": [{"text": …, "special": bool, "score": bool}, …]}; the parts
 * are tokenised one by one and joined; a scored part counts as right when each of its tokens is the likeliest one given
 * the true text before it. With recall the context before the first question is read in batches and the rest token by
 * token: a choice of tokens must not have seen the question when the context is stored. */
bool eval_recall(struct eval *e, const char *path);

/* The largest of n logits; the first of equals. */
size_t eval_top(const float *logits, size_t n);

/* Progress with an estimate of the time left, on a terminal only; *started is 0 at first. */
void eval_progress(double *started, size_t done, size_t total, const char *what);

#endif
