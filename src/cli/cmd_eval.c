/* thimble eval: quality of cache configurations against the uncompressed cache. */
#include <stdlib.h>
#include <string.h>
#include "cli/eval.h"
#include "cli/plot.h"

struct eval_args {
  const char *model, *text, *recall, *format, *protocol, *plot;
  struct cli_list caches, plans;
  uint32_t n_ctx, n_batch, chunks, greedy, threads;
  struct cli_cache cache;
  struct cli_memory memory;
  bool help;
};

static bool one_of(const char *option, const char *value, const char *const *names, size_t n, size_t *which) {
  for (*which = 0; *which < n; ++*which)
    if (strcmp(value, names[*which]) == 0) return true;
  fprintf(stderr, "thimble eval: %s: '%s' is not", option, value);
  for (size_t i = 0; i < n; i++)
    fprintf(stderr, "%s %s", i == 0 ? "" : i + 1 < n ? "," : " or", names[i]);
  fputc('\n', stderr);
  return false;
}

static bool check_args(const struct eval_args *a, enum eval_protocol *protocol) {
  static const char *const formats[] = {"md", "csv", "json", "jsonl", "sql"}, *const protocols[] = {"perplexity", "A",
                                                                                                    "B", "D"};
  size_t which;
  if (!one_of("-o", a->format, formats, 5, &which) || !one_of("--protocol", a->protocol, protocols, 4, &which))
    return false;
  *protocol = (enum eval_protocol)which;
  if (!a->text && !a->recall) fputs("thimble eval: give -f TEXT or --recall JSONL\n", stderr);
  if (a->greedy && !a->text) {
    fputs("thimble eval: --greedy: prompts are taken from a text: give -f TEXT\n", stderr);
    return false;
  }
  return (a->text || a->recall) && (!a->plot || cli_plot_possible("eval", a->plot));
}

static bool add_configs(struct eval *e, const struct eval_args *a) {
  bool ok = eval_add_cache(e, "f32");
  for (size_t i = 0; ok && i < a->caches.n; i++)
    ok = eval_add_cache(e, a->caches.items[i]);
  for (size_t i = 0; ok && i < a->plans.n; i++)
    ok = eval_add_plan(e, a->plans.items[i]);
  struct cli_cache cache = a->cache;
  struct tb_context_options base = {.n_ctx = e->n_ctx, .n_batch = e->n_batch, .n_threads = a->threads};
  ok = ok && cli_cache_open("eval", &cache, a->model, &base);
  const bool asked = a->memory.ram || a->memory.prefer;
  if (ok && (asked || a->caches.n + a->plans.n == 0)) ok = eval_add_planned(e, &a->memory, &base);
  ok = ok && eval_open(e, &base);
  cli_cache_close(&cache);
  return ok;
}

static int run(struct eval *e, const struct eval_args *a) {
  if (!add_configs(e, a)) return CLI_USAGE;
  if (a->text && a->greedy ? !eval_greedy(e, a->text) : a->text && !eval_text(e, a->text)) return CLI_FAILED;
  if (a->recall && !e->stopped && !eval_recall(e, a->recall)) return CLI_FAILED;
  struct tb_error err;
  if (cli_check_model(e->model, &err) != TB_OK) return cli_report("eval", &err);
  if (e->stopped) fputs("stopped: what was measured so far\n", stderr);
  if (!eval_check_encoded(e)) return CLI_FAILED;
  eval_print(e, a->format);
  if (a->plot && !eval_plot(e, a->plot)) return CLI_FAILED;
  return e->stopped ? CLI_FAILED : CLI_OK;
}

static int open_and_run(const struct eval_args *a, enum eval_protocol protocol) {
  static struct eval_config configs[EVAL_CONFIGS];
  struct eval e = {.n_batch = a->n_batch,
                   .chunks = a->chunks,
                   .configs = configs,
                   .protocol = protocol,
                   .n_greedy = a->greedy,
                   .decode = a->cache.recall > 0,
                   .path = a->model};
  char bundled[4096];
  if (!e.path && cli_bundled_model(bundled, sizeof bundled)) e.path = bundled;
  cli_catch_signals();
  if (!(e.model = cli_open_model("eval", e.path))) return CLI_FAILED;
  tb_model_get_info(e.model, &e.info);
  e.n_ctx = a->n_ctx ? a->n_ctx : a->recall ? e.info.n_ctx_train : 512;
  if (e.n_batch > e.n_ctx) e.n_batch = e.n_ctx;
  int code = cli_guard_model(e.model) ? run(&e, a) : CLI_FAILED;
  eval_close(&e);
  cli_unguard_model();
  tb_model_free(e.model);
  return cli_interrupt_code(code);
}

int cmd_eval(int argc, char **argv) {
  struct eval_args a = {.format = "md", .protocol = "perplexity", .n_batch = 512};
  const struct cli_option options[] = {
      {"-m", "--model", CLI_STRING, &a.model, 0, 0, "FILE", "GGUF file (default: the bundled model)"},
      {"-f", "--file", CLI_STRING, &a.text, 0, 0, "FILE", "text: perplexity, and divergence from the f32 cache"},
      {NULL, "--protocol", CLI_STRING, &a.protocol, 0, 0, "NAME",
       "perplexity (llama-perplexity's), A (all encoded), B (half read, half decoded), D (streaming)"},
      {NULL, "--greedy", CLI_U32, &a.greedy, 0, 1u << 20, "N",
       "instead: how many of N greedy tokens stay the same, behind prompts from the text"},
      {NULL, "--recall", CLI_STRING, &a.recall, 0, 0, "FILE", "questions (jsonl): share of answers that are right"},
      {NULL, "--cache", CLI_LIST, &a.caches, 0, 0, "K/V",
       "cache types to compare, \"q8_0/q4_0\", options of plan files behind them (several may be given; none: planned)"},
      {NULL, "--kv-plan", CLI_LIST, &a.plans, 0, 0, "FILE", "plan files to compare (several may be given)"},
      {"-c", "--ctx-size", CLI_U32, &a.n_ctx, 16, 1u << 24, "N", "tokens per chunk (512; with --recall the model's)"},
      {"-b", "--batch-size", CLI_U32, &a.n_batch, 1, 4096, "N", "tokens read together (512)"},
      {NULL, "--chunks", CLI_U32, &a.chunks, 0, 1u << 24, "N", "chunks of the text, lines of questions (0: all)"},
      CLI_PLANNED_OPTIONS(a.memory),
      CLI_CACHE_OPTIONS(a.cache),
      {"-t", "--threads", CLI_U32, &a.threads, 1, TB_MAX_THREADS, "N", "threads (default: the performance cores)"},
      {NULL, "--plot", CLI_STRING, &a.plot, 0, 0, "FILE", "quality against bytes as .svg or .png, through gnuplot"},
      {"-o", "--output", CLI_STRING, &a.format, 0, 0, "FORMAT", "md, csv, json, jsonl or sql"},
      {"-h", "--help", CLI_FLAG, &a.help, 0, 0, NULL, "this text"},
      {0},
  };
  size_t n_rest;
  enum eval_protocol protocol;
  if (!cli_parse("eval", options, argc, argv, NULL, 0, &n_rest)) return CLI_USAGE;
  if (a.help) {
    puts("usage: thimble eval [-m FILE] -f TEXT | --recall JSONL [--cache K/V ...]; everything is compared with the "
         "f32 cache");
    cli_print_options(options);
    return CLI_OK;
  }
  return check_args(&a, &protocol) ? open_and_run(&a, protocol) : CLI_USAGE;
}
