/* thimble bench: tokens per second of prompt processing (pp) and generation (tg), in llama-bench's terms. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "cli/cli.h"

enum { MAX_VALUES = 64, MAX_REPEATS = 1000 };

struct values {
  uint32_t v[MAX_VALUES];
  size_t n;
};

struct bench_args {
  const char *model, *format;
  struct cli_cache cache;
  struct tb_context_options context; /* with the cache's fields */
  uint32_t n_batch, repeats;
  struct values prompt, generate, depth, threads;
  bool real_fill, help;
  struct cli_cpus cpus;
};

/* One line of results. */
struct result {
  const char *type_k, *type_v;
  uint32_t threads, n_prompt, n_generate, depth;
  double mean, deviation; /* tokens/s */
  double bandwidth;       /* bytes/s measured beside the run */
  uint64_t cache_bytes, bytes_per_token;
  struct tb_model_info model;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------------------------------------------- values */

static bool add_value(struct values *out, uint64_t v, uint64_t max) {
  if (out->n == MAX_VALUES || v > max) return false;
  out->v[out->n++] = (uint32_t)v;
  return true;
}

/* "512", "0,4096", "128-512+128" (steps), "128-1024*2" (factors). */
static bool parse_values(const char *option, const char *text, uint32_t max, struct values *out) {
  out->n = 0;
  const char *p = text;
  bool ok = *p != '\0';
  while (ok && *p) {
    char *end;
    uint64_t first = strtoull(p, &end, 10), last = first, step = 1, factor = 1;
    ok = end != p;
    if (ok && *end == '-') {
      p = end + 1;
      last = strtoull(p, &end, 10);
      ok = end != p && last >= first;
      if (ok && (*end == '+' || *end == '*')) {
        bool times = *end == '*';
        p = end + 1;
        uint64_t by = strtoull(p, &end, 10);
        ok = end != p && by >= 1 && (!times || (by >= 2 && first >= 1));
        if (times)
          factor = by, step = 0;
        else
          step = by;
      }
    }
    for (uint64_t v = first; ok && v <= last; v = v * factor + step)
      ok = add_value(out, v, max);
    ok = ok && (*end == '\0' || (*end == ',' && end[1]));
    p = *end == ',' ? end + 1 : end;
  }
  if (!ok)
    fprintf(stderr, "thimble bench: %s: '%s' is not a list like 512,1024 or 128-512+128 with numbers up to %u\n",
            option, text, max);
  return ok;
}

/* ------------------------------------------------------------------------------------------------------ running */

static enum tb_status one_run(struct tb_context *ctx, const struct result *r, uint32_t n_vocab, const tb_token *tokens,
                              struct tb_error *err) {
  enum tb_status s = TB_OK;
  if (r->n_prompt) s = tb_eval(ctx, tokens, r->n_prompt, NULL, NULL, err);
  for (uint32_t i = 0; !s && i < r->n_generate && !cli_interrupted(); i++) {
    tb_token token = (tb_token)((i * 7919u + 13u) % n_vocab);
    s = tb_eval(ctx, &token, 1, NULL, NULL, err);
  }
  return s;
}

static enum tb_status fill(const struct bench_args *a, struct tb_context *ctx, uint32_t depth, const tb_token *tokens,
                           struct tb_error *err) {
  if (depth == 0) return TB_OK;
  return a->real_fill ? tb_eval(ctx, tokens, depth, NULL, NULL, err) : tb_fill_synthetic(ctx, depth, 1, err);
}

static bool run_test(const struct bench_args *a, struct tb_model *model, struct result *r) {
  struct tb_error err;
  struct tb_context *ctx = NULL;
  struct tb_context_info info;
  const uint32_t most = r->n_prompt + r->depth > 1 ? r->n_prompt + r->depth : 1;
  tb_token *tokens = malloc(most * sizeof *tokens);
  double sum = 0, squares = 0;
  struct tb_context_options options = a->context;
  options.n_ctx = r->depth + r->n_prompt + r->n_generate;
  options.n_batch = a->n_batch;
  options.n_threads = r->threads;
  enum tb_status s = tokens ? tb_context_create(&ctx, model, &options, &err) : TB_E_NOMEM;
  for (uint32_t i = 0; tokens && i < most; i++)
    tokens[i] = (tb_token)((i * 104729u + 17u) % r->model.n_vocab);
  if (!s) s = fill(a, ctx, r->depth, tokens, &err);
  if (!s) {
    tb_context_get_info(ctx, &info);
    r->threads = info.n_threads;
    r->cache_bytes = info.cache_bytes;
    s = tb_read_bandwidth(r->threads, 256u << 20, &r->bandwidth, &err);
  }
  for (uint32_t i = 0; !s && i <= a->repeats && !cli_interrupted(); i++) { /* the first one warms up */
    s = tb_truncate(ctx, r->depth, &err);
    cli_cool_down();
    double start = now();
    if (!s) s = one_run(ctx, r, r->model.n_vocab, tokens, &err);
    double rate = (r->n_prompt + r->n_generate) / (now() - start);
    if (i == 0) continue;
    sum += rate;
    squares += rate * rate;
  }
  r->mean = sum / a->repeats;
  r->deviation = a->repeats > 1 ? sqrt(fmax(0, squares - sum * r->mean) / (a->repeats - 1)) : 0;
  if (s) cli_report("bench", &err);
  tb_context_free(ctx);
  free(tokens);
  return s == TB_OK && !cli_interrupted();
}

/* ----------------------------------------------------------------------------------------------------- printing */

static void test_name(const struct result *r, char name[64]) {
  char depth[24] = "";
  if (r->depth) snprintf(depth, sizeof depth, " @ d%u", r->depth);
  if (r->n_prompt && r->n_generate)
    snprintf(name, 64, "pp%u+tg%u%s", r->n_prompt, r->n_generate, depth);
  else
    snprintf(name, 64, "%s%u%s", r->n_prompt ? "pp" : "tg", r->n_prompt ? r->n_prompt : r->n_generate, depth);
}

/* Share of the measured bandwidth that the weights alone use while generating. */
static double bandwidth_share(const struct result *r) {
  return r->n_prompt ? 0 : r->mean * (double)r->bytes_per_token / r->bandwidth;
}

static void print_md(const struct result *r, bool first) {
  char name[64];
  test_name(r, name);
  if (first)
    printf("| model | size | params | isa | threads | type_k | type_v | test | t/s | read GB/s | weights/bandwidth |\n"
           "| --- | ---: | ---: | --- | ---: | --- | --- | --- | ---: | ---: | ---: |\n");
  printf("| %s %s | %.2f GiB | %.2f B | %s | %u | %s | %s | %s | %.2f ± %.2f | %.1f | ", r->model.architecture,
         r->model.name, (double)r->model.file_bytes / 0x1p30, (double)r->model.n_params / 1e9, r->model.isa, r->threads,
         r->type_k, r->type_v, name, r->mean, r->deviation, r->bandwidth / 1e9);
  if (r->n_prompt)
    puts("|");
  else
    printf("%.2f |\n", bandwidth_share(r));
}

static void print_jsonl(const struct result *r, bool first) {
  (void)first;
  printf("{\"model_type\":\"%s\",\"model_size\":%llu,\"model_n_params\":%llu,\"isa\":\"%s\",\"n_threads\":%u,\"type_"
         "k\":\"%s\","
         "\"type_v\":\"%s\",\"n_prompt\":%u,\"n_gen\":%u,\"n_depth\":%u,\"avg_ts\":%.6f,\"stddev_ts\":%.6f,"
         "\"read_bandwidth\":%.0f,\"weight_bytes_per_token\":%llu,\"kv_bytes\":%llu}\n",
         r->model.architecture, (unsigned long long)r->model.file_bytes, (unsigned long long)r->model.n_params,
         r->model.isa, r->threads, r->type_k, r->type_v, r->n_prompt, r->n_generate, r->depth, r->mean, r->deviation,
         r->bandwidth, (unsigned long long)r->bytes_per_token, (unsigned long long)r->cache_bytes);
}

/* --------------------------------------------------------------------------------------------------------- verb */

static int run_all(const struct bench_args *a, struct tb_model *model) {
  const char *unsaid = a->cache.plan ? "plan" : "f16";
  struct result r = {.type_k = a->cache.type_k ? a->cache.type_k : unsaid,
                     .type_v = a->cache.type_v ? a->cache.type_v : unsaid};
  tb_model_get_info(model, &r.model);
  r.bytes_per_token = r.model.bytes_per_token;
  bool first = true;
  for (size_t t = 0; t < a->threads.n; t++)
    for (size_t d = 0; d < a->depth.n; d++)
      for (size_t i = 0; i < a->prompt.n + a->generate.n; i++) {
        const bool prompt = i < a->prompt.n;
        struct result one = r;
        one.threads = a->threads.v[t];
        one.depth = a->depth.v[d];
        one.n_prompt = prompt ? a->prompt.v[i] : 0;
        one.n_generate = prompt ? 0 : a->generate.v[i - a->prompt.n];
        if (one.n_prompt + one.n_generate == 0) continue;
        if (!run_test(a, model, &one)) return CLI_FAILED;
        if (a->format[0] == 'm')
          print_md(&one, first);
        else
          print_jsonl(&one, first);
        fflush(stdout);
        first = false;
      }
  return CLI_OK;
}

int cmd_bench(int argc, char **argv) {
  struct bench_args a = {.format = "md", .repeats = 5};
  const char *prompt = "512", *generate = "128", *depth = "0", *threads = "0";
  static const char no_gpu[] = "thimble computes on the CPU";
  const struct cli_option options[] = {
      {"-m", "--model", CLI_STRING, &a.model, 0, 0, "FILE", "GGUF file (default: the bundled model)"},
      {"-p", "--n-prompt", CLI_STRING, &prompt, 0, 0, "LIST", "prompt sizes (512; 0: none)"},
      {"-n", "--n-gen", CLI_STRING, &generate, 0, 0, "LIST", "generated tokens (128; 0: none)"},
      {"-d", "--n-depth", CLI_STRING, &depth, 0, 0, "LIST", "tokens in the cache before the test (0)"},
      {"-t", "--threads", CLI_STRING, &threads, 0, 0, "LIST", "threads (0: the performance cores)"},
      CLI_CPU_OPTIONS(a.cpus),
      {"-b", "--batch-size", CLI_U32, &a.n_batch, 1, 4096, "N", "prompt tokens computed together (512)"},
      CLI_CACHE_TYPE_OPTIONS(a.cache),
      CLI_CACHE_OPTIONS(a.cache),
      {"-r", "--repetitions", CLI_U32, &a.repeats, 1, MAX_REPEATS, "N", "runs per test (5)"},
      {NULL, "--real-fill", CLI_FLAG, &a.real_fill, 0, 0, NULL,
       "reach the depth by computing, not by filling the cache"},
      {"-o", "--output", CLI_STRING, &a.format, 0, 0, "FORMAT", "md or jsonl"},
      {"-ngl", "--n-gpu-layers", CLI_IGNORED, (void *)(uintptr_t)no_gpu, 0, 0, "N", "accepted for scripts and ignored"},
      {"-h", "--help", CLI_FLAG, &a.help, 0, 0, NULL, "this text"},
      {0},
  };
  size_t n_rest;
  if (!cli_parse("bench", options, argc, argv, NULL, 0, &n_rest)) return CLI_USAGE;
  if (a.help) {
    puts("usage: thimble bench [-m FILE] [-p LIST] [-n LIST] [-d LIST]; lists: 512,1024 or 128-512+128 or 128-1024*2");
    cli_print_options(options);
    return CLI_OK;
  }
  if (strcmp(a.format, "md") != 0 && strcmp(a.format, "jsonl") != 0) {
    fprintf(stderr, "thimble bench: -o: '%s' is not md or jsonl\n", a.format);
    return CLI_USAGE;
  }
  if (!parse_values("-p", prompt, 1u << 24, &a.prompt) || !parse_values("-n", generate, 1u << 24, &a.generate) ||
      !parse_values("-d", depth, 1u << 28, &a.depth) || !parse_values("-t", threads, TB_MAX_THREADS, &a.threads))
    return CLI_USAGE;
  if (!cli_use_cpus("bench", &a.cpus, a.threads.v[0] > 0)) return CLI_USAGE;
  cli_catch_signals();
  if (!cli_cache_open("bench", &a.cache, a.model, &a.context)) return CLI_USAGE;
  struct tb_model *model = cli_open_model("bench", a.model);
  int code = model ? run_all(&a, model) : CLI_FAILED;
  tb_model_free(model);
  cli_cache_close(&a.cache);
  return code;
}
