/* thimble eval: quality of cache configurations against the uncompressed cache. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/eval.h"

struct eval_args {
  const char *model, *text, *recall, *format;
  struct cli_list caches;
  uint32_t n_ctx, n_batch, threads, chunks;
  struct cli_cache cache;
  bool help;
};

/* "skvqx2/skvqx1.5", or one type for both sides. */
static bool parse_cache(const char *text, struct eval_config *c) {
  size_t n = strcspn(text, "/");
  const char *v = text[n] ? text + n + 1 : text;
  if (n >= sizeof c->type_k || strlen(v) >= sizeof c->type_v) {
    fprintf(stderr, "thimble eval: --cache: '%.60s' is not TYPE or KTYPE/VTYPE\n", text);
    return false;
  }
  memcpy(c->type_k, text, n);
  memcpy(c->type_v, v, strlen(v));
  snprintf(c->name, sizeof c->name, "%s/%s", c->type_k, c->type_v);
  return true;
}

static bool make_contexts(struct eval *e, const struct tb_context_options *base) {
  for (size_t i = 0; i < e->n_configs; i++) {
    struct eval_config *c = &e->configs[i];
    struct tb_context_options o = *base;
    struct tb_error err;
    struct tb_context_info info;
    o.type_k = c->type_k;
    o.type_v = c->type_v;
    if (i == 0) o.kv_recall = 0; /* what the others are compared with */
    if (tb_context_create(&c->ctx, e->model, &o, &err) != TB_OK) {
      cli_report("eval", &err);
      return false;
    }
    tb_context_get_info(c->ctx, &info);
    c->cache_bytes = info.cache_bytes;
  }
  return true;
}

/* ----------------------------------------------------------------------------------------------------- printing */

static int ascending(const void *a, const void *b) {
  const double *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

struct row {
  double perplexity, kld, kld_median, kld_99, kld_max, same_top, encoded, recall, bits;
};

static struct row row_of(const struct eval *e, struct eval_config *c) {
  struct row r = {0};
  const size_t n = c->predictions;
  if (n) {
    for (size_t i = 0; i < n; i++)
      r.kld += c->kld[i] / (double)n;
    qsort(c->kld, n, sizeof *c->kld, ascending);
    r.kld_median = c->kld[n / 2];
    r.kld_99 = c->kld[(size_t)((double)n * 0.99)];
    r.kld_max = c->kld[n - 1];
    r.perplexity = exp(c->nll / (double)n);
    r.same_top = (double)c->same_top / (double)n;
    r.encoded = c->encoded / c->attended;
  }
  if (c->questions) r.recall = (double)c->right / (double)c->questions;
  /* Elements of the uncompressed cache: f32 is the first configuration. */
  r.bits = 32.0 * (double)c->cache_bytes / (double)e->configs[0].cache_bytes;
  return r;
}

/* 95 % interval of a proportion (Wilson, 1927). */
static void wilson(size_t right, size_t n, double *lo, double *hi) {
  const double z = 1.96, p = (double)right / (double)n, z2n = z * z / (double)n;
  double mid = (p + z2n / 2) / (1 + z2n), half = z * sqrt(p * (1 - p) / (double)n + z2n / 4 / (double)n) / (1 + z2n);
  *lo = mid - half;
  *hi = mid + half;
}

static void print_md(struct eval *e) {
  puts("| cache K/V | bits per element | perplexity | KLD mean | median | 99 % | max | same top-1 | encoded | recall "
       "(95 %) | lost / won | s |\n"
       "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- | ---: |");
  for (size_t i = 0; i < e->n_configs; i++) {
    struct eval_config *c = &e->configs[i];
    struct row r = row_of(e, c);
    printf("| %s | %.3f | ", c->name, r.bits);
    if (c->predictions)
      printf("%.4f | %.3e | %.1e | %.1e | %.1e | %.2f %% | %.0f %% | ", r.perplexity, r.kld, r.kld_median, r.kld_99,
             r.kld_max, 100 * r.same_top, 100 * r.encoded);
    else
      printf("| | | | | | | ");
    if (c->questions) {
      double lo, hi;
      wilson(c->right, c->questions, &lo, &hi);
      printf("%.2f %% of %zu (%.1f-%.1f) | %zu / %zu | ", 100 * r.recall, c->questions, 100 * lo, 100 * hi,
             c->only_first, c->only_this);
    } else {
      printf("| | ");
    }
    printf("%.1f |\n", c->seconds);
  }
}

static void print_csv(struct eval *e) {
  puts("model,cache,bits_per_element,n_ctx,predictions,perplexity,kld_mean,kld_median,kld_99,kld_max,same_top1,encoded,"
       "questions,right,lost,won");
  for (size_t i = 0; i < e->n_configs; i++) {
    struct eval_config *c = &e->configs[i];
    struct row r = row_of(e, c);
    printf("%s,%s,%.4f,%u,%zu,%.6f,%.6e,%.6e,%.6e,%.6e,%.6f,%.4f,%zu,%zu,%zu,%zu\n",
           *e->info.name ? e->info.name : e->info.architecture, c->name, r.bits, e->n_ctx, c->predictions, r.perplexity,
           r.kld, r.kld_median, r.kld_99, r.kld_max, r.same_top, r.encoded, c->questions, c->right, c->only_first,
           c->only_this);
  }
}

/* A run in which the window held most of what was attended measures the window, not the cache. */
static bool check_encoded(struct eval *e) {
  bool ok = true;
  for (size_t i = 1; i < e->n_configs; i++) {
    const struct eval_config *c = &e->configs[i];
    if (c->predictions == 0 || c->encoded >= 0.8 * c->attended) continue;
    fprintf(stderr,
            "thimble eval: %s: only %.0f %% of the attended tokens were encoded, 80 %% are needed: use a longer -c or "
            "a smaller --kv-window\n",
            c->name, 100 * c->encoded / c->attended);
    ok = false;
  }
  return ok;
}

/* --------------------------------------------------------------------------------------------------------- verb */

static int run(struct eval *e, const struct eval_args *a) {
  struct cli_cache cache = a->cache;
  struct tb_context_options base = {.n_ctx = e->n_ctx, .n_batch = e->n_batch, .n_threads = a->threads};
  bool made = cli_cache_open("eval", &cache, a->model, &base) && make_contexts(e, &base);
  cli_cache_close(&cache);
  if (!made) return CLI_FAILED;
  if (a->text && !eval_text(e, a->text)) return CLI_FAILED;
  if (a->recall && !e->stopped && !eval_recall(e, a->recall)) return CLI_FAILED;
  if (e->stopped) fputs("\r\033[Kstopped: what was measured so far\n", stderr);
  if (strcmp(a->format, "csv") == 0)
    print_csv(e);
  else
    print_md(e);
  return check_encoded(e) ? CLI_OK : CLI_FAILED;
}

int cmd_eval(int argc, char **argv) {
  struct eval_args a = {.format = "md", .n_batch = 512};
  const struct cli_option options[] = {
      {"-m", "--model", CLI_STRING, &a.model, 0, 0, "FILE", "GGUF file (default: the bundled model)"},
      {"-f", "--file", CLI_STRING, &a.text, 0, 0, "FILE", "text: perplexity, and divergence from the f32 cache"},
      {NULL, "--recall", CLI_STRING, &a.recall, 0, 0, "FILE", "questions (jsonl): share of answers that are right"},
      {NULL, "--cache", CLI_LIST, &a.caches, 0, 0, "K/V", "cache types to compare (several may be given)"},
      {"-c", "--ctx-size", CLI_U32, &a.n_ctx, 16, 1u << 24, "N", "tokens per chunk (512; with --recall the model's)"},
      {"-b", "--batch-size", CLI_U32, &a.n_batch, 1, 4096, "N",
       "tokens computed together: 1 is how users decode (512)"},
      {NULL, "--chunks", CLI_U32, &a.chunks, 0, 1u << 24, "N", "chunks of the text (0: all)"},
      CLI_CACHE_OPTIONS(a.cache),
      {"-t", "--threads", CLI_U32, &a.threads, 1, TB_MAX_THREADS, "N", "threads (default: the performance cores)"},
      {"-o", "--output", CLI_STRING, &a.format, 0, 0, "FORMAT", "md or csv"},
      {"-h", "--help", CLI_FLAG, &a.help, 0, 0, NULL, "this text"},
      {0},
  };
  size_t n_rest;
  if (!cli_parse("eval", options, argc, argv, NULL, 0, &n_rest)) return CLI_USAGE;
  if (a.help) {
    puts("usage: thimble eval [-m FILE] -f TEXT | --recall JSONL [--cache K/V ...]; everything is compared with the "
         "f32 cache");
    cli_print_options(options);
    return CLI_OK;
  }
  if ((!a.text && !a.recall) || (strcmp(a.format, "md") != 0 && strcmp(a.format, "csv") != 0)) {
    fprintf(stderr,
            a.text || a.recall ? "thimble eval: -o: '%s' is not md or csv\n"
                               : "thimble eval: give -f TEXT or --recall JSONL%.0s\n",
            a.format);
    return CLI_USAGE;
  }
  static struct eval_config configs[EVAL_CONFIGS];
  struct eval e = {.n_batch = a.n_batch, .decode = a.cache.recall > 0, .chunks = a.chunks, .configs = configs, .n_configs = 1};
  bool ok = parse_cache("f32/f32", &configs[0]);
  if (a.caches.n == 0) a.caches.items[a.caches.n++] = "f16";
  for (size_t i = 0; ok && i < a.caches.n; i++)
    ok = parse_cache(a.caches.items[i], &configs[e.n_configs++]);
  if (!ok) return CLI_USAGE;
  cli_catch_signals();
  if (!(e.model = cli_open_model("eval", a.model))) return CLI_FAILED;
  tb_model_get_info(e.model, &e.info);
  e.n_ctx = a.n_ctx ? a.n_ctx : a.recall ? e.info.n_ctx_train : 512;
  int code = run(&e, &a);
  for (size_t i = 0; i < e.n_configs; i++) {
    tb_context_free(configs[i].ctx);
    free(configs[i].kld);
  }
  tb_model_free(e.model);
  return code;
}
