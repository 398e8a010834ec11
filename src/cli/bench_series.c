/* Speed as something changes: while the cache fills (ik_llama.cpp's sweep), and while time passes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/bench.h"
#include "cli/plot.h"
#include "cli/table.h"

/* ------------------------------------------------------------------------------------------------------------- sweep
 */

struct sweep_row {
  uint32_t pp, tg, n_kv;
  double t_pp, t_tg;
};

static void print_sweep(struct cli_table *t, const struct bench_test *test, uint32_t n_ctx, const struct sweep_row *r) {
  if (strcmp(t->format, "md") == 0) {
    if (t->rows++ == 0)
      puts("|    PP |     TG |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |\n"
           "|-------|--------|--------|----------|----------|----------|----------|");
    printf("| %5u | %6u | %6u | %8.3f | %8.2f | %8.3f | %8.2f |\n", r->pp, r->tg, r->n_kv, r->t_pp, r->pp / r->t_pp,
           r->t_tg, r->tg / r->t_tg);
    fflush(stdout);
    return;
  }
  const struct cli_field fields[] = {
      cli_integer("n_kv_max", n_ctx),
      cli_integer("n_batch", test->n_batch),
      cli_integer("n_ubatch", test->n_batch),
      cli_integer("n_threads", test->n_threads),
      cli_text("type_k", test->plan ? test->plan_name : test->type_k),
      cli_text("type_v", test->plan ? "" : test->type_v),
      cli_integer("pp", r->pp),
      cli_integer("tg", r->tg),
      cli_integer("n_kv", r->n_kv),
      cli_real("t_pp", r->t_pp),
      cli_real("speed_pp", r->pp / r->t_pp),
      cli_real("t_tg", r->t_tg),
      cli_real("speed_tg", r->tg / r->t_tg),
  };
  cli_table_row(t, fields, sizeof fields / sizeof fields[0]);
}

/* At n_kv tokens: generate, take that back, read the next batch, which stays. */
static bool sweep_step(struct tb_context *ctx, uint32_t n_vocab, struct sweep_row *r) {
  const struct bench_test gen = {.n_gen = r->tg, .n_depth = r->n_kv}, read = {.n_prompt = r->pp, .n_depth = r->n_kv};
  r->t_tg = bench_once(ctx, &gen, n_vocab);
  r->t_pp = r->t_tg < 0 ? -1 : bench_once(ctx, &read, n_vocab);
  return r->t_pp >= 0;
}

int bench_sweep(const struct bench_model *m, const struct bench_test *t, const struct bench_options *o, uint32_t n_ctx,
                const char *format) {
  struct bench_test test = *t;
  struct cli_table table = {.to = stdout, .format = format, .name = "sweep"};
  struct cli_eta eta = {0};
  if (n_ctx < test.n_batch) n_ctx = test.n_batch;
  test.n_depth = 0;
  struct tb_context *ctx = bench_context(m, &test, n_ctx, o);
  if (!ctx) return CLI_FAILED;
  struct tb_context_info info;
  tb_context_get_info(ctx, &info);
  test.n_threads = info.n_threads;
  const struct bench_test warm = {.n_gen = 1};
  bool ok = bench_once(ctx, &warm, m->info.n_vocab) >= 0;
  for (uint32_t n_kv = 0; ok && n_kv + test.n_batch <= n_ctx && !cli_interrupted(); n_kv += test.n_batch) {
    struct sweep_row r = {.pp = test.n_batch, .tg = test.n_batch / 4 ? test.n_batch / 4 : 1, .n_kv = n_kv};
    cli_eta_show(&eta, n_kv, n_ctx, "sweep: token");
    if (!(ok = sweep_step(ctx, m->info.n_vocab, &r))) break;
    cli_eta_end(&eta);
    print_sweep(&table, &test, n_ctx, &r);
  }
  cli_eta_end(&eta);
  cli_table_end(&table);
  tb_context_free(ctx);
  return ok ? CLI_OK : CLI_FAILED;
}

/* ----------------------------------------------------------------------------------------------------------- sustain
 */

enum { STEPS = 60 };

struct moment {
  double at, rate; /* seconds since the beginning; tokens/s */
  struct bench_sensors sensors;
};

static void print_moment(struct cli_table *t, const struct bench_test *test, const struct moment *x) {
  if (strcmp(t->format, "md") == 0) {
    if (t->rows++ == 0) puts("| s | t/s | °C | MHz | throttled |\n| ---: | ---: | ---: | ---: | --- |");
    printf("| %.0f | %.2f |", x->at, x->rate);
    if (x->sensors.celsius > 0) printf(" %.0f", x->sensors.celsius);
    fputs(" |", stdout);
    if (x->sensors.mhz > 0) printf(" %.0f", x->sensors.mhz);
    printf(" | %s |\n", x->sensors.throttled < 0 ? "" : x->sensors.throttled ? "yes" : "no");
    fflush(stdout);
    return;
  }
  char name[64];
  bench_test_name(test, name);
  const struct cli_field fields[] = {
      cli_text("test", name),
      cli_real("seconds", x->at),
      cli_real("avg_ts", x->rate),
      cli_real("celsius", x->sensors.celsius > 0 ? x->sensors.celsius : NAN),
      cli_real("mhz", x->sensors.mhz > 0 ? x->sensors.mhz : NAN),
      cli_real("throttled", x->sensors.throttled < 0 ? NAN : x->sensors.throttled),
  };
  cli_table_row(t, fields, sizeof fields / sizeof fields[0]);
}

static bool plot_moments(const char *path, const struct bench_test *t, const struct moment *at, size_t n) {
  struct cli_plot p;
  char name[64];
  bench_test_name(t, name);
  if (!cli_plot_begin(&p, "bench", path, name)) return false;
  bool warm = false;
  fputs("$d << EOD\n", p.script);
  for (size_t i = 0; i < n; i++) {
    fprintf(p.script, "%.3f %.4f %.1f\n", at[i].at, at[i].rate, at[i].sensors.celsius);
    warm = warm || at[i].sensors.celsius > 0;
  }
  fputs("EOD\nset xlabel 'seconds'\nset ylabel 'tokens/s'\nset yrange [0:*]\n", p.script);
  if (warm) fputs("set y2label 'degrees Celsius'\nset y2tics\n", p.script);
  fprintf(p.script, "plot $d using 1:2 with lines lw 2 title 'tokens/s'%s\n",
          warm ? ", $d using 1:3 axes x1y2 with lines lw 2 lt 3 title 'temperature'" : "");
  return cli_plot_end(&p);
}

/* Median of the rates of moments from … to-1. */
static double middle(const struct moment *at, size_t from, size_t to) {
  double sorted[2 * STEPS];
  size_t n = 0;
  for (size_t i = from; i < to; i++) {
    size_t k = n++;
    for (; k > 0 && sorted[k - 1] > at[i].rate; k--)
      sorted[k] = sorted[k - 1];
    sorted[k] = at[i].rate;
  }
  return sorted[n / 2];
}

/* One step: as many repetitions as fit in `seconds`, at least one. */
static bool run_moment(struct tb_context *ctx, const struct bench_test *t, uint32_t n_vocab, double seconds,
                       struct moment *x) {
  double spent = 0;
  uint32_t runs = 0;
  while (spent < seconds) {
    double one = bench_once(ctx, t, n_vocab);
    if (one < 0) return false;
    spent += one;
    runs++;
  }
  x->rate = runs * (double)(t->n_prompt + t->n_gen) / spent;
  bench_read_sensors("", &x->sensors);
  return true;
}

int bench_sustain(const struct bench_model *m, const struct bench_test *t, const struct bench_options *o,
                  double seconds, const char *format, const char *plot) {
  struct moment at[2 * STEPS];
  struct cli_table table = {.to = stdout, .format = format, .name = "sustain"};
  struct cli_eta eta = {0};
  struct tb_context *ctx = bench_context(m, t, t->n_prompt + t->n_gen, o);
  if (!ctx) return CLI_FAILED;
  size_t n = 0;
  bool ok = true;
  const double start = cli_now();
  while (ok && n < 2 * STEPS && cli_now() - start < seconds && !cli_interrupted()) {
    cli_eta_show(&eta, cli_now() - start, seconds, "sustain: second");
    if (!(ok = run_moment(ctx, t, m->info.n_vocab, seconds / STEPS, &at[n]))) break;
    at[n].at = cli_now() - start;
    cli_eta_end(&eta);
    print_moment(&table, t, &at[n++]);
  }
  cli_eta_end(&eta);
  cli_table_end(&table);
  tb_context_free(ctx);
  if (strcmp(format, "md") == 0 && n >= 4)
    printf("\nmedian of the first quarter %.2f t/s, of the last %.2f t/s: %.0f %%\n", middle(at, 0, n / 4),
           middle(at, n - n / 4, n), 100 * middle(at, n - n / 4, n) / middle(at, 0, n / 4));
  if (plot && n && !plot_moments(plot, t, at, n)) return CLI_FAILED;
  return ok || cli_interrupted() ? CLI_OK : CLI_FAILED;
}
