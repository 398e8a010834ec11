/* Questions whose answers stand in the context, from a jsonl file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/eval.h"

bool eval_add_question(struct eval *e, const char *task, double depth, size_t tokens) {
  if (e->n_questions == e->cap_questions) {
    size_t cap = e->cap_questions * 2 + 256;
    struct eval_question *grown = realloc(e->questions, cap * sizeof *grown);
    if (!grown) return false;
    e->questions = grown;
    for (size_t i = 0; i < e->n_configs; i++) {
      unsigned char *right = realloc(e->configs[i].right, cap);
      if (!right) return false;
      e->configs[i].right = right;
    }
    e->cap_questions = cap;
  }
  size_t t = 0;
  while (t < e->n_tasks && strcmp(e->tasks[t], task) != 0)
    t++;
  if (t == EVAL_TASKS) t--; /* the last one takes what is left over */
  if (t == e->n_tasks) snprintf(e->tasks[e->n_tasks++], sizeof e->tasks[0], "%.31s", task);
  uint8_t bucket = depth < 0 ? EVAL_DEPTHS : depth >= 1 ? EVAL_DEPTHS - 1 : (uint8_t)(depth * EVAL_DEPTHS);
  uint8_t length = 0;
  while (length + 1 < EVAL_LENGTHS && tokens > (size_t)1 << length)
    length++;
  e->questions[e->n_questions++] = (struct eval_question){(uint8_t)t, bucket, length};
  for (size_t i = 0; i < e->n_configs; i++)
    e->configs[i].right[e->n_questions - 1] = 0;
  return true;
}

size_t eval_right(const struct eval *e, const struct eval_config *c) {
  size_t n = 0;
  for (size_t i = 0; i < e->n_questions; i++)
    n += c->right[i];
  return n;
}

#ifdef TB_HAVE_JANSSON

#include <jansson.h>
#include "cli/eval_lines.h"

/* A message is three parts (opening, text, line end); before an answer's text stand its opening and the question. */
enum { QUESTION_PARTS = 4 };

/* Tokens, and which of them are answers. */
struct passage {
  tb_token *ids;
  size_t n;
  size_t (*spans)[2]; /* scored tokens: first, end */
  size_t n_spans;
  size_t starts[QUESTION_PARTS]; /* of the last parts, while reading */
  size_t asked;                  /* where the question before the first scored part begins */
};

/* One line of the file. */
struct item {
  char where[64], task[32];
  struct passage context;
  struct passage *questions;
  double *depths;
  size_t n_questions;
};

static void free_passage(struct passage *p) {
  free(p->ids);
  free(p->spans);
}

static void free_item(struct item *it) {
  free_passage(&it->context);
  for (size_t i = 0; i < it->n_questions; i++)
    free_passage(&it->questions[i]);
  free(it->questions);
  free(it->depths);
}

static bool add_part(struct eval *e, struct passage *p, json_t *part, const char *where) {
  const json_t *text = json_object_get(part, "text");
  struct tb_error err;
  if (!json_is_string(text)) {
    fprintf(stderr, "thimble eval: %s: a part has no \"text\"\n", where);
    return false;
  }
  const bool special = json_is_true(json_object_get(part, "special")),
             score = json_is_true(json_object_get(part, "score"));
  size_t length = json_string_length(text), n = 0;
  tb_token *grown = realloc(p->ids, (p->n + length + 16) * sizeof *grown);
  if (!grown) return false;
  p->ids = grown;
  if (tb_tokenize(e->model, json_string_value(text), length, special ? TB_TOKENIZE_SPECIAL_PARSE : 0, p->ids + p->n,
                  length + 16, &n, &err) != TB_OK) {
    cli_report("eval", &err);
    return false;
  }
  if (score && n) {
    if (p->n_spans == 0) p->asked = p->starts[0];
    p->spans[p->n_spans][0] = p->n;
    p->spans[p->n_spans++][1] = p->n + n;
  }
  memmove(p->starts, p->starts + 1, (QUESTION_PARTS - 1) * sizeof *p->starts);
  p->starts[QUESTION_PARTS - 1] = p->n;
  p->n += n;
  return true;
}

static bool parse_passage(struct eval *e, json_t *parts, const char *what, const char *where, struct passage *p) {
  size_t i;
  json_t *part;
  if (!json_is_array(parts)) {
    fprintf(stderr, "thimble eval: %s: no \"%s\"\n", where, what);
    return false;
  }
  bool ok = (p->spans = calloc(json_array_size(parts) + 1, sizeof *p->spans)) != NULL;
  json_array_foreach(parts, i, part) ok = ok && add_part(e, p, part, where);
  return ok;
}

static bool parse_item(struct eval *e, json_t *root, struct item *it) {
  json_t *context = json_object_get(root, "context"), *questions = json_object_get(root, "questions"), *question;
  const char *task = json_string_value(json_object_get(root, "task"));
  snprintf(it->task, sizeof it->task, "%.31s", task ? task : "all");
  const size_t n = context && json_is_array(questions) ? json_array_size(questions) : 1;
  if (!(it->questions = calloc(n + 1, sizeof *it->questions)) || !(it->depths = calloc(n + 1, sizeof *it->depths)))
    return false;
  it->n_questions = n;
  it->depths[0] = -1;
  if (!context) return parse_passage(e, json_object_get(root, "parts"), "parts", it->where, &it->questions[0]);
  if (!json_is_array(questions)) {
    fprintf(stderr, "thimble eval: %s: \"context\" without \"questions\"\n", it->where);
    return false;
  }
  bool ok = parse_passage(e, context, "context", it->where, &it->context);
  size_t i;
  json_array_foreach(questions, i, question) {
    const json_t *depth = json_object_get(question, "depth");
    it->depths[i] = json_is_number(depth) ? json_number_value(depth) : -1;
    ok = ok && parse_passage(e, json_object_get(question, "parts"), "parts", it->where, &it->questions[i]);
  }
  return ok;
}

/* right[i]: the argmax before token i is token i. */
struct scoring {
  const struct passage *p;
  struct eval_config *c;
  size_t n_vocab, base, before; /* before: tokens in front of the passage */
  bool *right;
};

static bool score(void *user, size_t at, const float *logits) {
  struct scoring *s = user;
  size_t next = s->base + at + 1;
  if (next < s->p->n) s->right[next] = eval_top(logits, s->n_vocab) == (size_t)s->p->ids[next];
  for (size_t i = 0; i < s->p->n_spans; i++)
    if (s->p->spans[i][0] == next) eval_note_encoded(s->c, s->before + next);
  return !cli_interrupted();
}

/* A conversation with its answers, in batches. */
static bool run_conversation(struct eval *e, struct eval_config *c, const struct passage *p, bool *right) {
  struct tb_error err;
  struct scoring s = {p, c, e->info.n_vocab, 0, 0, right};
  enum tb_status status = tb_truncate(c->ctx, 0, &err);
  double start = cli_now();
  for (size_t n; !status && s.base + 1 < p->n; s.base += n) {
    n = p->n - 1 - s.base < e->n_batch ? p->n - 1 - s.base : e->n_batch;
    if (e->decode && s.base < p->asked && n > p->asked - s.base) n = p->asked - s.base;
    if (e->decode && s.base >= p->asked) n = 1;
    status = tb_eval_all(c->ctx, p->ids + s.base, n, score, &s, &err);
  }
  c->read_seconds += cli_now() - start;
  c->read += p->n - 1;
  if (status == TB_E_CANCELLED)
    e->stopped = true;
  else if (status)
    cli_report("eval", &err);
  return status == TB_OK;
}

static uint32_t encoded(const struct eval_config *c) {
  struct tb_context_info info;
  tb_context_get_info(c->ctx, &info);
  return info.n_encoded;
}

/* One question behind the context that the cache holds, token by token. *dirty: taking it back would leave marks,
 * because part of it, or more of the context, was encoded meanwhile: the context must be read again. */
static bool run_question(struct eval *e, struct eval_config *c, const struct item *it, const struct passage *p,
                         bool *right, bool *dirty) {
  struct scoring s = {p, c, e->info.n_vocab, 0, it->context.n, right};
  struct tb_error err;
  uint32_t first = 0;
  if (*dirty) {
    if (tb_truncate(c->ctx, 0, &err) != TB_OK || !eval_read(e, c, it->context.ids, it->context.n)) return false;
    *dirty = false;
  } else if (tb_truncate(c->ctx, (uint32_t)it->context.n, &err) != TB_OK) {
    return false;
  }
  for (; s.base + 1 < p->n; s.base++) {
    const float *logits = eval_step(e, c, p->ids[s.base]);
    if (!logits) return false;
    if (s.base == 0) first = encoded(c); /* a waiting granule of the context is encoded by the first token */
    score(&s, 0, logits);
  }
  if (encoded(c) != first && first != it->context.n + 1) *dirty = true;
  return true;
}

static bool answered(const bool *right, const size_t span[2]) {
  bool all = true;
  for (size_t i = span[0]; i < span[1]; i++)
    all = all && right[i];
  return all;
}

static bool score_config(struct eval *e, struct eval_config *c, const struct item *it, bool *right, size_t q) {
  bool dirty = true, ok = true;
  for (size_t i = 0; ok && i < it->n_questions; i++) {
    const struct passage *p = &it->questions[i];
    ok = it->context.n ? run_question(e, c, it, p, right, &dirty) : run_conversation(e, c, p, right);
    for (size_t k = 0; ok && k < p->n_spans; k++)
      c->right[q++] = answered(right, p->spans[k]);
  }
  return ok;
}

static size_t longest(const struct item *it) {
  size_t n = 0;
  for (size_t i = 0; i < it->n_questions; i++)
    if (it->questions[i].n > n) n = it->questions[i].n;
  return n;
}

static bool score_item(struct eval *e, const struct item *it) {
  const size_t q = e->n_questions, most = longest(it);
  if (it->context.n + most > e->n_ctx) {
    fprintf(stderr, "thimble eval: %s: %zu tokens do not fit in -c %u; left out\n", it->where, it->context.n + most,
            e->n_ctx);
    return true;
  }
  bool *right = calloc(most + 1, sizeof *right), ok = right != NULL;
  for (size_t i = 0; ok && i < it->n_questions; i++)
    for (size_t k = 0; ok && k < it->questions[i].n_spans; k++)
      ok = eval_add_question(e, it->task, it->depths[i], it->context.n ? it->context.n : it->questions[i].n);
  for (size_t j = 0; ok && j < e->n_configs; j++)
    ok = score_config(e, &e->configs[j], it, right, q);
  if (!ok) e->n_questions = q; /* what was not asked everywhere does not count */
  free(right);
  return ok;
}

static bool run_line(struct eval *e, const char *line, size_t number) {
  struct item it = {0};
  json_error_t error;
  snprintf(it.where, sizeof it.where, "line %zu", number);
  json_t *root = json_loads(line, JSON_REJECT_DUPLICATES, &error);
  if (!root) {
    fprintf(stderr, "thimble eval: %s: %s\n", it.where, error.text);
    return false;
  }
  bool ok = true;
  if (json_object_get(root, "expected_number"))
    ok = eval_lines(e, root, it.where);
  else
    ok = parse_item(e, root, &it) && score_item(e, &it);
  free_item(&it);
  json_decref(root);
  return ok;
}

bool eval_recall(struct eval *e, const char *path) {
  size_t length, lines = 0, number = 0;
  struct cli_eta eta = {0};
  char *text = cli_read_file("eval", path, &length), *next = text;
  if (!text) return false;
  for (size_t i = 0; i < length; i++)
    lines += text[i] == '\n';
  bool ok = true;
  while (ok && next && *next && (!e->chunks || number < e->chunks)) {
    char *line = next, *end = strchr(next, '\n');
    next = end ? end + 1 : NULL;
    if (end) *end = '\0';
    cli_eta_show(&eta, (double)number++, (double)lines + 1, "recall: line");
    if (strspn(line, " \t\r") < strlen(line)) ok = run_line(e, line, number);
  }
  cli_eta_end(&eta);
  free(text);
  if (ok && e->n_questions == 0) {
    fprintf(stderr, "thimble eval: %s: no question was asked\n", path);
    ok = false;
  }
  return ok || e->stopped;
}

#else

bool eval_recall(struct eval *e, const char *path) {
  (void)e;
  fprintf(stderr, "thimble eval: --recall %s: this build has no JSON library (libjansson-dev)\n", path);
  return false;
}

#endif
