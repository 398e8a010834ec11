/* How long a compressed cache says the same as the uncompressed one. */
#include <stdlib.h>
#include <string.h>
#include "cli/eval.h"

/* Generated tokens into out; *n is how many there are (an end mark counts and ends). */
static bool generate(struct eval *e, struct eval_config *c, const tb_token *prompt, size_t n_prompt, tb_token *out,
                     size_t *n) {
  struct tb_error err;
  *n = 0;
  if (tb_truncate(c->ctx, 0, &err) != TB_OK || !eval_read(e, c, prompt, n_prompt)) return false;
  const float *logits = tb_logits(c->ctx);
  while (*n < e->n_greedy) {
    out[*n] = (tb_token)eval_top(logits, e->info.n_vocab);
    if (tb_token_ends(e->model, out[(*n)++]) || *n == e->n_greedy) break;
    if (!(logits = eval_step(e, c, out[*n - 1]))) return false;
  }
  eval_note_encoded(c, n_prompt + *n);
  return true;
}

/* Length of the common beginning; all of it when both ended alike. */
static uint32_t agreement(const tb_token *a, size_t na, const tb_token *b, size_t nb, uint32_t all) {
  uint32_t i = 0;
  while (i < na && i < nb && a[i] == b[i])
    i++;
  return i == na && i == nb ? all : i;
}

static bool run(struct eval *e, const tb_token *ids, size_t prompts, size_t stride, size_t length, tb_token bos) {
  tb_token *first = malloc(e->n_greedy * sizeof *first), *other = malloc(e->n_greedy * sizeof *other),
           *prompt = malloc(length * sizeof *prompt);
  struct cli_eta eta = {0};
  size_t n_first = 0, n_other = 0;
  bool ok = first && other && prompt;
  for (size_t i = 0; ok && i < prompts; i++) {
    memcpy(prompt, ids + i * stride, length * sizeof *prompt);
    if (bos >= 0) prompt[0] = bos;
    cli_eta_show(&eta, (double)i, (double)prompts, "greedy: prompt");
    for (size_t j = 0; ok && j < e->n_configs; j++) {
      struct eval_config *c = &e->configs[j];
      ok = generate(e, c, prompt, length, j ? other : first, j ? &n_other : &n_first);
      c->agreed[i] = j ? agreement(first, n_first, other, n_other, e->n_greedy) : e->n_greedy;
    }
    if (ok) e->n_prompts = i + 1;
  }
  cli_eta_end(&eta);
  free(prompt);
  free(first);
  free(other);
  return ok;
}

bool eval_greedy(struct eval *e, const char *path) {
  size_t n = 0;
  tb_token bos = -1, *ids = eval_read_tokens(e, path, &n, &bos);
  if (!ids) return false;
  size_t prompts = n / e->n_ctx;
  if (e->chunks && prompts > e->chunks) prompts = e->chunks;
  bool ok = prompts > 0 && e->n_greedy < e->n_ctx;
  if (!ok)
    fprintf(stderr, "thimble eval: --greedy: %zu tokens of text and -c %u leave no prompt for %u tokens\n", n, e->n_ctx,
            e->n_greedy);
  for (size_t j = 0; ok && j < e->n_configs; j++)
    ok = (e->configs[j].agreed = calloc(prompts, sizeof(uint32_t))) != NULL;
  ok = ok && run(e, ids, prompts, e->n_ctx, e->n_ctx - e->n_greedy, bos);
  free(ids);
  return ok || e->stopped;
}
