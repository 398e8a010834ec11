/* Perplexity of a text, and how far each configuration's predictions are from the first one's. All configurations go
 * through a chunk side by side, so that only the logits of one step have to be kept. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "cli/eval.h"

enum { STREAM_PREFILL = 1024, STEP_A = 16 };

/* log of the sum of exponentials. */
static double log_sum(const float *logits, size_t n) {
  double most = logits[eval_top(logits, n)], sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += exp(logits[i] - most);
  return most + log(sum);
}

/* Where predictions begin to count, and how many tokens go through at once from position p on. */
static uint32_t first_counted(const struct eval *e) {
  switch (e->protocol) {
  case EVAL_A:
    return 0;
  case EVAL_D:
    return e->n_ctx / 8 < STREAM_PREFILL ? e->n_ctx / 8 : STREAM_PREFILL;
  default:
    return e->n_ctx / 2;
  }
}

static uint32_t step_size(const struct eval *e) {
  return e->protocol == EVAL_A ? STEP_A : e->protocol == EVAL_PERPLEXITY ? e->n_batch : 1;
}

/* One step of one configuration. */
struct step {
  struct eval *e;
  struct eval_config *c;
  const tb_token *tokens; /* of the chunk */
  float *reference;       /* logits of the first configuration for this step's positions */
  double *reference_sum;  /* their log_sum */
  size_t base;            /* position of the step's first token */
  bool is_first;
};

/* KL divergence of q from p, both as logits, in nats. */
static double divergence(const float *p, double lp, const float *q, double lq, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) {
    double a = p[i] - lp;
    sum += exp(a) * (a - (q[i] - lq));
  }
  return sum > 0 ? sum : 0; /* rounding can leave -1e-17 */
}

static bool count_one(void *user, size_t at, const float *logits) {
  struct step *k = user;
  struct eval_config *c = k->c;
  const size_t n = k->e->info.n_vocab, position = k->base + at;
  if (position < first_counted(k->e) || position + 1 >= k->e->n_ctx) return !cli_interrupted();
  float *reference = k->reference + at * n;
  const double sum = log_sum(logits, n);
  if (k->is_first) {
    memcpy(reference, logits, n * sizeof *logits);
    k->reference_sum[at] = sum;
  }
  c->nll += sum - logits[k->tokens[position + 1]];
  c->kld[c->predictions] = k->is_first ? 0 : divergence(reference, k->reference_sum[at], logits, sum, n);
  c->same_top += eval_top(logits, n) == eval_top(reference, n);
  c->predictions++;
  eval_note_encoded(c, position + 1);
  return !cli_interrupted();
}

static bool run_step(struct step *k, size_t n) {
  if (k->base + n <= first_counted(k->e)) return eval_read(k->e, k->c, k->tokens + k->base, n);
  if (n == 1) {
    const float *logits = eval_step(k->e, k->c, k->tokens[k->base]);
    if (logits && !count_one(k, 0, logits)) k->e->stopped = true;
    return logits && !k->e->stopped;
  }
  struct tb_error err;
  double start = cli_now();
  enum tb_status s = tb_eval_all(k->c->ctx, k->tokens + k->base, n, count_one, k, &err);
  k->c->read_seconds += cli_now() - start;
  k->c->read += n;
  if (s == TB_E_CANCELLED)
    k->e->stopped = true;
  else if (s)
    cli_report("eval", &err);
  return s == TB_OK;
}

struct buffers {
  float *reference;
  double *sums;
};

static bool run_chunk(struct eval *e, const tb_token *tokens, struct buffers *b, struct cli_eta *eta, size_t chunk,
                      size_t chunks) {
  struct tb_error err;
  const uint32_t size = step_size(e);
  /* Token by token begins where it counts; batches begin at 0 as llama-perplexity's do. */
  size_t base = size == 1 ? first_counted(e) : 0;
  for (size_t j = 0; j < e->n_configs; j++)
    if (tb_truncate(e->configs[j].ctx, 0, &err) != TB_OK || !eval_read(e, &e->configs[j], tokens, base)) return false;
  for (; base < e->n_ctx; base += size) {
    cli_eta_show(eta, (double)(chunk * e->n_ctx + base), (double)chunks * e->n_ctx, "text: token");
    const size_t n = e->n_ctx - base < size ? e->n_ctx - base : size;
    for (size_t j = 0; j < e->n_configs; j++) {
      struct step k = {e, &e->configs[j], tokens, b->reference, b->sums, base, j == 0};
      if (!run_step(&k, n)) return false;
    }
  }
  return true;
}

static bool make_buffers(struct eval *e, struct buffers *b, size_t chunks) {
  const size_t size = step_size(e);
  e->counted = e->n_ctx - 1 - first_counted(e);
  b->reference = malloc(size * e->info.n_vocab * sizeof *b->reference);
  b->sums = malloc(size * sizeof *b->sums);
  bool ok = b->reference && b->sums;
  for (size_t j = 0; ok && j < e->n_configs; j++)
    ok = (e->configs[j].kld = malloc(chunks * e->counted * sizeof(double))) != NULL;
  if (!ok) fprintf(stderr, "thimble eval: -f: out of memory for the predictions of %zu tokens\n", size);
  return ok;
}

bool eval_text(struct eval *e, const char *path) {
  size_t n = 0;
  tb_token bos = -1, *ids = eval_read_tokens(e, path, &n, &bos);
  if (!ids) return false;
  size_t chunks = n / e->n_ctx;
  if (e->chunks && chunks > e->chunks) chunks = e->chunks;
  bool ok = chunks > 0;
  if (!ok) fprintf(stderr, "thimble eval: %s: %zu tokens are less than one chunk of %u\n", path, n, e->n_ctx);
  struct buffers b = {0};
  struct cli_eta eta = {0};
  ok = ok && make_buffers(e, &b, chunks);
  for (size_t i = 0; ok && i < chunks; i++) {
    tb_token *tokens = ids + i * e->n_ctx;
    if (bos >= 0) tokens[0] = bos; /* every chunk begins as a text does */
    ok = run_chunk(e, tokens, &b, &eta, i, chunks);
  }
  cli_eta_end(&eta);
  free(b.reference);
  free(b.sums);
  free(ids);
  return ok || e->stopped;
}
