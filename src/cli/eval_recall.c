#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/eval.h"

#ifdef TB_HAVE_JANSSON

#include <jansson.h>

/* A message is three parts (opening, text, line end); before an answer's text stand its opening and the question. */
enum { QUESTION_PARTS = 4 };

/* One line of the file as tokens. */
struct item {
  tb_token *ids;
  size_t n, cap;
  size_t (*spans)[2]; /* scored tokens: first, end */
  size_t n_spans;
  size_t starts[QUESTION_PARTS]; /* of the last parts, while reading */
  size_t asked; /* where the question before the first scored part begins */
};

static void free_item(struct item *it) {
  free(it->ids);
  free(it->spans);
  *it = (struct item){0};
}

static bool add_part(struct eval *e, struct item *it, json_t *part, const char *where) {
  const json_t *text = json_object_get(part, "text");
  struct tb_error err;
  if (!json_is_string(text)) {
    fprintf(stderr, "thimble eval: %s: a part has no \"text\"\n", where);
    return false;
  }
  const bool special = json_is_true(json_object_get(part, "special")),
             score = json_is_true(json_object_get(part, "score"));
  size_t length = json_string_length(text), n = 0;
  tb_token *grown = realloc(it->ids, (it->n + length + 16) * sizeof *grown);
  if (!grown) return false;
  it->ids = grown;
  if (tb_tokenize(e->model, json_string_value(text), length, special ? TB_TOKENIZE_SPECIAL_PARSE : 0, it->ids + it->n,
                  length + 16, &n, &err) != TB_OK) {
    cli_report("eval", &err);
    return false;
  }
  if (score && n) {
    if (it->n_spans == 0) it->asked = it->starts[0];
    it->spans[it->n_spans][0] = it->n;
    it->spans[it->n_spans++][1] = it->n + n;
  }
  memmove(it->starts, it->starts + 1, (QUESTION_PARTS - 1) * sizeof *it->starts);
  it->starts[QUESTION_PARTS - 1] = it->n;
  it->n += n;
  return true;
}

static bool parse_item(struct eval *e, const char *line, size_t number, struct item *it) {
  char where[64];
  json_error_t error;
  snprintf(where, sizeof where, "line %zu", number);
  json_t *root = json_loads(line, JSON_REJECT_DUPLICATES, &error), *parts = json_object_get(root, "parts"), *part;
  bool ok = json_is_array(parts);
  if (!ok) fprintf(stderr, "thimble eval: %s: %s\n", where, root ? "no \"parts\"" : error.text);
  size_t i;
  if (ok) ok = (it->spans = calloc(json_array_size(parts) + 1, sizeof *it->spans)) != NULL;
  if (ok) json_array_foreach(parts, i, part) ok = ok && add_part(e, it, part, where);
  json_decref(root);
  return ok;
}

/* right[i]: the argmax before token i is token i. */
struct scoring {
  const struct item *it;
  size_t n_vocab, base;
  bool *right;
};

static bool each(void *user, size_t at, const float *logits) {
  struct scoring *s = user;
  size_t next = s->base + at + 1;
  if (next < s->it->n) s->right[next] = eval_top(logits, s->n_vocab) == (size_t)s->it->ids[next];
  return !cli_interrupted();
}

static bool run_item(struct eval *e, struct eval_config *c, const struct item *it, bool *right) {
  struct tb_error err;
  struct scoring s = {it, e->info.n_vocab, 0, right};
  enum tb_status status = tb_truncate(c->ctx, 0, &err);
  for (size_t n; !status && s.base + 1 < it->n; s.base += n) {
    n = it->n - 1 - s.base < e->n_batch ? it->n - 1 - s.base : e->n_batch;
    if (e->decode && s.base < it->asked && n > it->asked - s.base) n = it->asked - s.base;
    if (e->decode && s.base >= it->asked) n = 1;
    status = tb_eval_all(c->ctx, it->ids + s.base, n, each, &s, &err);
  }
  if (status == TB_E_CANCELLED)
    e->stopped = true;
  else if (status)
    cli_report("eval", &err);
  return status == TB_OK;
}

static bool answered(const bool *right, const size_t span[2]) {
  bool all = true;
  for (size_t i = span[0]; i < span[1]; i++)
    all = all && right[i];
  return all;
}

static bool score_item(struct eval *e, const struct item *it) {
  bool *right = calloc(it->n + 1, sizeof *right), *first = calloc(it->n_spans + 1, sizeof *first);
  bool ok = right && first;
  for (size_t j = 0; ok && j < e->n_configs; j++) {
    struct eval_config *c = &e->configs[j];
    ok = run_item(e, c, it, right);
    for (size_t i = 0; ok && i < it->n_spans; i++) {
      bool good = answered(right, it->spans[i]);
      if (j == 0) first[i] = good;
      c->questions++;
      c->right += good;
      c->only_first += first[i] && !good;
      c->only_this += !first[i] && good;
    }
  }
  free(right);
  free(first);
  return ok;
}

bool eval_recall(struct eval *e, const char *path) {
  size_t length, lines = 0, number = 0;
  double started = 0;
  char *text = cli_read_file("eval", path, &length), *next = text;
  if (!text) return false;
  for (size_t i = 0; i < length; i++)
    lines += text[i] == '\n';
  bool ok = true;
  while (ok && next && *next) {
    char *line = next, *end = strchr(next, '\n');
    next = end ? end + 1 : NULL;
    if (end) *end = '\0';
    number++;
    if (strspn(line, " \t\r") == strlen(line)) continue;
    struct item it = {0};
    eval_progress(&started, number - 1, lines + 1, "recall: line");
    ok = parse_item(e, line, number, &it);
    if (ok && it.n > e->n_ctx)
      fprintf(stderr, "thimble eval: line %zu: %zu tokens do not fit in -c %u; left out\n", number, it.n, e->n_ctx);
    else if (ok)
      ok = score_item(e, &it);
    free_item(&it);
  }
  eval_progress(&started, 1, 1, "");
  free(text);
  return ok || e->stopped;
}

#else

bool eval_recall(struct eval *e, const char *path) {
  (void)e;
  fprintf(stderr, "thimble eval: --recall %s: this build has no JSON library (libjansson-dev)\n", path);
  return false;
}

#endif
