#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "cli/eval.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void eval_progress(double *started, size_t done, size_t total, const char *what) {
  if (*started == 0) *started = now();
  if (!isatty(STDERR_FILENO)) return;
  double left = done ? (now() - *started) / (double)done * (double)(total - done) : 0;
  fprintf(stderr, "\r\033[K%s %zu / %zu, %.0f s left", what, done, total, left);
  if (done == total) fputs("\r\033[K", stderr);
}

size_t eval_top(const float *logits, size_t n) {
  size_t best = 0;
  for (size_t i = 1; i < n; i++)
    if (logits[i] > logits[best]) best = i;
  return best;
}

/* log of the sum of exponentials. */
static double log_sum(const float *logits, size_t n) {
  double most = logits[eval_top(logits, n)], sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += exp(logits[i] - most);
  return most + log(sum);
}

/* One chunk in one configuration. */
struct chunk {
  struct eval *e;
  struct eval_config *c;
  const tb_token *tokens;
  float *reference;   /* logits of the first configuration for the counted positions */
  size_t first, base; /* first counted position; position of the callback's 0 */
  bool is_first;
};

/* KL divergence of q from p, both as logits, in nats. */
static double divergence(const float *p, const float *q, size_t n) {
  double lp = log_sum(p, n), lq = log_sum(q, n), sum = 0;
  for (size_t i = 0; i < n; i++) {
    double a = p[i] - lp;
    sum += exp(a) * (a - (q[i] - lq));
  }
  return sum > 0 ? sum : 0; /* rounding can leave -1e-17 */
}

static bool each(void *user, size_t at, const float *logits) {
  struct chunk *k = user;
  const size_t n = k->e->info.n_vocab, position = k->base + at;
  if (position < k->first || position + 1 >= k->e->n_ctx) return !cli_interrupted();
  float *reference = k->reference + (position - k->first) * n;
  if (k->is_first) memcpy(reference, logits, n * sizeof *logits);
  k->c->nll += log_sum(logits, n) - logits[k->tokens[position + 1]];
  k->c->kld[k->c->predictions] = k->is_first ? 0 : divergence(reference, logits, n);
  k->c->same_top += eval_top(logits, n) == eval_top(reference, n);
  k->c->predictions++;
  struct tb_context_info info;
  tb_context_get_info(k->c->ctx, &info);
  const double attended = (double)position + 1;
  k->c->encoded += fmin(info.n_encoded, attended);
  k->c->attended += attended;
  return !cli_interrupted();
}

static bool run_chunk(struct chunk *k) {
  struct tb_error err;
  enum tb_status s = tb_truncate(k->c->ctx, 0, &err);
  double start = now();
  for (k->base = 0; !s && k->base < k->e->n_ctx; k->base += k->e->n_batch) {
    size_t n = k->e->n_ctx - k->base < k->e->n_batch ? k->e->n_ctx - k->base : k->e->n_batch;
    s = tb_eval_all(k->c->ctx, k->tokens + k->base, n, each, k, &err);
  }
  k->c->seconds += now() - start;
  if (s == TB_E_CANCELLED)
    k->e->stopped = true;
  else if (s)
    cli_report("eval", &err);
  return s == TB_OK;
}

static tb_token *read_tokens(struct eval *e, const char *path, size_t *n, tb_token *bos) {
  size_t length, n_bos = 0;
  struct tb_error err;
  char *text = cli_read_file("eval", path, &length);
  if (!text) return NULL;
  tb_token *ids = malloc((length + 16) * sizeof *ids);
  if (ids && (tb_tokenize(e->model, text, length, TB_TOKENIZE_SPECIAL_ADD, ids, length + 16, n, &err) != TB_OK ||
              tb_tokenize(e->model, "", 0, TB_TOKENIZE_SPECIAL_ADD, bos, 1, &n_bos, &err) != TB_OK)) {
    cli_report("eval", &err);
    free(ids);
    ids = NULL;
  }
  if (n_bos == 0) *bos = -1;
  free(text);
  return ids;
}

static bool measure(struct eval *e, tb_token *ids, size_t chunks, tb_token bos, float *reference) {
  double started = 0;
  for (size_t i = 0; i < chunks; i++) {
    tb_token *tokens = ids + i * e->n_ctx;
    if (bos >= 0) tokens[0] = bos; /* every chunk begins as a text does */
    for (size_t j = 0; j < e->n_configs; j++) {
      struct chunk k = {.e = e,
                        .c = &e->configs[j],
                        .tokens = tokens,
                        .reference = reference,
                        .first = e->n_ctx / 2,
                        .is_first = j == 0};
      eval_progress(&started, i * e->n_configs + j, chunks * e->n_configs, "text: run");
      if (!run_chunk(&k)) return e->stopped;
    }
  }
  eval_progress(&started, 1, 1, "");
  return true;
}

bool eval_text(struct eval *e, const char *path) {
  size_t n = 0;
  tb_token bos = -1, *ids = read_tokens(e, path, &n, &bos);
  if (!ids) return false;
  size_t chunks = n / e->n_ctx, counted = e->n_ctx - e->n_ctx / 2;
  if (e->chunks && chunks > e->chunks) chunks = e->chunks;
  bool ok = chunks > 0;
  if (!ok) fprintf(stderr, "thimble eval: %s: %zu tokens are less than one chunk of %u\n", path, n, e->n_ctx);
  float *reference = ok ? malloc(counted * e->info.n_vocab * sizeof *reference) : NULL;
  for (size_t j = 0; ok && j < e->n_configs; j++)
    ok = (e->configs[j].kld = malloc(chunks * counted * sizeof(double))) != NULL;
  ok = ok && reference && measure(e, ids, chunks, bos, reference);
  free(reference);
  free(ids);
  return ok;
}
