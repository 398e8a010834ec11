/* thimble bench: tokens per second of prompt processing (pp) and generation (tg), in llama-bench's terms. */
#include <stdlib.h>
#include <string.h>
#include "cli/bench.h"
#include "cli/plot.h"

enum { MAX_NAMES = 16, MAX_BATCH = 4096 };

struct names {
  char at[MAX_NAMES][64];
  size_t n;
};

struct plan_text {
  const char *name;            /* of the file */
  char *text;                  /* owned */
  const char *type_k, *type_v; /* what it says, where that has shorter words; or NULL */
};

struct bench_args {
  struct cli_list models, shapes, pairs, plans, lists[6]; /* lists: texts of -p -n -d -b -ub -t */
  struct cli_list types_k, types_v, pairs_kv;             /* lists of types for each side; "K/V" */
  const char *format, *to_stderr, *sustain, *compare, *plot;
  uint32_t n_ctx;
  float delay;
  bool sweep, turns, auto_threads, progress, help;
  struct bench_options options;
  struct cli_cache cache; /* window, sinks, profile */
  struct cli_cpus cpus;
  struct cli_memory memory; /* given, or no cache is: one more, planned for each model */
  /* parsed */
  struct bench_values prompt, generate, depth, batch, ubatch, threads, pair_prompt, pair_generate;
  struct names type_k, type_v, pair_k, pair_v;
  struct plan_text plan[CLI_LIST_MAX + 1]; /* of files, then the planner's */
  size_t n_plans;
  double sustain_seconds;
};

/* Results in the order of the tests. */
struct run {
  const struct bench_args *args;
  struct bench_printer printers[2]; /* standard output; standard error when -oe asks for it */
  size_t n_printers;
  struct bench_result *results; /* `all` of them, at most BENCH_RESULTS */
  size_t n, all;                /* tests done, and to do */
  struct cli_eta eta;
};

/* ----------------------------------------------------------------------------------------------------------- parsing
 */

enum { USUAL_UBATCH = 512 };
enum { LIST_P, LIST_N, LIST_D, LIST_B, LIST_UB, LIST_T };

/* Texts of an option that may be given several times, or its default. */
static bool parse_lists(const char *option, const struct cli_list *texts, const char *normal, uint32_t min,
                        uint32_t max, struct bench_values *out) {
  bool ok = texts->n > 0 || bench_parse_values(option, normal, min, max, out);
  for (size_t i = 0; ok && i < texts->n; i++)
    ok = bench_parse_values(option, texts->items[i], min, max, out);
  return ok;
}

static bool parse_names(const char *option, const struct cli_list *texts, struct names *out) {
  static const struct cli_list f16 = {{"f16"}, 1}; /* beside what the other side is given */
  if (texts->n == 0) texts = &f16;
  for (size_t i = 0; i < texts->n; i++) {
    const char *p = texts->items[i];
    do {
      if (out->n == MAX_NAMES || !bench_next_name(&p, out->at[out->n], sizeof out->at[0])) {
        fprintf(stderr, "thimble bench: %s: '%s' is not a list of at most %d cache types\n", option, texts->items[i],
                MAX_NAMES);
        return false;
      }
      out->n++;
    } while (*p);
  }
  return true;
}

/* "q8_0/q4_0", or one type for both sides. */
static bool parse_caches(struct bench_args *a) {
  for (size_t i = 0; i < a->pairs_kv.n; i++) {
    const char *text = a->pairs_kv.items[i], *slash = strchr(text, '/'), *v = slash ? slash + 1 : text;
    const size_t n = slash ? (size_t)(slash - text) : strlen(text);
    if (n == 0 || n >= sizeof a->pair_k.at[0] || !*v || strlen(v) >= sizeof a->pair_v.at[0]) {
      fprintf(stderr, "thimble bench: --cache: '%.60s' is not TYPE or KTYPE/VTYPE\n", text);
      return false;
    }
    snprintf(a->pair_k.at[i], sizeof a->pair_k.at[0], "%.*s", (int)n, text);
    snprintf(a->pair_v.at[i], sizeof a->pair_v.at[0], "%s", v);
  }
  a->pair_k.n = a->pairs_kv.n;
  return true;
}

/* "512,128": a prompt and then tokens to generate. */
static bool parse_pairs(struct bench_args *a) {
  for (size_t i = 0; i < a->pairs.n; i++) {
    struct bench_values v = {0};
    if (!bench_parse_values("-pg", a->pairs.items[i], 0, 1u << 24, &v)) return false;
    if (v.n != 2) {
      fprintf(stderr, "thimble bench: -pg: '%s' is not PROMPT,GENERATE\n", a->pairs.items[i]);
      return false;
    }
    a->pair_prompt.v[i] = v.v[0];
    a->pair_generate.v[i] = v.v[1];
  }
  return true;
}

static bool parse_threads(struct bench_args *a) {
  a->auto_threads = a->lists[LIST_T].n == 1 && strcmp(a->lists[LIST_T].items[0], "auto") == 0;
  static const struct cli_list none;
  return parse_lists("-t", a->auto_threads ? &none : &a->lists[LIST_T], "0", 0, TB_MAX_THREADS, &a->threads);
}

/* Asked for, or nothing is said about the cache. */
static bool planned(const struct bench_args *a) {
  const bool caches = a->types_k.n || a->types_v.n || a->pairs_kv.n || a->plans.n;
  return a->memory.ram || a->memory.prefer || !caches;
}

static bool read_plans(struct bench_args *a) {
  for (size_t i = 0; i < a->plans.n; i++) {
    const char *slash = strrchr(a->plans.items[i], '/');
    size_t length;
    a->plan[i].name = slash ? slash + 1 : a->plans.items[i];
    if (!(a->plan[i].text = cli_read_file("bench", a->plans.items[i], &length))) return false;
  }
  a->n_plans = a->plans.n;
  if (planned(a)) a->plan[a->n_plans++].name = "planned";
  return true;
}

static bool parse(struct bench_args *a) {
  const uint32_t most = 1u << 24;
  if (!bench_known_format("-o", a->format) || (a->to_stderr && !bench_known_format("-oe", a->to_stderr)) ||
      !parse_lists("-p", &a->lists[LIST_P], "512", 0, most, &a->prompt) ||
      !parse_lists("-n", &a->lists[LIST_N], "128", 0, most, &a->generate) ||
      !parse_lists("-d", &a->lists[LIST_D], "0", 0, 1u << 28, &a->depth) ||
      !parse_lists("-b", &a->lists[LIST_B], "2048", 1, most, &a->batch) ||
      !parse_lists("-ub", &a->lists[LIST_UB], "512", 1, MAX_BATCH, &a->ubatch) || !parse_threads(a) ||
      !parse_pairs(a) || !parse_names("-ctk", &a->types_k, &a->type_k) ||
      !parse_names("-ctv", &a->types_v, &a->type_v) || !parse_caches(a))
    return false;
  if (a->sustain && (a->sustain_seconds = bench_parse_seconds(a->sustain)) == 0) {
    fprintf(stderr, "thimble bench: --sustain: '%s' is not a time like 10m or 90s\n", a->sustain);
    return false;
  }
  a->options.delay = (double)a->delay;
  return (!a->plot || cli_plot_possible("bench", a->plot)) && read_plans(a);
}

/* ------------------------------------------------------------------------------------------------------------- tests
 */

/* What it is without -ub. */
static void set_ubatch(struct bench_args *a, uint32_t n) {
  if (!a->lists[LIST_UB].n) a->ubatch.v[0] = n;
}

/* Whether the options say how many tokens are computed together. */
static bool batch_given(const struct bench_args *a) {
  return a->lists[LIST_B].n || a->lists[LIST_UB].n;
}

/* llama.cpp computes min(batch, ubatch) tokens together. */
static uint32_t batch_of(uint32_t batch, uint32_t ubatch) {
  return batch < ubatch ? batch : ubatch;
}

/* Number `i` of the caches: every pair of -ctk and -ctv, those of --cache, the plans; false behind the last. What is
 * not asked for when others are is left out. */
static bool cache_of(const struct bench_args *a, size_t i, struct bench_test *t) {
  const bool others = a->n_plans + a->pairs_kv.n > 0 && !a->types_k.n && !a->types_v.n;
  const size_t all = others ? 0 : a->type_k.n * a->type_v.n;
  t->plan = t->plan_name = NULL;
  t->type_k = t->type_v = "";
  if (i < all) {
    t->type_k = a->type_k.at[i / a->type_v.n];
    t->type_v = a->type_v.at[i % a->type_v.n];
    return true;
  }
  i -= all;
  if (i < a->pair_k.n) {
    t->type_k = a->pair_k.at[i];
    t->type_v = a->pair_v.at[i];
    return true;
  }
  i -= a->pair_k.n;
  if (i >= a->n_plans) return false;
  if (a->plan[i].type_k) {
    t->type_k = a->plan[i].type_k;
    t->type_v = a->plan[i].type_v;
    return true;
  }
  t->plan = a->plan[i].text;
  t->plan_name = a->plan[i].name;
  return true;
}

/* Number `i` of the sizes: prompts, generations, pairs; false behind the last. */
static bool size_of(const struct bench_args *a, size_t i, struct bench_test *t) {
  t->n_prompt = t->n_gen = 0;
  if (i < a->prompt.n) {
    t->n_prompt = a->prompt.v[i];
  } else if ((i -= a->prompt.n) < a->generate.n) {
    t->n_gen = a->generate.v[i];
  } else if ((i -= a->generate.n) < a->pairs.n) {
    t->n_prompt = a->pair_prompt.v[i];
    t->n_gen = a->pair_generate.v[i];
  } else {
    return false;
  }
  return true;
}

static size_t count_caches(const struct bench_args *a) {
  struct bench_test probe;
  size_t n = 0;
  while (cache_of(a, n, &probe))
    n++;
  return n;
}

static size_t count_sizes(const struct bench_args *a) {
  struct bench_test probe;
  size_t n = 0;
  while (size_of(a, n, &probe))
    n++;
  return n;
}

/* The lowest digit of *i in a number system of base n; the others stay. */
static size_t digit(size_t *i, size_t n) {
  const size_t d = *i % n;
  *i /= n;
  return d;
}

/* Test number `i` of a model in llama-bench's order, sizes fastest, with --turns caches; false behind the last. Sizes
 * of 0 tokens are left out by the caller. */
static bool test_of(const struct bench_args *a, size_t i, struct bench_test *t) {
  if (a->turns) cache_of(a, digit(&i, count_caches(a)), t);
  size_of(a, digit(&i, count_sizes(a)), t);
  t->n_depth = a->depth.v[digit(&i, a->depth.n)];
  t->n_threads = a->threads.v[digit(&i, a->threads.n)];
  if (!a->turns) cache_of(a, digit(&i, count_caches(a)), t);
  const uint32_t ubatch = a->ubatch.v[digit(&i, a->ubatch.n)];
  if (i >= a->batch.n) return false;
  t->n_batch = batch_of(a->batch.v[i], ubatch);
  return true;
}

static size_t count_tests(const struct bench_args *a) {
  size_t n = 0;
  struct bench_test t;
  for (size_t i = 0; test_of(a, i, &t); i++)
    n += t.n_prompt + t.n_gen > 0;
  return n;
}

/* ------------------------------------------------------------------------------------------------------------ models
 */

static void close_model(struct bench_model *m, char *shape_text) {
  cli_unguard_model();
  tb_model_free(m->model);
  free(shape_text);
}

/* "llama-3.2-1b:q4_0": weights at random, in memory. */
static bool name_shape(struct bench_model *m, const char *spec, char **text, char type[32]) {
  char name[1024];
  const char *colon = strrchr(spec, ':');
  const size_t n = colon ? (size_t)(colon - spec) : strlen(spec);
  snprintf(type, 32, "%s", colon ? colon + 1 : "q4_0");
  snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), spec);
  m->file = spec;
  m->shape = *text = cli_read_shape("bench", name);
  m->type = type;
  return *text != NULL;
}

static bool open_model(struct bench_model *m) {
  struct tb_synth_options synth = {.shape = m->shape, .type = m->type, .seed = 1};
  struct tb_model_options options = {.isa = cli_isa()};
  struct tb_error err;
  if (!m->shape)
    m->model = cli_open_model("bench", *m->file ? m->file : NULL);
  else if (tb_model_open_synthetic(&m->model, &synth, &options, &err) != TB_OK)
    cli_report("bench", &err);
  if (!m->model || !cli_guard_model(m->model)) return false;
  tb_model_get_info(m->model, &m->info);
  return true;
}

/* Prints n new results; false when the first of them has nothing to show: it was stopped. */
static bool print_results(struct run *run, size_t n) {
  cli_eta_end(&run->eta);
  for (size_t k = 0; k < n; k++) {
    if (run->results[run->n].n_samples == 0) return false;
    for (size_t p = 0; p < run->n_printers; p++)
      bench_print(&run->printers[p], &run->results[run->n]);
    run->n++;
  }
  return true;
}

static int run_tests(struct run *run, struct bench_model *m) {
  const struct bench_args *a = run->args;
  const size_t together = a->turns ? count_caches(a) : 1;
  struct bench_test t;
  struct tb_error err;
  for (size_t i = 0; test_of(a, i, &t) && !cli_interrupted(); i += together) {
    if (t.n_prompt + t.n_gen == 0) continue;
    if (run->n + together > BENCH_RESULTS || together > BENCH_TURNS) {
      fprintf(stderr, "thimble bench: more than %d tests, or more than %d by turns\n", BENCH_RESULTS, BENCH_TURNS);
      return CLI_USAGE;
    }
    for (size_t k = 0; k < together; k++)
      test_of(a, i + k, &run->results[run->n + k].test);
    if (!bench_run(m, &a->options, &run->results[run->n], together, &run->eta, run->n, run->all)) return CLI_FAILED;
    if (cli_check_model(m->model, &err) != TB_OK) return cli_report("bench", &err);
    if (!print_results(run, together)) break;
  }
  return CLI_OK;
}

/* The planner's cache, for the longest of the tests. Without -b and -ub it knows what the model's batch is. */
static int plan_cache(struct bench_args *a, const struct bench_model *m) {
  struct tb_context_options o = a->options.context;
  struct plan_text *plan = &a->plan[a->n_plans - 1];
  struct cli_planned chosen;
  struct bench_test t;
  o.n_ctx = a->sweep ? a->n_ctx : 1;
  for (size_t i = 0; !a->sweep && test_of(a, i, &t); i++) {
    const uint32_t n = t.n_depth + t.n_prompt + t.n_gen;
    if (n > o.n_ctx) o.n_ctx = n;
    if (batch_given(a) && t.n_batch > o.n_batch) o.n_batch = t.n_batch;
    if (t.n_threads > o.n_threads) o.n_threads = t.n_threads;
  }
  if (o.n_batch > o.n_ctx) o.n_batch = o.n_ctx;
  const int code = cli_plan_cache("bench", m->shape ? NULL : m->file, m->shape, m->type, &a->memory, &o, &chosen);
  free(plan->text);
  plan->text = chosen.text;
  plan->type_k = chosen.type_k;
  plan->type_v = chosen.type_v;
  return code;
}

static int run_model(struct run *run, struct bench_args *a, struct bench_model *m) {
  struct bench_test t;
  set_ubatch(a, m->info.n_batch);
  test_of(a, 0, &t);
  if (a->auto_threads) {
    const struct bench_test probe = {.type_k = t.type_k, .type_v = t.type_v, .plan = t.plan, .n_batch = t.n_batch};
    a->threads.n = 1;
    if ((a->threads.v[0] = bench_best_threads(m, &probe, &a->options)) == 0) return CLI_FAILED;
    t.n_threads = a->threads.v[0];
  }
  if (a->sweep) return bench_sweep(m, &t, &a->options, a->n_ctx, a->format);
  if (!a->sustain) return run_tests(run, m);
  for (size_t i = 0; t.n_gen == 0 && test_of(a, i, &t);) /* generating, when that is asked for at all */
    i++;
  if (t.n_prompt + t.n_gen == 0) test_of(a, 0, &t);
  return bench_sustain(m, &t, &a->options, a->sustain_seconds, a->format, a->plot);
}

static size_t count_models(const struct bench_args *a) {
  return a->models.n + a->shapes.n ? a->models.n + a->shapes.n : 1;
}

static int run_all(struct run *run, struct bench_args *a) {
  const size_t models = count_models(a);
  char bundled[4096] = "", type[32];
  int code = CLI_OK;
  for (size_t i = 0; i < models && code == CLI_OK && !cli_interrupted(); i++) {
    struct bench_model m = {0};
    char *text = NULL;
    bool ok = true;
    set_ubatch(a, USUAL_UBATCH); /* until the model is open */
    if (i < a->shapes.n) {
      ok = name_shape(&m, a->shapes.items[i], &text, type);
    } else {
      if (!a->models.n) cli_bundled_model(bundled, sizeof bundled);
      m.file = a->models.n ? a->models.items[i - a->shapes.n] : bundled;
    }
    struct cli_cache cache = a->cache; /* each model has a profile of its own, a shape has none */
    if (m.shape && !cache.profile) cache.profile = "none";
    ok = ok && cli_cache_open("bench", &cache, m.file, &a->options.context);
    code = !ok ? CLI_FAILED : planned(a) && *m.file ? plan_cache(a, &m) : CLI_OK; /* before weights take memory */
    if (!code) code = open_model(&m) ? run_model(run, a, &m) : CLI_FAILED;
    cli_cache_close(&cache);
    close_model(&m, text);
  }
  if (run->n == 0) return code;
  for (size_t p = 0; p < run->n_printers; p++)
    bench_print_end(&run->printers[p]);
  if (code) return code;
  if (a->compare && !bench_compare(a->format[0] == 'm' ? stdout : stderr, a->compare, run->results, run->n))
    return CLI_FAILED;
  if (a->plot && !bench_plot(a->plot, run->results, run->n)) return CLI_FAILED;
  return code;
}

static int start(struct bench_args *a) {
  struct run run = {.args = a, .n_printers = a->to_stderr ? 2 : 1, .all = count_models(a) * count_tests(a)};
  struct bench_sensors heat;
  bench_read_sensors("", &heat);
  const bool cache = a->types_k.n || a->types_v.n || a->n_plans || a->pairs_kv.n,
             batch = batch_given(a), warm = heat.celsius > 0 || heat.throttled >= 0;
  run.printers[0] =
      (struct bench_printer){.format = a->format, .to = stdout, .cache = cache, .batch = batch, .heat = warm};
  run.printers[1] = run.printers[0];
  run.printers[1].to = stderr;
  if (a->to_stderr) run.printers[1].format = a->to_stderr;
  run.results = malloc((run.all < BENCH_RESULTS ? run.all + 1 : BENCH_RESULTS) * sizeof *run.results);
  int code = run.results ? run_all(&run, a) : CLI_FAILED;
  free(run.results);
  for (size_t i = 0; i < a->n_plans; i++)
    free(a->plan[i].text);
  return code;
}

static bool about_kernels(int argc, char **argv) {
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], "--kernels") == 0) return true;
  return false;
}

int cmd_bench(int argc, char **argv) {
  if (about_kernels(argc, argv)) return bench_kernels(argc, argv);
  static struct bench_args a;
  a.format = "md";
  a.options.repeats = 5;
  a.n_ctx = 4096;
  static const char cpu[] = "thimble computes on the CPU", always[] = "it is always on",
                    no_effect[] = "it has no effect here";
#define IGNORED(short_name, long_name, why)                                                                            \
  { short_name, long_name, CLI_IGNORED, (void *)(uintptr_t)(why), 0, 0, "X", "accepted for scripts and ignored" }
  const struct cli_option options[] = {
      {"-m", "--model", CLI_LIST, &a.models, 0, 0, "FILE", "GGUF file (default: the bundled model); may be repeated"},
      {NULL, "--shape", CLI_LIST, &a.shapes, 0, 0, "NAME:TYPE", "instead of a file: random weights, llama-3.2-1b:q4_0"},
      {"-p", "--n-prompt", CLI_LIST, &a.lists[LIST_P], 0, 0, "LIST", "prompt sizes (512; 0: none)"},
      {"-n", "--n-gen", CLI_LIST, &a.lists[LIST_N], 0, 0, "LIST", "generated tokens (128; 0: none)"},
      {"-pg", NULL, CLI_LIST, &a.pairs, 0, 0, "P,N", "a prompt of P tokens and then N generated ones"},
      {"-d", "--n-depth", CLI_LIST, &a.lists[LIST_D], 0, 0, "LIST", "tokens in the cache before the test (0)"},
      {"-b", "--batch-size", CLI_LIST, &a.lists[LIST_B], 0, 0, "LIST", "as in llama-bench (2048)"},
      {"-ub", "--ubatch-size", CLI_LIST, &a.lists[LIST_UB], 0, 0, "LIST", "prompt tokens computed together (512; small models 256)"},
      {"-t", "--threads", CLI_LIST, &a.lists[LIST_T], 0, 0, "LIST",
       "threads (0: the performance cores; auto: tried out)"},
      CLI_CPU_OPTIONS(a.cpus),
      {"-ctk", "--cache-type-k", CLI_LIST, &a.types_k, 0, 0, "LIST", "types of cached keys (planned; f16 where -ctv is given)"},
      {"-ctv", "--cache-type-v", CLI_LIST, &a.types_v, 0, 0, "LIST", "types of cached values (planned; f16 where -ctk is given)"},
      {NULL, "--cache", CLI_LIST, &a.pairs_kv, 0, 0, "K/V", "types of both sides, q8_0/q4_0; may be repeated"},
      {NULL, "--kv-plan", CLI_LIST, &a.plans, 0, 0, "FILE", "plan file for the cache; may be repeated"},
      CLI_PLANNED_OPTIONS(a.memory),
      CLI_CACHE_OPTIONS(a.cache),
      {"-r", "--repetitions", CLI_U32, &a.options.repeats, 1, BENCH_REPEATS, "N", "runs per test (5)"},
      {NULL, "--turns", CLI_FLAG, &a.turns, 0, 0, NULL,
       "caches by turns, each run once and then again: for machines whose speed drifts"},
      {NULL, "--delay", CLI_FLOAT, &a.delay, 0, 86400, "S", "seconds to wait between tests (0)"},
      {NULL, "--no-warmup", CLI_FLAG, &a.options.no_warmup, 0, 0, NULL, "no run before the first that counts"},
      {NULL, "--real-fill", CLI_FLAG, &a.options.real_fill, 0, 0, NULL,
       "reach the depth by computing, not by filling the cache"},
      {"-o", "--output", CLI_STRING, &a.format, 0, 0, "FORMAT", "md, csv, json, jsonl or sql"},
      {"-oe", "--output-err", CLI_STRING, &a.to_stderr, 0, 0, "FORMAT", "the results to standard error as well"},
      {NULL, "--kernels", CLI_FLAG, NULL, 0, 0, NULL,
       "single kernels instead of a model (--kernels --help: its options)"},
      {NULL, "--sweep", CLI_FLAG, &a.sweep, 0, 0, NULL, "a table of both speeds while the cache fills up to -c"},
      {"-c", "--ctx-size", CLI_U32, &a.n_ctx, 1, 1u << 28, "N", "tokens of --sweep (4096)"},
      {NULL, "--sustain", CLI_STRING, &a.sustain, 0, 0, "TIME", "generate for so long (10m) and show speed and heat"},
      {NULL, "--compare", CLI_STRING, &a.compare, 0, 0, "FILE", "ratios to an older run (its -o json or jsonl)"},
      {NULL, "--plot", CLI_STRING, &a.plot, 0, 0, "FILE", "speed against depth (or time) as .svg or .png, by gnuplot"},
      {NULL, "--progress", CLI_FLAG, &a.progress, 0, 0, NULL, "accepted: a terminal always shows it"},
      IGNORED("-fa", "--flash-attn", always),
      IGNORED("-ngl", "--n-gpu-layers", cpu),
      IGNORED("-ncmoe", "--n-cpu-moe", cpu),
      IGNORED("-sm", "--split-mode", cpu),
      IGNORED("-mg", "--main-gpu", cpu),
      IGNORED("-nkvo", "--no-kv-offload", cpu),
      IGNORED("-dev", "--device", cpu),
      IGNORED("-ts", "--tensor-split", cpu),
      IGNORED("-ot", "--override-tensor", cpu),
      IGNORED("-nopo", "--no-op-offload", cpu),
      IGNORED("-mmp", "--mmap", always),
      IGNORED("-lm", "--load-mode", no_effect),
      IGNORED("-embd", "--embeddings", no_effect),
      IGNORED(NULL, "--cpu-strict", no_effect),
      IGNORED(NULL, "--numa", no_effect),
      IGNORED(NULL, "--prio", "the system's nice does it"),
      IGNORED(NULL, "--poll", no_effect),
      {"-h", "--help", CLI_FLAG, &a.help, 0, 0, NULL, "this text"},
      {0},
  };
#undef IGNORED
  size_t n_rest;
  if (!cli_parse("bench", options, argc, argv, NULL, 0, &n_rest)) return CLI_USAGE;
  if (a.help) {
    puts("usage: thimble bench [-m FILE] [-p LIST] [-n LIST] [-d LIST]; lists: 512,1024 or 128-512+128 or 128-1024*2");
    cli_print_options(options);
    return CLI_OK;
  }
  if (!parse(&a) || !cli_use_cpus("bench", &a.cpus, a.threads.v[0] > 0)) return CLI_USAGE;
  cli_catch_signals();
  return start(&a);
}
