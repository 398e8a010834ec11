/* thimble run: one question and its answer; with --raw, or for a model without a chat template, a text's continuation.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "cli/chat_session.h"
#include "cli/output.h"

struct run_args {
  const char *model, *prompt, *file, *tokens, *logits;
  int32_t n_predict;
  uint32_t threads, n_ctx, n_batch;
  struct tb_sampler_options sampler;
  bool no_escape, raw, ignore_eos, all_logits, quiet, help;
  const char *system;
  const char *seed, *session;
  struct cli_list stops;
  struct cli_cache cache;
  struct cli_memory memory;
  struct cli_cpus cpus;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------------------------------------------- prompt */

/* The prompt's text, malloc'd: -p, -f, or standard input. */
static char *prompt_text(const struct run_args *a, size_t *length) {
  if (a->prompt) {
    char *copy = strdup(a->prompt);
    if (copy) *length = a->no_escape ? strlen(copy) : cli_unescape(copy);
    return copy;
  }
  if (a->file) return cli_read_file("run", a->file, length);
  if (isatty(STDIN_FILENO)) {
    fprintf(stderr, "thimble run: no prompt: give -p TEXT, -f FILE, or text on standard input\n");
    return NULL;
  }
  return cli_read_file("run", "-", length);
}

/* Ids from a text file of numbers separated by blanks or commas. */
static tb_token *parse_ids(const char *path, size_t *n) {
  size_t length, cap = 0;
  char *text = cli_read_file("run", path, &length);
  if (!text) return NULL;
  tb_token *ids = malloc((length / 2 + 1) * sizeof *ids);
  for (char *p = text; ids && *p;) {
    p += strspn(p, " \t\r\n,");
    if (!*p) break;
    char *end;
    long v = strtol(p, &end, 10);
    if (end == p || v < 0 || v > INT32_MAX) {
      fprintf(stderr, "thimble run: --tokens: %s: '%.20s' is not a token id\n", path, p);
      free(ids);
      ids = NULL;
      break;
    }
    ids[cap++] = (tb_token)v;
    p = end;
  }
  free(text);
  *n = cap;
  return ids;
}

/* The prompt as it stands. */
static enum tb_status plain_ids(const struct tb_model *model, bool first, const char *text, size_t length,
                                tb_token *ids, size_t cap, size_t *n, struct tb_error *err) {
  const unsigned flags = TB_TOKENIZE_SPECIAL_PARSE | (first ? TB_TOKENIZE_SPECIAL_ADD : 0);
  return tb_tokenize(model, text, length, flags, ids, cap, n, err);
}

/* The prompt as a question, through the model's chat template. */
static enum tb_status chat_ids(const struct run_args *a, const struct tb_model *model, const char *text, size_t length,
                               tb_token *ids, size_t cap, size_t *n, struct tb_error *err) {
  struct tb_chat *chat;
  const struct tb_chat_options options = {.thinking = -1, .time = (int64_t)time(NULL)};
  enum tb_status s = tb_chat_create(&chat, model, &options, err);
  if (s) return s;
  if (a->system) s = tb_chat_add(chat, "system", a->system, strlen(a->system), err);
  if (!s) s = tb_chat_add(chat, "user", text, length, err);
  if (!s) s = tb_chat_encode(chat, true, ids, cap, n, err);
  tb_chat_free(chat);
  return s;
}

/* `first`: nothing stands before it. */
static tb_token *prompt_tokens(const struct run_args *a, const struct tb_model *model, bool first, size_t *n,
                               int *code) {
  *code = CLI_FAILED;
  if (a->tokens) return parse_ids(a->tokens, n);
  size_t length, cap;
  char *text = prompt_text(a, &length);
  if (!text) return NULL;
  struct tb_model_info info;
  struct tb_error err;
  tb_model_get_info(model, &info);
  const bool chat = info.chat_template && !a->raw;
  tb_token *ids = NULL;
  enum tb_status s = TB_OK;
  *n = 0;
  if (length == 0) goto end; /* said by the caller */
  cap = length + 64;
  for (bool again = true; again;) {
    tb_token *grown = realloc(ids, cap * sizeof *ids);
    if (!grown) break;
    ids = grown;
    s = chat ? chat_ids(a, model, text, length, ids, cap, n, &err)
             : plain_ids(model, first, text, length, ids, cap, n, &err);
    again = s == TB_OK && *n > cap; /* a template may add much */
    cap = *n;
  }
end:
  free(text);
  if (s) {
    *code = cli_report("run", &err);
    free(ids);
    return NULL;
  }
  return ids ? ids : calloc(1, sizeof *ids);
}

/* ------------------------------------------------------------------------------------------------------ session */

/* --raw --session: text that is continued from one start to the next; without messages, so without extra bytes. */
static bool restore(const struct run_args *a, struct tb_context *ctx) {
  struct tb_error err;
  void *extra = NULL;
  size_t n = 0;
  if (!a->session || (access(a->session, F_OK) != 0 && errno == ENOENT)) return true;
  bool ok = tb_session_load(ctx, a->session, &extra, &n, &err) == TB_OK;
  if (ok && n > 0) {
    snprintf(err.text, sizeof err.text, "%s: is a conversation; continue it without --raw", a->session);
    ok = false;
  }
  tb_session_free_extra(ctx, extra);
  if (!ok) fprintf(stderr, "thimble run: --session: %s\n", err.text);
  return ok;
}

static bool save(const struct run_args *a, struct tb_context *ctx) {
  struct tb_error err;
  if (!a->session || tb_session_save(ctx, a->session, NULL, 0, &err) == TB_OK) return true;
  fprintf(stderr, "thimble run: --session: the text is not saved: %s\n", err.text);
  return false;
}

/* Without --raw a session is the chat's: this is one more turn of it. */
static int ask_in_session(const struct run_args *a) {
  const struct chat_args c = {.verb = "run", .model = a->model, .system = a->system, .session = a->session, .cache = a->cache,
                              .n_predict = a->n_predict, .threads = a->threads, .n_ctx = a->n_ctx, .n_batch = a->n_batch,
                              .sampler = a->sampler, .stops = a->stops, .memory = a->memory};
  struct chat_session s = {0};
  size_t length;
  char *text = prompt_text(a, &length);
  if (!text) return CLI_FAILED;
  int code = CLI_USAGE;
  if (length == 0)
    fprintf(stderr, "thimble run: the prompt is empty\n");
  else if (chat_open(&s, &c))
    code = cli_interrupt_code(chat_turn(&s, text, length) == CHAT_GO_ON && !s.unsaved && !s.refused ? CLI_OK : CLI_FAILED);
  else
    code = s.code ? s.code : CLI_FAILED;
  if (code == CLI_OK && !a->quiet) chat_print_status(&s);
  if (a->memory.stats && s.ctx) cli_print_memory(s.plan);
  chat_close(&s);
  free(text);
  return code;
}

/* ------------------------------------------------------------------------------------------------------- logits */

static bool write_logits(FILE *f, const float *logits, uint32_t n) {
  return fwrite(logits, sizeof *logits, n, f) == n;
}

struct logits_out {
  FILE *file;
  uint32_t n_vocab;
};

static bool each_logits(void *user, size_t position, const float *logits) {
  (void)position;
  const struct logits_out *o = user;
  return write_logits(o->file, logits, o->n_vocab);
}

/* --logits: raw float32 of the last position, or of all, and nothing is generated. */
static int run_logits(const struct run_args *a, struct tb_context *ctx, const tb_token *ids, size_t n,
                      uint32_t n_vocab) {
  struct tb_error err;
  struct cli_output o;
  if (!cli_output_begin(&o, "run", "--logits", a->logits)) return CLI_FAILED;
  struct logits_out out = {o.file, n_vocab};
  enum tb_status status =
      a->all_logits ? tb_eval_all(ctx, ids, n, each_logits, &out, &err) : tb_eval(ctx, ids, n, NULL, NULL, &err);
  if (!status && !a->all_logits) write_logits(o.file, tb_logits(ctx), n_vocab);
  const bool unwritten = ferror(o.file); /* which also cancels the evaluation */
  const bool there = cli_output_end(&o, status == TB_OK || unwritten);
  if (status && !unwritten) return cli_report("run", &err);
  return there ? CLI_OK : CLI_FAILED;
}

/* --------------------------------------------------------------------------------------------------- generation */

struct timing {
  double prompt, generate;
  size_t n_prompt, n_generated;
};

static void print_timing(const struct timing *t) {
  fprintf(stderr, "\n[prompt %zu tokens, %.1f t/s; generated %zu tokens, %.1f t/s]\n", t->n_prompt,
          t->prompt > 0 ? (double)t->n_prompt / t->prompt : 0.0, t->n_generated,
          t->generate > 0 ? (double)t->n_generated / t->generate : 0.0);
}

/* What was just computed, from a file that has changed, is forgotten. */
static enum tb_status check_step(const struct tb_model *model, struct tb_context *ctx, enum tb_status status,
                                 uint32_t before, struct tb_error *err) {
  if (status && status != TB_E_NUMERIC) return status;
  enum tb_status lost = cli_check_model(model, err);
  if (lost) tb_truncate(ctx, before, NULL);
  return lost ? lost : status;
}

static enum tb_status eval(const struct tb_model *model, struct tb_context *ctx, const tb_token *ids, size_t n,
                           struct cli_progress *progress, struct tb_error *err) {
  struct tb_context_info info;
  tb_context_get_info(ctx, &info);
  enum tb_status status = tb_eval(ctx, ids, n, progress ? cli_progress_show : NULL, progress, err);
  return check_step(model, ctx, status, info.n_past, err);
}

static int generate(const struct run_args *a, const struct tb_model *model, struct tb_context *ctx,
                    struct tb_sampler *sampler, const tb_token *ids, size_t n_ids) {
  struct tb_error err;
  struct cli_progress progress = {0};
  struct timing timing = {.n_prompt = n_ids};
  double start = now();
  for (size_t i = 0; i < n_ids; i++)
    tb_sampler_accept(sampler, ids[i]);
  if (eval(model, ctx, ids, n_ids, &progress, &err) != TB_OK) return cli_interrupt_code(cli_report("run", &err));
  timing.prompt = now() - start;
  struct cli_stream stream = {.stops = &a->stops};
  struct cli_autosave autosave = {0};
  int code = CLI_OK;
  start = now();
  cli_autosave_begin(&autosave, 0);
  for (int32_t i = 0; (a->n_predict < 0 || i < a->n_predict) && !stream.stopped && !cli_interrupted(); i++) {
    tb_token token = tb_sampler_pick(sampler, tb_logits(ctx));
    timing.n_generated++;
    if (tb_token_ends(model, token) && !a->ignore_eos) break;
    char piece[1024];
    size_t n = tb_token_text(model, token, false, piece, sizeof piece);
    cli_stream_put(&stream, piece, n < sizeof piece ? n : sizeof piece);
    if (a->n_predict >= 0 && i + 1 == a->n_predict && !a->session) break; /* a session holds its last token too */
    if (ferror(stdout)) {
      code = CLI_FAILED;
      break;
    }
    cli_cool_down();
    enum tb_status status = eval(model, ctx, &token, 1, NULL, &err);
    if (!status && a->session && cli_autosave_due(&autosave, timing.n_generated)) {
      cli_autosave_begin(&autosave, timing.n_generated);
      save(a, ctx);
      cli_autosave_end(&autosave);
    }
    if (status == TB_E_CONTEXT) {
      struct tb_context_info info;
      tb_context_get_info(ctx, &info);
      cli_stream_end(&stream);
      fprintf(stderr, "\nthimble run: the context of %u tokens is full; a larger one is given with -c N\n", info.n_ctx);
      break;
    }
    if (status) {
      cli_stream_end(&stream);
      fputc('\n', stderr);
      code = cli_report("run", &err);
      break;
    }
  }
  timing.generate = now() - start;
  cli_stream_end(&stream);
  if (!save(a, ctx) && code == CLI_OK) code = CLI_FAILED;
  if (code != CLI_OK) return code;
  if (!a->quiet)
    print_timing(&timing);
  else if (isatty(STDOUT_FILENO))
    putchar('\n');
  return cli_interrupt_code(code);
}

/* --------------------------------------------------------------------------------------------------------- verb */

static int run_model(const struct run_args *a, struct tb_model *model, const struct tb_context_options *options,
                     const struct tb_plan *plan) {
  struct tb_context *ctx = NULL;
  struct tb_sampler *sampler = NULL;
  struct tb_error err;
  struct tb_context_info info;
  size_t n_ids = 0;
  int code;
  tb_token *ids = NULL;
  if (!a->session && !(ids = prompt_tokens(a, model, true, &n_ids, &code))) return code;
  code = CLI_USAGE;
  if (n_ids == 0 && !a->session) {
    fprintf(stderr, "thimble run: the prompt is empty\n");
    goto end;
  }
  if (tb_context_create(&ctx, model, options, &err) != TB_OK ||
      tb_sampler_create(&sampler, model, &a->sampler, &err) != TB_OK) {
    code = cli_report("run", &err);
    goto end;
  }
  if (a->session) {
    code = CLI_FAILED;
    if (!restore(a, ctx)) goto end;
    tb_context_get_info(ctx, &info);
    if (!(ids = prompt_tokens(a, model, info.n_past == 0, &n_ids, &code))) goto end;
    if (n_ids == 0) {
      fprintf(stderr, "thimble run: the prompt is empty\n");
      code = CLI_USAGE;
      goto end;
    }
  }
  struct tb_model_info minfo;
  tb_context_get_info(ctx, &info);
  tb_model_get_info(model, &minfo);
  struct tb_plan_info planned = {0};
  if (plan) tb_plan_get_info(plan, &planned);
  const bool reduced = planned.limited_by && planned.n_ctx < planned.n_ctx_train && a->n_ctx == 0;
  if (!a->quiet)
    fprintf(stderr, "[%s, %s, %u threads, context %u%s%s, KV cache %.1f MiB]\n",
            *minfo.name ? minfo.name : minfo.architecture, minfo.isa, info.n_threads, info.n_ctx,
            reduced ? " limited by " : "", reduced ? planned.limited_by : "",
            (double)info.cache_bytes / 0x1p20);
  code = a->logits ? run_logits(a, ctx, ids, n_ids, minfo.n_vocab) : generate(a, model, ctx, sampler, ids, n_ids);
  if (a->memory.stats) {
    cli_print_memory(plan);
    cli_print_recall(ctx);
  }
end:
  tb_sampler_free(sampler);
  tb_context_free(ctx);
  free(ids);
  return code;
}

/* Planned first, on an empty heap, then loaded. */
static int plan_and_run(struct run_args *a) {
  struct tb_context_options options = {.n_ctx = a->n_ctx, .n_batch = a->n_batch, .n_threads = a->threads};
  if (!cli_cache_open("run", &a->cache, a->model, &options)) return CLI_USAGE;
  struct tb_plan *plan = NULL;
  struct tb_model *model = NULL;
  int code = cli_plan_context("run", a->model, &a->memory, &a->sampler, &options, &plan);
  if (code == CLI_OK)
    code = (model = cli_open_model("run", a->model)) && cli_guard_model(model) ? run_model(a, model, &options, plan)
                                                                               : CLI_FAILED;
  cli_unguard_model();
  tb_model_free(model);
  tb_plan_free(plan);
  cli_cache_close(&a->cache);
  return code;
}

int cmd_run(int argc, char **argv) {
  struct run_args a = {.n_predict = -1, .sampler = tb_sampler_defaults()};
  static const char no_gpu[] = "thimble computes on the CPU";
  const struct cli_option options[] = {
      {"-m", "--model", CLI_STRING, &a.model, 0, 0, "FILE", "GGUF file (default: the bundled model)"},
      {"-p", "--prompt", CLI_STRING, &a.prompt, 0, 0, "TEXT",
       "what to ask, or the text to continue (\\n and \\t are understood)"},
      {"-f", "--file", CLI_STRING, &a.file, 0, 0, "FILE", "read the text from a file (default: standard input)"},
      {NULL, "--tokens", CLI_STRING, &a.tokens, 0, 0, "FILE", "token ids instead of text"},
      {"-n", "--predict", CLI_I32, &a.n_predict, -1, INT32_MAX, "N", "tokens to generate (-1: until the model ends)"},
      {"-c", "--ctx-size", CLI_U32, &a.n_ctx, 0, 1u << 30, "N", "context in tokens (0: the model's, as memory allows)"},
      {"-b", "--batch-size", CLI_U32, &a.n_batch, 1, 4096, "N", "prompt tokens computed together (512; small models 256)"},
      {"-t", "--threads", CLI_U32, &a.threads, 1, TB_MAX_THREADS, "N", "threads (default: the performance cores)"},
      CLI_CPU_OPTIONS(a.cpus),
      {"-s", "--seed", CLI_STRING, &a.seed, 0, 0, "N", "seed of the sampler (default: from the clock)"},
      CLI_SAMPLER_OPTIONS(a.sampler),
      {"-r", "--stop", CLI_LIST, &a.stops, 0, 0, "TEXT", "stop when this text comes (several may be given)"},
      CLI_CACHE_TYPE_OPTIONS(a.cache),
      CLI_CACHE_OPTIONS(a.cache),
      CLI_MEMORY_OPTIONS(a.memory),
      {NULL, "--stats", CLI_FLAG, &a.memory.stats, 0, 0, NULL, "print the memory that was planned and that was taken"},
      {NULL, "--session", CLI_STRING, &a.session, 0, 0, "FILE",
       "ask in the conversation of this file (with --raw: continue its text) and keep it there"},
      {NULL, "--ignore-eos", CLI_FLAG, &a.ignore_eos, 0, 0, NULL, "go on after the end of the answer"},
      {NULL, "--no-escape", CLI_FLAG, &a.no_escape, 0, 0, NULL, "take backslashes in -p as they are"},
      {"-sys", "--system-prompt", CLI_STRING, &a.system, 0, 0, "TEXT",
       "system message, for models with a chat template"},
      {"-no-cnv", "--raw", CLI_FLAG, &a.raw, 0, 0, NULL, "continue the text as it stands, without the chat template"},
      {NULL, "--logits", CLI_STRING, &a.logits, 0, 0, "FILE",
       "write raw float32 logits of the last position, generate nothing"},
      {NULL, "--all-logits", CLI_FLAG, &a.all_logits, 0, 0, NULL, "with --logits: of every position"},
      {"-q", "--quiet", CLI_FLAG, &a.quiet, 0, 0, NULL, "only the text"},
      {"-ngl", "--n-gpu-layers", CLI_IGNORED, (void *)(uintptr_t)no_gpu, 0, 0, "N", "accepted for scripts and ignored"},
      {"-h", "--help", CLI_FLAG, &a.help, 0, 0, NULL, "this text"},
      {0},
  };
  size_t n_rest;
  if (!cli_parse("run", options, argc, argv, NULL, 0, &n_rest)) return CLI_USAGE;
  if (a.help) {
    puts("usage: thimble run [-m FILE] -p TEXT | -f FILE | < TEXT");
    cli_print_options(options);
    return CLI_OK;
  }
  a.sampler.seed = (uint64_t)time(NULL);
  if (a.seed) {
    char *end;
    a.sampler.seed = strtoull(a.seed, &end, 10);
    if (end == a.seed || *end) {
      fprintf(stderr, "thimble run: -s: '%s' is not a whole number\n", a.seed);
      return CLI_USAGE;
    }
  }
  if (a.session && (a.tokens || a.logits || (a.ignore_eos && !a.raw))) {
    fprintf(stderr, "thimble run: --session: goes with neither --tokens nor --logits, and with --ignore-eos only under --raw\n");
    return CLI_USAGE;
  }
  if (!cli_cache_saved("run", &a.cache, a.session)) return CLI_USAGE;
  if (!cli_use_cpus("run", &a.cpus, a.threads > 0)) return CLI_USAGE;
  cli_catch_signals();
  return a.session && !a.raw ? ask_in_session(&a) : plan_and_run(&a);
}
