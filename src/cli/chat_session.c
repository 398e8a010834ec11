#include "cli/chat_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROOM_FOR_ANSWER = 16 }; /* a question that leaves less than this is refused */

/* Where thinking begins and ends in the text of current models. */
static const char think_open[] = "<think>", think_close[] = "</think>";

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds since 1970 as the wall clock at home shows them. */
static int64_t local_time(void) {
  time_t t = time(NULL);
  struct tm local, utc;
  localtime_r(&t, &local);
  gmtime_r(&t, &utc);
  utc.tm_isdst = local.tm_isdst;
  return (int64_t)t + (int64_t)difftime(mktime(&local), mktime(&utc));
}

/* ------------------------------------------------------------------------------------------------------ opening */

static bool open_chat(struct chat_session *s, struct tb_error *err) {
  const char *name = s->args->template_name;
  char *text = NULL;
  size_t length;
  struct tb_chat_options o = {.thinking = -1, .time = local_time()};
  if (s->args->think) o.thinking = strcmp(s->args->think, "off") == 0 ? 0 : 1;
  s->hide_thinking = s->args->think && strcmp(s->args->think, "hide") == 0;
  if (name && access(name, R_OK) == 0) {
    if (!(text = cli_read_file(s->args->verb, name, &length))) return false;
    o.template_text = text;
  } else {
    o.template_name = name;
  }
  enum tb_status status = tb_chat_create(&s->chat, s->model, &o, err);
  free(text);
  if (status) cli_report(s->args->verb, err);
  return status == TB_OK;
}

bool chat_open(struct chat_session *s, const struct chat_args *args) {
  struct tb_error err;
  s->args = args;
  s->interactive = isatty(STDIN_FILENO);
  s->colours = isatty(STDOUT_FILENO);
  struct cli_cache cache = args->cache;
  struct tb_context_options o = {.n_ctx = args->n_ctx, .n_batch = args->n_batch, .n_threads = args->threads};
  if (!cli_cache_open(args->verb, &cache, args->model, &o)) return false;
  int planned = cli_plan_context(args->verb, args->model, &args->memory, &args->sampler, &o, &s->plan);
  bool opened = planned == CLI_OK && (s->model = cli_open_model(args->verb, args->model)) && open_chat(s, &err);
  enum tb_status made = opened ? tb_context_create(&s->ctx, s->model, &o, &err) : TB_OK;
  cli_cache_close(&cache);
  s->code = planned;
  if (!opened) return false;
  if (made != TB_OK || tb_sampler_create(&s->sampler, s->model, &args->sampler, &err) != TB_OK) {
    cli_report(s->args->verb, &err);
    return false;
  }
  struct tb_context_info info;
  tb_context_get_info(s->ctx, &info);
  s->n_ctx = info.n_ctx;
  if (!cli_guard_model(s->model)) return false;
  if (args->system && *args->system && !chat_set_system(s, args->system)) return false;
  return chat_restore(s);
}

void chat_close(struct chat_session *s) {
  cli_unguard_model();
  free(s->ids);
  tb_sampler_free(s->sampler);
  tb_context_free(s->ctx);
  tb_chat_free(s->chat);
  tb_model_free(s->model);
  tb_plan_free(s->plan);
}

/* ---------------------------------------------------------------------------------------------------- rendering */

/* Ids of the conversation into s->ids; *n of them. */
static enum tb_status encode(struct chat_session *s, bool generate, size_t *n, struct tb_error *err) {
  for (;;) {
    enum tb_status status = tb_chat_encode(s->chat, generate, s->ids, s->cap, n, err);
    if (status || *n <= s->cap) return status;
    tb_token *grown = realloc(s->ids, *n * sizeof *grown);
    if (!grown) return err->status = TB_E_NOMEM;
    s->ids = grown;
    s->cap = *n;
  }
}

size_t chat_tokens(struct chat_session *s) {
  size_t n = 0;
  struct tb_error err;
  return tb_chat_count(s->chat) && encode(s, false, &n, &err) == TB_OK ? n : 0;
}

/* ---------------------------------------------------------------------------------------------------- answering */

struct answer {
  struct chat_session *s;
  struct cli_stream stream;
  char *text;
  size_t n, cap;
  bool thinking;
};

static bool keep_text(struct answer *a, const char *piece, size_t n) {
  if (a->n + n > a->cap) {
    char *grown = realloc(a->text, a->cap = 2 * (a->n + n) + 1024);
    if (!grown) return false;
    a->text = grown;
  }
  if (n) memcpy(a->text + a->n, piece, n);
  a->n += n;
  return true;
}

static bool is_piece(const char *piece, size_t n, const char *mark) {
  return n == strlen(mark) && memcmp(piece, mark, n) == 0;
}

static void style(const struct answer *a, const char *code) {
  if (a->s->colours) fputs(code, stdout);
}

/* A piece that opens or closes thinking switches the dimming; models have single tokens for both. */
static void show(struct answer *a, const char *piece, size_t n) {
  if (is_piece(piece, n, think_open)) {
    a->thinking = true;
    style(a, "\033[2m");
  }
  if (!a->thinking || !a->s->hide_thinking) cli_stream_put(&a->stream, piece, n);
  if (a->thinking && is_piece(piece, n, think_close)) {
    a->thinking = false;
    style(a, "\033[0m");
  }
}

/* The text of a token as the user sees it: control tokens give nothing, the marks of thinking do. */
static size_t visible_text(const struct tb_model *m, tb_token token, char *piece, size_t cap) {
  size_t n = tb_token_text(m, token, false, piece, cap);
  if (n == 0) {
    n = tb_token_text(m, token, true, piece, cap);
    if (!is_piece(piece, n < cap ? n : cap, think_open) && !is_piece(piece, n < cap ? n : cap, think_close)) n = 0;
  }
  return n < cap ? n : cap;
}

/* What the last step computed was computed from a file that has changed: forget it. */
static enum tb_status check_step(struct chat_session *s, uint32_t keep, struct tb_error *err) {
  enum tb_status status = cli_check_model(s->model, err);
  if (status) tb_truncate(s->ctx, keep, NULL);
  return status;
}

/* Evaluates one token. */
static enum tb_status step(struct chat_session *s, tb_token token, struct tb_error *err) {
  struct tb_context_info info;
  tb_context_get_info(s->ctx, &info);
  enum tb_status status = tb_eval(s->ctx, &token, 1, NULL, NULL, err);
  enum tb_status lost = status == TB_E_CONTEXT ? TB_OK : check_step(s, info.n_past, err);
  return lost ? lost : status;
}

/* Until the model ends, a stop string comes, Ctrl-C is pressed or the context is full. */
static enum tb_status generate(struct answer *a, struct tb_error *err) {
  struct chat_session *s = a->s;
  double start = now();
  enum tb_status status = TB_OK;
  s->answered = 0;
  cli_autosave_begin(&s->autosave, 0);
  while (!status && (s->args->n_predict < 0 || s->answered < (size_t)s->args->n_predict) && !a->stream.stopped &&
         !cli_interrupted()) {
    tb_token token = tb_sampler_pick(s->sampler, tb_logits(s->ctx));
    if (tb_token_ends(s->model, token)) break;
    char piece[1024];
    size_t n = visible_text(s->model, token, piece, sizeof piece);
    if (!keep_text(a, piece, n)) break;
    show(a, piece, n);
    s->answered++;
    if (ferror(stdout)) break;
    cli_cool_down();
    status = step(s, token, err);
    if (!status && s->args->session && cli_autosave_due(&s->autosave, s->answered)) chat_save_partial(s, a->text, a->n);
  }
  cli_stream_end(&a->stream);
  if (a->thinking) style(a, "\033[0m");
  fputc('\n', stdout);
  fflush(stdout);
  s->answer_seconds = now() - start;
  return status;
}

/* Reads the question. */
static enum tb_status read_prompt(struct chat_session *s, struct tb_error *err) {
  struct cli_progress progress = {0};
  size_t n;
  enum tb_status status = encode(s, true, &n, err);
  if (status) return status;
  if (n + ROOM_FOR_ANSWER > s->n_ctx) {
    snprintf(err->text, sizeof err->text,
             "the conversation would take %zu of %u tokens and leave no room for an answer; /reset forgets it, a "
             "larger context is given with -c N",
             n, s->n_ctx);
    return err->status = TB_E_CONTEXT;
  }
  if (n > s->n_ctx / 5 * 4)
    fprintf(stderr, "[%zu of %u tokens of context are used; /reset forgets the conversation, -c N gives more room]\n",
            n, s->n_ctx);
  double start = now();
  status = tb_eval_prompt(s->ctx, s->ids, n, &s->reused, cli_progress_show, &progress, err);
  if (!status || status == TB_E_NUMERIC) { /* a changed file is the reason for non-finite numbers, not the model */
    enum tb_status lost = check_step(s, (uint32_t)s->reused, err);
    if (lost) return lost;
  }
  s->read = n - s->reused;
  s->read_seconds = now() - start;
  return status;
}

/* After a failure of the file that --kv-spill keeps clusters in: what the cache holds is forgotten, and the conversation,
 * whose text is here, is read again with the next question. False: it was another failure. */
static bool spill_failed(struct chat_session *s, enum tb_status status) {
  struct tb_error unused;
  if (!s->args->cache.spill || (status != TB_E_IO && status != TB_E_FORMAT)) return false;
  if (cli_check_model(s->model, &unused) || tb_truncate(s->ctx, 0, &unused)) return false;
  fputs("[the conversation is kept, and read again with the next question]\n", stderr);
  s->refused = true;
  return true;
}

enum chat_outcome chat_turn(struct chat_session *s, const char *text, size_t length) {
  struct tb_error err;
  const size_t before = tb_chat_count(s->chat);
  struct answer a = {.s = s, .stream = {.stops = &s->args->stops}};
  enum chat_outcome outcome = CHAT_GO_ON;
  enum tb_status status = cli_check_model(s->model, &err);
  if (!status) status = tb_chat_add(s->chat, "user", text, length, &err);
  if (!status) status = read_prompt(s, &err);
  s->refused = status != TB_OK;
  if (status) { /* the question is taken back */
    tb_chat_keep(s->chat, before);
    cli_report(s->args->verb, &err);
    if (s->unsaved) chat_save(s);
    return status == TB_E_CONTEXT || status == TB_E_CANCELLED || spill_failed(s, status) ? CHAT_GO_ON : CHAT_FAILED;
  }
  status = generate(&a, &err);
  if (status == TB_E_CONTEXT)
    fprintf(stderr,
            "[the context of %u tokens is full and the answer was cut; /reset forgets the conversation, -c N gives "
            "more room]\n",
            s->n_ctx);
  else if (status) {
    cli_report(s->args->verb, &err);
    outcome = spill_failed(s, status) ? CHAT_GO_ON : CHAT_FAILED;
  }
  if (tb_chat_add(s->chat, "assistant", a.text ? a.text : "", a.n, &err) != TB_OK) {
    cli_report(s->args->verb, &err);
    outcome = CHAT_FAILED;
  }
  free(a.text);
  chat_save(s);
  return ferror(stdout) ? CHAT_FAILED : outcome;
}

void chat_print_status(const struct chat_session *s) {
  struct tb_context_info info;
  tb_context_get_info(s->ctx, &info);
  fprintf(stderr, "[read %zu tokens (%.0f t/s), reused %zu; answered %zu (%.1f t/s); context %u / %u]\n", s->read,
          s->read_seconds > 0 ? (double)s->read / s->read_seconds : 0.0, s->reused, s->answered,
          s->answer_seconds > 0 ? (double)s->answered / s->answer_seconds : 0.0, info.n_past, s->n_ctx);
}

/* ----------------------------------------------------------------------------------------------------- changing */

void chat_reset(struct chat_session *s) {
  tb_chat_keep(s->chat, s->args->system && *s->args->system ? 1 : 0);
}

bool chat_set_system(struct chat_session *s, const char *text) {
  struct tb_error err;
  tb_chat_keep(s->chat, 0);
  if (!text || !*text || tb_chat_add(s->chat, "system", text, strlen(text), &err) == TB_OK) return true;
  cli_report(s->args->verb, &err);
  return false;
}
