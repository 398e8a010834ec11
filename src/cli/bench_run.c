/* Running one test. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "cli/bench.h"
#include "cli/cache_bytes.h"

static struct tb_context_options context_options(const struct bench_options *o, const struct bench_test *t,
                                                 uint32_t n_ctx) {
  struct tb_context_options c = o->context;
  c.n_ctx = n_ctx ? n_ctx : 1;
  c.n_batch = t->n_batch;
  c.n_threads = t->n_threads;
  c.type_k = t->plan ? NULL : t->type_k;
  c.type_v = t->plan ? NULL : t->type_v;
  c.kv_plan = t->plan;
  return c;
}

static tb_token token_at(uint32_t i, uint32_t n_vocab) {
  return (tb_token)(((uint64_t)i * 104729 + 17) % n_vocab);
}

static bool go_on(void *user, size_t done, size_t total) {
  (void)user;
  (void)done;
  (void)total;
  return !cli_interrupted();
}

static enum tb_status feed(struct tb_context *ctx, uint32_t n, uint32_t n_vocab, struct tb_error *err) {
  if (n == 0) return TB_OK;
  tb_token *tokens = malloc(n * sizeof *tokens);
  if (!tokens) return TB_E_NOMEM;
  for (uint32_t i = 0; i < n; i++)
    tokens[i] = token_at(i, n_vocab);
  enum tb_status s = tb_eval(ctx, tokens, n, go_on, NULL, err);
  free(tokens);
  return s;
}

static void report(enum tb_status s, const struct tb_error *err) {
  if (s == TB_E_NOMEM)
    fputs("thimble bench: out of memory\n", stderr);
  else if (s && s != TB_E_CANCELLED)
    cli_report("bench", err);
}

struct tb_context *bench_context(const struct bench_model *m, const struct bench_test *t, uint32_t more,
                                 const struct bench_options *o) {
  struct tb_error err;
  struct tb_context *ctx = NULL;
  struct tb_context_options options = context_options(o, t, t->n_depth + more);
  enum tb_status s = tb_context_create(&ctx, m->model, &options, &err);
  if (s) {
    cli_report("bench", &err);
    return NULL;
  }
  if (t->n_depth)
    s = o->real_fill ? feed(ctx, t->n_depth, m->info.n_vocab, &err) : tb_fill_synthetic(ctx, t->n_depth, 1, &err);
  if (s == TB_OK) return ctx;
  report(s, &err);
  tb_context_free(ctx);
  return NULL;
}

double bench_once(struct tb_context *ctx, const struct bench_test *t, uint32_t n_vocab) {
  struct tb_error err;
  enum tb_status s = tb_truncate(ctx, t->n_depth, &err);
  const double start = cli_now();
  if (!s) s = feed(ctx, t->n_prompt, n_vocab, &err);
  for (uint32_t i = 0; i < t->n_gen && !s; i++) {
    tb_token token = token_at(i * 7 + 1, n_vocab);
    s = tb_eval(ctx, &token, 1, go_on, NULL, &err);
  }
  const double seconds = cli_now() - start;
  report(s, &err);
  return s ? -1 : seconds;
}

/* VmHWM starts anew, so that each test has its own peak. */
static void reset_peak(void) {
  FILE *f = fopen("/proc/self/clear_refs", "w");
  if (f) {
    fputs("5", f);
    fclose(f);
  }
}

static void summarise(struct bench_result *r) {
  const double n = (double)r->n_samples, tokens = r->test.n_prompt + r->test.n_gen;
  double sum = 0, squares = 0;
  for (size_t i = 0; i < r->n_samples; i++)
    sum += tokens / r->samples[i];
  r->mean = sum / n;
  for (size_t i = 0; i < r->n_samples; i++)
    squares += (tokens / r->samples[i] - r->mean) * (tokens / r->samples[i] - r->mean);
  r->deviation = r->n_samples > 1 ? sqrt(squares / (n - 1)) : 0;
}

static void note_memory(const struct bench_model *m, const struct bench_options *o, struct tb_context *ctx,
                        struct bench_result *r) {
  struct tb_context_info info;
  struct tb_memory_usage u;
  struct tb_error err;
  double scalars;
  tb_context_get_info(ctx, &info);
  tb_memory_get_usage(&u);
  r->test.n_threads = info.n_threads;
  r->cache_bytes = info.cache_bytes;
  r->peak = u.peak;
  r->anonymous = u.anonymous;
  struct tb_context_options options = context_options(o, &r->test, 0);
  struct cli_cache_source source = {m->shape ? NULL : m->file, m->shape, m->type};
  if (cli_cache_per_token(&source, &options, &r->cache_per_token, &scalars, &err) != TB_OK) r->cache_per_token = 0;
}

/* Once for each number of threads. What stays in the processor's caches is not held against the memory. A machine
 * without memory for it is told, and goes on: the speed is known. */
static bool measure_bandwidth(struct bench_model *m, struct bench_result *r) {
  enum { CACHES = 32 << 20, BUFFER = 256 << 20 };
  struct tb_error err;
  double *known = &m->bandwidth[r->test.n_threads];
  r->bandwidth = 0;
  if (r->test.n_prompt || bench_touched(r) < CACHES) return true;
  const enum tb_status status = *known ? TB_OK : tb_read_bandwidth(r->test.n_threads, BUFFER, known, &err);
  if (status == TB_E_NOMEM) *known = -1;
  if (status) cli_report("bench", &err);
  if (*known > 0) r->bandwidth = *known;
  return status == TB_OK || status == TB_E_NOMEM;
}

/* Once for each number of threads, for tests that read a prompt. */
static bool measure_peak(struct bench_model *m, struct bench_result *r) {
  struct tb_error err;
  double *known = &m->multiply_peak[r->test.n_threads];
  r->multiply_peak = 0;
  if (!r->test.n_prompt || r->test.n_gen) return true;
  if (*known == 0 && tb_multiply_peak(m->model, r->test.n_threads, known, &err) != TB_OK) {
    cli_report("bench", &err);
    return false;
  }
  r->multiply_peak = *known;
  return true;
}

/* What recall read, per token; runs: warming up included. */
static void note_recall(struct tb_context *ctx, struct bench_result *r, size_t runs) {
  struct tb_recall_stats s;
  const double tokens = (double)r->test.n_gen * (double)runs, heads = (double)r->model.n_layer * r->model.n_head_kv;
  tb_recall_get_stats(ctx, &s);
  r->recall_bytes = r->recall_share = 0;
  if (s.choices == 0 || tokens == 0) return;
  r->recall_bytes = (double)s.bytes / tokens;
  r->recall_share = fmin(1, (double)s.choices / (tokens * heads));
}

/* Run 0 warms up. Several tests take turns, so that a machine whose speed drifts treats all of them alike. */
static bool repeat(const struct bench_model *m, const struct bench_options *o, struct tb_context **ctx,
                   struct bench_result *r, size_t n, struct cli_eta *eta, size_t done, size_t all) {
  for (uint32_t i = o->no_warmup ? 1 : 0; i <= o->repeats; i++)
    for (size_t k = 0; k < n; k++) {
      cli_eta_show(eta, (double)done + (double)(i * n + k) / (o->repeats + 1), (double)all, "bench: test");
      cli_cool_down();
      if (cli_interrupted()) return true;
      double seconds = bench_once(ctx[k], &r[k].test, m->info.n_vocab);
      if (seconds < 0) return cli_interrupted();
      if (i > 0) r[k].samples[r[k].n_samples++] = seconds;
    }
  return true;
}

static void begin(const struct bench_model *m, struct bench_result *r) {
  const time_t t = time(NULL);
  struct tm utc;
  strftime(r->time, sizeof r->time, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &utc));
  r->model = m->info;
  r->file = m->file;
  r->n_samples = 0;
  bench_read_sensors("", &r->before);
}

static bool finish(struct bench_model *m, const struct bench_options *o, struct tb_context *ctx, struct bench_result *r,
                   bool alone) {
  bench_read_sensors("", &r->after);
  note_memory(m, o, ctx, r);
  if (!alone) r->peak = r->anonymous = 0; /* the process holds the others' caches too */
  if (r->n_samples == 0) return true;
  summarise(r);
  note_recall(ctx, r, r->n_samples + (o->no_warmup ? 0 : 1));
  return measure_bandwidth(m, r) && measure_peak(m, r);
}

bool bench_run(struct bench_model *m, const struct bench_options *o, struct bench_result *r, size_t n,
               struct cli_eta *eta, size_t done, size_t all) {
  struct tb_context *ctx[BENCH_TURNS] = {0};
  if (done && o->delay > 0) {
    struct timespec wait = {(time_t)o->delay, (long)(fmod(o->delay, 1) * 1e9)};
    nanosleep(&wait, NULL); /* Ctrl-C ends it */
  }
  reset_peak();
  bool ok = true;
  for (size_t k = 0; ok && k < n; k++) {
    begin(m, &r[k]);
    ok = (ctx[k] = bench_context(m, &r[k].test, r[k].test.n_prompt + r[k].test.n_gen, o)) != NULL;
  }
  if (ok) ok = repeat(m, o, ctx, r, n, eta, done, all);
  for (size_t k = 0; k < n; k++) {
    if (ok) ok = finish(m, o, ctx[k], &r[k], n == 1);
    tb_context_free(ctx[k]);
  }
  return ok || cli_interrupted();
}

double bench_touched(const struct bench_result *r) {
  const double held = r->test.n_depth + r->test.n_prompt + r->test.n_gen / 2.0;
  return (double)r->model.bytes_per_token + r->cache_per_token * held * (1 - r->recall_share) + r->recall_bytes;
}

void bench_test_name(const struct bench_test *t, char name[64]) {
  char depth[24] = "";
  if (t->n_depth) snprintf(depth, sizeof depth, " @ d%u", t->n_depth);
  if (t->n_prompt && t->n_gen)
    snprintf(name, 64, "pp%u+tg%u%s", t->n_prompt, t->n_gen, depth);
  else
    snprintf(name, 64, "%s%u%s", t->n_prompt ? "pp" : "tg", t->n_prompt ? t->n_prompt : t->n_gen, depth);
}

/* ------------------------------------------------------------------------------------------------------- -t auto */

/* Tokens per second with n threads: the best of pieces of 4 tokens within a third of a second, at least two. */
static double speed_of(const struct bench_model *m, struct bench_test t, uint32_t n, const struct bench_options *o) {
  t.n_threads = n;
  t.n_prompt = 0;
  t.n_gen = 4;
  struct tb_context *ctx = bench_context(m, &t, t.n_gen, o);
  double best = 0, until = cli_now() + 0.33;
  for (int i = 0; ctx && (i < 3 || cli_now() < until); i++) {
    double seconds = bench_once(ctx, &t, m->info.n_vocab);
    if (seconds <= 0) break;
    if (i > 0 && t.n_gen / seconds > best) best = t.n_gen / seconds; /* the first one warms up */
  }
  tb_context_free(ctx);
  return best;
}

uint32_t bench_best_threads(const struct bench_model *m, const struct bench_test *t, const struct bench_options *o) {
  struct tb_machine machine;
  tb_get_machine(&machine);
  /* Fast cores, half and three quarters of them (memory may be full before), one, and every CPU there is. */
  const uint32_t p = machine.performance_cores, tries[] = {p, (p * 3 + 3) / 4, (p + 1) / 2, 1, machine.cpus};
  uint32_t best = 0;
  double most = 0;
  fputs("threads:", stderr);
  for (size_t i = 0; i < sizeof tries / sizeof tries[0] && !cli_interrupted(); i++) {
    bool seen = false;
    for (size_t j = 0; j < i; j++)
      seen = seen || tries[j] == tries[i];
    if (seen || tries[i] > TB_MAX_THREADS) continue;
    double speed = speed_of(m, *t, tries[i], o);
    fprintf(stderr, " %u: %.2f t/s,", tries[i], speed);
    if (speed > most * 1.02 || (speed > most && tries[i] < best)) { /* more threads must be worth it */
      most = speed;
      best = tries[i];
    }
  }
  fprintf(stderr, " taken: %u\n", best);
  return best;
}
