#ifdef TB_HAVE_JANSSON

#include "cli/eval_lines.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_TOKENS = 48, ANSWER_BYTES = 2048 };

/* The prompt as ids; *n 0 on failure (said). */
static tb_token *encode(struct eval *e, const char *prompt, size_t length, size_t *n) {
  struct tb_error err;
  struct tb_chat_options options = {.thinking = 0};
  struct tb_chat *chat = NULL;
  const size_t cap = length + 4096;
  tb_token *ids = malloc(cap * sizeof *ids);
  *n = 0;
  enum tb_status s = ids ? TB_OK : TB_E_NOMEM;
  if (s) return NULL;
  if (!e->info.chat_template)
    s = tb_tokenize(e->model, prompt, length, TB_TOKENIZE_SPECIAL_ADD, ids, cap, n, &err);
  else if (!(s = tb_chat_create(&chat, e->model, &options, &err)) &&
           !(s = tb_chat_add(chat, "user", prompt, length, &err)))
    s = tb_chat_encode(chat, true, ids, cap, n, &err);
  tb_chat_free(chat);
  if (s) {
    cli_report("eval", &err);
    *n = 0;
  }
  return ids;
}

/* True when the number stands in the answer as a word of its own. LongChat's key is repeated in the answer but holds no
 * digits. */
static bool says(const char *answer, const char *number) {
  const size_t n = strlen(number);
  for (const char *p = answer; (p = strstr(p, number)); p++)
    if ((p == answer || !isdigit((unsigned char)p[-1])) && !isdigit((unsigned char)p[n])) return true;
  return false;
}

static bool ask(struct eval *e, struct eval_config *c, const tb_token *ids, size_t n, char answer[ANSWER_BYTES]) {
  struct tb_error err;
  size_t used = 0;
  if (tb_truncate(c->ctx, 0, &err) != TB_OK || !eval_read(e, c, ids, n)) return false;
  eval_note_encoded(c, n);
  const float *logits = tb_logits(c->ctx);
  for (int i = 0; i < ANSWER_TOKENS && logits; i++) {
    tb_token token = (tb_token)eval_top(logits, e->info.n_vocab);
    if (tb_token_ends(e->model, token)) break;
    size_t length = tb_token_text(e->model, token, false, answer + used, ANSWER_BYTES - 1 - used);
    used += length < ANSWER_BYTES - 1 - used ? length : ANSWER_BYTES - 1 - used;
    logits = eval_step(e, c, token);
  }
  answer[used] = '\0';
  return logits != NULL;
}

bool eval_lines(struct eval *e, const json_t *root, const char *where) {
  const json_t *prompt = json_object_get(root, "prompt"), *number = json_object_get(root, "expected_number"),
               *lines = json_object_get(root, "num_lines"),
               *index = json_array_get(json_object_get(root, "random_idx"), 1);
  char expected[32], task[32] = "lines", answer[ANSWER_BYTES];
  if (!json_is_string(prompt) || !json_is_integer(number)) {
    fprintf(stderr, "thimble eval: %s: no \"prompt\" or \"expected_number\"\n", where);
    return false;
  }
  snprintf(expected, sizeof expected, "%lld", (long long)json_integer_value(number));
  double depth = -1;
  if (json_is_integer(lines)) {
    snprintf(task, sizeof task, "lines%lld", (long long)json_integer_value(lines));
    if (json_is_integer(index)) depth = (double)json_integer_value(index) / (double)json_integer_value(lines);
  }
  size_t n;
  tb_token *ids = encode(e, json_string_value(prompt), json_string_length(prompt), &n);
  bool ok = n > 0;
  if (ok && n + ANSWER_TOKENS > e->n_ctx) {
    fprintf(stderr, "thimble eval: %s: %zu tokens do not fit in -c %u; left out\n", where, n + ANSWER_TOKENS, e->n_ctx);
  } else if (ok) {
    const size_t q = e->n_questions;
    ok = eval_add_question(e, task, depth, n);
    for (size_t j = 0; ok && j < e->n_configs; j++)
      if ((ok = ask(e, &e->configs[j], ids, n, answer))) e->configs[j].right[q] = says(answer, expected);
    if (!ok) e->n_questions = q;
  }
  free(ids);
  return ok;
}

#else

typedef int tb_no_json; /* ISO C forbids an empty file */

#endif
