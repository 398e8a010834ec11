/* Conversations: messages, rendered through a chat template (io/template.h) and turned into ids in such a way that only
 * the template's own words can become special tokens. */
#include "core/model.h"
#include "io/template.h"

#include <string.h>

struct message {
  char *role, *text; /* owned */
  size_t length;
};

struct tb_chat {
  const struct tb_model *model;
  struct tb_template *template; /* owned */
  int thinking;
  struct tb_template_date now;
  struct message *messages; /* owned */
  size_t n, cap;
};

static enum tb_status no_memory(struct tb_error *err) { return tb_fail(err, TB_E_NOMEM, "no memory for the conversation"); }

/* Civil date of a day number (0: 1 January 1970), by 400-year cycles that begin on 1 March. */
static struct tb_template_date date_of(int64_t time) {
  int64_t days = time / 86400, seconds = time % 86400;
  if (seconds < 0) seconds += 86400, days--;
  days += 719468; /* from 1 March of year 0 */
  int64_t cycle = (days >= 0 ? days : days - 146096) / 146097, day = days - cycle * 146097;
  int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
  int64_t day_of_year = day - (365 * year + year / 4 - year / 100), month = (5 * day_of_year + 2) / 153;
  struct tb_template_date d = {.hour = (int)(seconds / 3600), .minute = (int)(seconds / 60 % 60), .second = (int)(seconds % 60)};
  d.day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
  d.month = (int)(month < 10 ? month + 3 : month - 9);
  d.year = (int)(year + cycle * 400 + (d.month <= 2));
  return d;
}

/* The text of the template that counts; NULL with an error when there is none. */
static const char *choose(const struct tb_model *m, const struct tb_chat_options *o, struct tb_error *err) {
  if (o->template_text) return o->template_text;
  const char *text = o->template_name ? tb_template_builtin(o->template_name) : m->chat_template;
  if (text) return text;
  if (o->template_name) tb_fail(err, TB_E_ARG, "no built-in chat template is called '%s'", o->template_name);
  else tb_fail(err, TB_E_UNSUPPORTED, "the model file carries no chat template: name one, for example chatml");
  return NULL;
}

enum tb_status tb_chat_create(struct tb_chat **out, const struct tb_model *model, const struct tb_chat_options *options,
                              struct tb_error *err) {
  *out = NULL;
  const char *text = choose(model, options, err);
  if (!text) return options->template_name ? TB_E_ARG : TB_E_UNSUPPORTED;
  int64_t year_10000 = 253402300800;
  if (options->time < 0 || options->time >= year_10000)
    return tb_fail(err, TB_E_ARG, "time %lld is not between 1970 and 9999", (long long)options->time);
  struct tb_chat *c = tb_calloc(&model->alloc, 1, sizeof *c);
  if (!c) return no_memory(err);
  c->model = model;
  c->thinking = options->thinking;
  c->now = date_of(options->time);
  enum tb_status status = tb_template_compile(&c->template, text, strlen(text), &model->alloc, err);
  if (status) {
    tb_chat_free(c);
    return tb_fail_prefix(err, status, "chat template");
  }
  *out = c;
  return TB_OK;
}

void tb_chat_free(struct tb_chat *c) {
  if (!c) return;
  tb_chat_keep(c, 0);
  tb_template_free(c->template);
  tb_free(&c->model->alloc, c->messages);
  tb_free(&c->model->alloc, c);
}

enum tb_status tb_chat_add(struct tb_chat *c, const char *role, const char *text, size_t length, struct tb_error *err) {
  const struct tb_allocator *a = &c->model->alloc;
  void *messages = c->messages;
  if (!tb_grow(a, &messages, &c->cap, c->n + 1, sizeof *c->messages)) return no_memory(err);
  c->messages = messages;
  struct message m = {.role = tb_strndup(a, role, strlen(role)), .text = tb_strndup(a, text, length), .length = length};
  if (!m.role || !m.text) {
    tb_free(a, m.role);
    tb_free(a, m.text);
    return no_memory(err);
  }
  c->messages[c->n++] = m;
  return TB_OK;
}

size_t tb_chat_count(const struct tb_chat *c) { return c->n; }

void tb_chat_get(const struct tb_chat *c, size_t i, const char **role, const char **text, size_t *length) {
  *role = c->messages[i].role;
  *text = c->messages[i].text;
  *length = c->messages[i].length;
}

void tb_chat_keep(struct tb_chat *c, size_t n) {
  while (c->n > n) {
    struct message *m = &c->messages[--c->n];
    tb_free(&c->model->alloc, m->role);
    tb_free(&c->model->alloc, m->text);
  }
}

/* ----------------------------------------------------------------------------------------------------------- rendering */

static void set(struct tb_vals *pool, struct tb_val dict, const char *key, struct tb_val v) {
  tb_val_put(pool, dict, key, strlen(key), v);
}

/* "bos_token" or "eos_token"; left undefined when the vocabulary has none. */
static void set_token(const struct tb_chat *c, struct tb_vals *pool, struct tb_val context, const char *name, tb_token id) {
  char text[256];
  size_t n = id < 0 ? 0 : tb_tokenizer_piece(c->model->tokenizer, id, true, text, sizeof text);
  if (n > 0 && n <= sizeof text) set(pool, context, name, tb_val_trusted_text(pool, text, n));
}

/* What the Hugging Face library passes to a template. */
static struct tb_val make_context(const struct tb_chat *c, struct tb_vals *pool, bool generate) {
  struct tb_val context = tb_val_dict(pool), messages = tb_val_list(pool);
  for (size_t i = 0; i < c->n; i++) {
    const struct message *m = &c->messages[i];
    struct tb_val message = tb_val_dict(pool);
    set(pool, message, "role", tb_val_role(pool, m->role, strlen(m->role)));
    set(pool, message, "content", tb_val_text(pool, m->text, m->length));
    tb_val_push(pool, messages, message);
  }
  set(pool, context, "messages", messages);
  set(pool, context, "tools", tb_val_none());
  set(pool, context, "documents", tb_val_none());
  set(pool, context, "add_generation_prompt", tb_val_bool(generate));
  set_token(c, pool, context, "bos_token", tb_tokenizer_bos(c->model->tokenizer));
  set_token(c, pool, context, "eos_token", tb_tokenizer_eos(c->model->tokenizer));
  if (c->thinking >= 0) { /* the name most templates use, and that of Granite's and DeepSeek's */
    set(pool, context, "enable_thinking", tb_val_bool(c->thinking));
    set(pool, context, "thinking", tb_val_bool(c->thinking));
  }
  return context;
}

static enum tb_status render(const struct tb_chat *c, bool generate, struct tb_template_output *out, struct tb_error *err) {
  struct tb_vals *pool;
  enum tb_status status = tb_vals_create(&pool, &c->model->alloc, err);
  if (status) return status;
  struct tb_template_input in = {.pool = pool, .context = make_context(c, pool, generate), .now = c->now};
  status = tb_template_render(c->template, &in, out, err);
  tb_vals_free(pool);
  return status ? tb_fail_prefix(err, status, "chat template") : TB_OK;
}

enum tb_status tb_chat_render(const struct tb_chat *c, bool generate, tb_text_fn write, void *user, struct tb_error *err) {
  struct tb_template_output out;
  enum tb_status status = render(c, generate, &out, err);
  if (status) return status;
  if (!write(user, out.text, out.length)) status = tb_fail(err, TB_E_CANCELLED, "stopped by the caller");
  tb_template_output_free(&out, &c->model->alloc);
  return status;
}

/* Whether the file wants texts to begin with BOS and the ids do not yet. */
static enum tb_status wants_bos(const struct tb_tokenizer *t, const struct tb_tokens *ids, const struct tb_allocator *a,
                                bool *wants, struct tb_error *err) {
  struct tb_tokens empty = {0};
  tb_token bos = tb_tokenizer_bos(t);
  enum tb_status status = tb_tokenizer_encode(t, "", 0, TB_TOKENIZE_SPECIAL_ADD, &empty, err);
  *wants = status == TB_OK && bos >= 0 && empty.n > 0 && empty.data[0] == bos && !(ids->n > 0 && ids->data[0] == bos);
  tb_free(a, empty.data);
  return status;
}

enum tb_status tb_chat_encode(const struct tb_chat *c, bool generate, tb_token *ids, size_t cap, size_t *n,
                              struct tb_error *err) {
  const struct tb_allocator *a = &c->model->alloc;
  struct tb_template_output out;
  struct tb_tokens list = {0};
  bool bos = false;
  enum tb_status status = render(c, generate, &out, err);
  if (status) return status;
  status = tb_tokenizer_encode_runs(c->model->tokenizer, out.text, out.segments, out.n_segments, &list, err);
  tb_template_output_free(&out, a);
  if (!status) status = wants_bos(c->model->tokenizer, &list, a, &bos, err);
  if (!status) {
    if (bos && cap > 0) ids[0] = tb_tokenizer_bos(c->model->tokenizer);
    for (size_t i = 0; i < list.n && i + bos < cap; i++) ids[i + bos] = list.data[i];
    *n = list.n + bos;
  }
  tb_free(a, list.data);
  return status;
}

const char *const *tb_chat_template_names(void) { return tb_template_builtin_names(); }
