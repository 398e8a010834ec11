/* What thimble eval measures: how far a compressed cache is from the uncompressed one. */
#ifndef TB_CLI_EVAL_H
#define TB_CLI_EVAL_H

#include "cli/cli.h"
#include "cli/progress.h"

enum { EVAL_CONFIGS = 32, EVAL_TASKS = 64, EVAL_DEPTHS = 5, EVAL_LENGTHS = 32 };

/* How the tokens of a chunk reach the cache, and which predictions count (README.md of bench/ has the reasons). */
enum eval_protocol {
  EVAL_PERPLEXITY, /* llama-perplexity's: batches, the second half counts */
  EVAL_A,          /* everything encoded as early as can be: no window, steps of 16, all positions count */
  EVAL_B,          /* as users decode: the first half read in batches, the second token by token, which counts */
  EVAL_D,          /* streaming: an eighth of the chunk (at most 1024) read in batches, the rest token by token */
};

/* One cache configuration and what was measured with it. */
struct eval_config {
  char name[96]; /* as given */
  char *plan;    /* text of its plan file; owned */
  struct tb_context *ctx;
  uint64_t cache_bytes, memory_bytes;
  double bits_stored, bits_all;        /* per cached scalar: of one more token; of all of the cache, windows included */
  double read_seconds, decode_seconds; /* spent in batches and in single tokens */
  size_t read, decoded;                /* tokens */
  double encoded, attended;            /* sums over what counts: tokens encoded, tokens attended to */
  /* text */
  size_t predictions, same_top;
  double nll;  /* sum of -log p of the text's tokens */
  double *kld; /* per prediction, against the first configuration; owned */
  /* recall: one byte per question, 1: right; owned */
  unsigned char *right;
  /* greedy */
  uint32_t *agreed; /* per prompt: generated tokens until the first that differs; owned */
};

/* One question, the same in all configurations. */
struct eval_question {
  uint8_t task;
  uint8_t depth; /* 0 … EVAL_DEPTHS-1: where in the context its answer stands; EVAL_DEPTHS: not told */
  uint8_t length; /* of the context in tokens: more than half of 1 << length and at most that */
};

struct eval {
  struct tb_model *model;
  struct tb_model_info info;
  const char *path; /* of the model file */
  enum eval_protocol protocol;
  uint32_t n_ctx, n_batch, chunks; /* chunks 0: all of the text */
  bool decode; /* conversations: what comes with the first question and after it goes in token by token */
  struct eval_config *configs;     /* the first one is what the others are compared with */
  size_t n_configs;
  size_t counted; /* predictions of a chunk */
  struct eval_question *questions;
  size_t n_questions, cap_questions;
  char tasks[EVAL_TASKS][32];
  size_t n_tasks;
  uint32_t n_greedy; /* tokens generated per prompt */
  size_t n_prompts;
  bool stopped; /* Ctrl-C: what was measured so far is printed */
};

/* ---------------------------------------------------------------------------------------------------- eval_config.c */

/* Appends a configuration: "K/V" or "TYPE", then options of plan files ("skvqx2/skvqx1.5 window=64"); or the plan file
 * called `path`. Reports errors itself. */
bool eval_add_cache(struct eval *e, const char *text);
bool eval_add_plan(struct eval *e, const char *path);
/* What the planner chooses for contexts like base. */
bool eval_add_planned(struct eval *e, const struct cli_memory *m, const struct tb_context_options *base);
/* Opens the contexts of all configurations with the settings of `base`, and counts their bits. */
bool eval_open(struct eval *e, const struct tb_context_options *base);
void eval_close(struct eval *e);

/* ------------------------------------------------------------------------------------------------------ measurements
 */

/* Perplexity of a text and the divergence of each configuration's predictions from the first one's. Chunks of n_ctx
 * tokens that begin anew. False on failure (said). */
bool eval_text(struct eval *e, const char *path);

/* Greedy continuations of e->n_greedy tokens of the first half of each chunk: how long they agree with the first
 * configuration's. */
bool eval_greedy(struct eval *e, const char *path);

/* Questions of a jsonl file, of three forms.
 *
 * {"task": …, "context": [part…], "questions": [{"depth": 0…1, "parts": [part…]}, …]}: the context is read once, each
 * question is then fed token by token and taken back.
 * {"task": …, "parts": [part…]}: one conversation with several answers, read in batches. With recall of clusters only what
 * comes before the first question is: a choice of tokens must not have seen the question when the context is stored.
 * part: {"text": …, "special": bool, "score": bool}; parts are tokenised one by one and joined; a scored part counts as
 * right when each of its tokens is the likeliest one given the true text before it.
 * {"prompt": …, "expected_number": …}: LongChat's lines; the model answers in its own words, and is right when the
 * number is among them. */
bool eval_recall(struct eval *e, const char *path);
/* One more question behind a context of that many tokens; false when memory is out. */
bool eval_add_question(struct eval *e, const char *task, double depth, size_t tokens);
/* Counts the answers. */
size_t eval_right(const struct eval *e, const struct eval_config *c);

/* ---------------------------------------------------------------------------------------------------- eval_common.c */

/* Tokens of a text file; *n of them, owned by the caller. *bos: what a text begins with, or -1. NULL on failure (said).
 */
tb_token *eval_read_tokens(struct eval *e, const char *path, size_t *n, tb_token *bos);
/* Reads n tokens in batches, without predictions. */
bool eval_read(struct eval *e, struct eval_config *c, const tb_token *tokens, size_t n);
/* One token; the logits after it, or NULL on failure (said) and when stopped. */
const float *eval_step(struct eval *e, struct eval_config *c, tb_token token);
/* Notes how much of the `attended` tokens was encoded just now. */
void eval_note_encoded(struct eval_config *c, size_t attended);
/* The largest of n logits; the first of equals. */
size_t eval_top(const float *logits, size_t n);

/* ---------------------------------------------------------------------------------------------------- eval_report.c */

/* The table in `format` (md, csv, json). */
void eval_print(struct eval *e, const char *format);
/* Writes quality against bytes to an .svg or .png file; false on failure (said). */
bool eval_plot(struct eval *e, const char *path);
/* False, and a message, when a run attended mostly to tokens that were not encoded: it measured the window. */
bool eval_check_encoded(const struct eval *e);

#endif
