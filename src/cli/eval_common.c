/* What the measurements share: feeding tokens and keeping count. */
#include <math.h>
#include <stdlib.h>
#include "cli/eval.h"

static bool failed(struct eval *e, enum tb_status status, const struct tb_error *err) {
  if (status == TB_E_CANCELLED)
    e->stopped = true;
  else
    cli_report("eval", err);
  return false;
}

static bool go_on(void *user, size_t done, size_t total) {
  (void)user;
  (void)done;
  (void)total;
  return !cli_interrupted();
}

bool eval_read(struct eval *e, struct eval_config *c, const tb_token *tokens, size_t n) {
  struct tb_error err;
  double start = cli_now();
  enum tb_status s = n ? tb_eval(c->ctx, tokens, n, go_on, NULL, &err) : TB_OK;
  c->read_seconds += cli_now() - start;
  c->read += n;
  return s == TB_OK || failed(e, s, &err);
}

const float *eval_step(struct eval *e, struct eval_config *c, tb_token token) {
  struct tb_error err;
  double start = cli_now();
  enum tb_status s = tb_eval(c->ctx, &token, 1, go_on, NULL, &err);
  c->decode_seconds += cli_now() - start;
  c->decoded++;
  if (s == TB_OK) return tb_logits(c->ctx);
  failed(e, s, &err);
  return NULL;
}

void eval_note_encoded(struct eval_config *c, size_t attended) {
  struct tb_context_info info;
  tb_context_get_info(c->ctx, &info);
  c->encoded += fmin(info.n_encoded, (double)attended);
  c->attended += (double)attended;
}

size_t eval_top(const float *logits, size_t n) {
  size_t best = 0;
  for (size_t i = 1; i < n; i++)
    if (logits[i] > logits[best]) best = i;
  return best;
}

tb_token *eval_read_tokens(struct eval *e, const char *path, size_t *n, tb_token *bos) {
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
