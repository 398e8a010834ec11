/* What eval prints. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "cli/eval.h"
#include "cli/plot.h"
#include "cli/table.h"

enum { QUARTERS = 4 };

/* One configuration's results; NAN where nothing was measured. */
struct row {
  double perplexity, kld, kld_se, kld_median, kld_99, kld_max, same_top, encoded, quarters[QUARTERS];
  double recall, recall_lo, recall_hi, change, change_lo, change_hi;
  size_t right, lost, won;
  double greedy_median, greedy_mean;
  double decode_rate, read_rate;
};

static int ascending(const void *a, const void *b) {
  const double *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

static void add_text(const struct eval *e, const struct eval_config *c, struct row *r) {
  const size_t n = c->predictions;
  double squares = 0;
  size_t held[QUARTERS] = {0};
  double *sorted = malloc((n + 1) * sizeof *sorted);
  if (!n || !sorted) {
    free(sorted);
    return;
  }
  r->kld = 0;
  memset(r->quarters, 0, sizeof r->quarters);
  for (size_t i = 0; i < n; i++) {
    size_t q = i % e->counted * QUARTERS / e->counted;
    r->kld += c->kld[i] / (double)n;
    squares += c->kld[i] * c->kld[i] / (double)n;
    r->quarters[q] += c->kld[i];
    held[q]++;
    sorted[i] = c->kld[i];
  }
  for (int q = 0; q < QUARTERS; q++)
    r->quarters[q] /= (double)held[q];
  r->kld_se = sqrt(fmax(0, squares - r->kld * r->kld) / (double)n);
  qsort(sorted, n, sizeof *sorted, ascending);
  r->kld_median = sorted[n / 2];
  r->kld_99 = sorted[(size_t)((double)n * 0.99)];
  r->kld_max = sorted[n - 1];
  r->perplexity = exp(c->nll / (double)n);
  r->same_top = (double)c->same_top / (double)n;
  free(sorted);
}

/* 95 % interval of a proportion (Wilson, 1927). */
static void wilson(double right, double n, double *lo, double *hi) {
  const double z = 1.96, p = right / n, z2n = z * z / n;
  double mid = (p + z2n / 2) / (1 + z2n), half = z * sqrt(p * (1 - p) / n + z2n / 4 / n) / (1 + z2n);
  *lo = mid - half;
  *hi = mid + half;
}

/* 95 % interval of the difference of two paired proportions: lost and won out of n, each with half a question more so
 * that equal results do not claim certainty (Agresti and Min, 2005). */
static void paired(double lost, double won, double n, double *lo, double *hi) {
  const double b = lost + 0.5, c = won + 0.5, m = n + 2, d = (c - b) / m,
               half = 1.96 * sqrt(fmax(0, (b + c) - (c - b) * (c - b) / m)) / m;
  *lo = fmax(d - half, -1);
  *hi = fmin(d + half, 1);
}

static void add_recall(const struct eval *e, const struct eval_config *c, struct row *r) {
  const double n = (double)e->n_questions;
  if (!e->n_questions) return;
  for (size_t i = 0; i < e->n_questions; i++) {
    r->right += c->right[i];
    r->lost += e->configs[0].right[i] && !c->right[i];
    r->won += !e->configs[0].right[i] && c->right[i];
  }
  r->recall = (double)r->right / n;
  wilson((double)r->right, n, &r->recall_lo, &r->recall_hi);
  r->change = ((double)r->won - (double)r->lost) / n;
  paired((double)r->lost, (double)r->won, n, &r->change_lo, &r->change_hi);
}

static void add_greedy(const struct eval *e, const struct eval_config *c, struct row *r) {
  const size_t n = e->n_prompts;
  double *sorted = malloc((n + 1) * sizeof *sorted);
  if (n && sorted) {
    r->greedy_mean = 0;
    for (size_t i = 0; i < n; i++) {
      sorted[i] = c->agreed[i];
      r->greedy_mean += c->agreed[i] / (double)n;
    }
    qsort(sorted, n, sizeof *sorted, ascending);
    r->greedy_median = (sorted[n / 2] + sorted[(n - 1) / 2]) / 2;
  }
  free(sorted);
}

static struct row row_of(const struct eval *e, const struct eval_config *c) {
  struct row r = {.perplexity = NAN,
                  .kld = NAN,
                  .kld_se = NAN,
                  .kld_median = NAN,
                  .kld_99 = NAN,
                  .kld_max = NAN,
                  .same_top = NAN,
                  .recall = NAN,
                  .recall_lo = NAN,
                  .recall_hi = NAN,
                  .change = NAN,
                  .change_lo = NAN,
                  .change_hi = NAN,
                  .greedy_median = NAN,
                  .greedy_mean = NAN};
  r.encoded = c->attended > 0 ? c->encoded / c->attended : NAN;
  r.decode_rate = c->decoded ? (double)c->decoded / c->decode_seconds : NAN;
  r.read_rate = c->read ? (double)c->read / c->read_seconds : NAN;
  add_text(e, c, &r);
  add_recall(e, c, &r);
  add_greedy(e, c, &r);
  return r;
}

/* -------------------------------------------------------------------------------------------------------- markdown */

static void md_text(const struct eval *e) {
  puts("| cache K/V | bits/el stored | bits/el with window | encoded | perplexity | KLD mean | median | 99 % | max | "
       "same top-1 |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
  for (size_t i = 0; i < e->n_configs; i++) {
    const struct eval_config *c = &e->configs[i];
    struct row r = row_of(e, c);
    if (!c->predictions) continue;
    printf("| %s | %.3f | %.3f | %.0f %% | %.4f | %.3e ± %.0e | %.1e | %.1e | %.1e | %.2f %% |\n", c->name,
           c->bits_stored, c->bits_all, 100 * r.encoded, r.perplexity, r.kld, r.kld_se, r.kld_median, r.kld_99,
           r.kld_max, 100 * r.same_top);
  }
  if (e->protocol != EVAL_D) return;
  puts("\n| cache K/V | KLD in the first quarter | second | third | last |\n| --- | ---: | ---: | ---: | ---: |");
  for (size_t i = 1; i < e->n_configs; i++) {
    struct row r = row_of(e, &e->configs[i]);
    printf("| %s | %.3e | %.3e | %.3e | %.3e |\n", e->configs[i].name, r.quarters[0], r.quarters[1], r.quarters[2],
           r.quarters[3]);
  }
}

/* Answers by task, length of the context and place of the answer in it. */
struct cell {
  size_t n, right;
};

static struct cell cell_of(const struct eval *e, const struct eval_config *c, size_t task, size_t length,
                           size_t depth) {
  struct cell x = {0};
  for (size_t i = 0; i < e->n_questions; i++)
    if (e->questions[i].task == task && e->questions[i].length == length && e->questions[i].depth == depth) {
      x.n++;
      x.right += c->right[i];
    }
  return x;
}

static void md_cell(const struct eval *e, size_t task, size_t length, size_t depth) {
  const struct cell first = cell_of(e, &e->configs[0], task, length, depth);
  if (!first.n) return;
  printf("| %s | %zu-%zu |", e->tasks[task], length ? ((size_t)1 << length) / 2 + 1 : 0, (size_t)1 << length);
  if (depth < EVAL_DEPTHS)
    printf(" %zu-%zu %% | %zu |", depth * 100 / EVAL_DEPTHS, (depth + 1) * 100 / EVAL_DEPTHS, first.n);
  else
    printf(" | %zu |", first.n);
  for (size_t j = 0; j < e->n_configs; j++) {
    const struct cell x = cell_of(e, &e->configs[j], task, length, depth);
    printf(" %.1f %% |", 100 * (double)x.right / (double)x.n);
  }
  putchar('\n');
}

static void md_breakdown(const struct eval *e) {
  fputs("\n| task | context, tokens | answer at | questions |", stdout);
  for (size_t j = 0; j < e->n_configs; j++)
    printf(" %s |", e->configs[j].name);
  fputs("\n| --- | --- | --- | ---: |", stdout);
  for (size_t j = 0; j < e->n_configs; j++)
    fputs(" ---: |", stdout);
  putchar('\n');
  for (size_t t = 0; t < e->n_tasks; t++)
    for (size_t n = 0; n < EVAL_LENGTHS; n++)
      for (size_t d = 0; d <= EVAL_DEPTHS; d++)
        md_cell(e, t, n, d);
}

static void md_recall(const struct eval *e) {
  printf("| cache K/V | bits/el stored | bits/el with window | encoded | recall of %zu (95 %%) | lost / won | change "
         "(95 %%) "
         "|\n| --- | ---: | ---: | ---: | --- | --- | --- |\n",
         e->n_questions);
  for (size_t i = 0; i < e->n_configs; i++) {
    const struct eval_config *c = &e->configs[i];
    struct row r = row_of(e, c);
    printf("| %s | %.3f | %.3f | %.0f %% | %.2f %% (%.1f..%.1f) | ", c->name, c->bits_stored, c->bits_all,
           100 * r.encoded, 100 * r.recall, 100 * r.recall_lo, 100 * r.recall_hi);
    if (i)
      printf("%zu / %zu | %+.2f %% (%+.2f..%+.2f) |\n", r.lost, r.won, 100 * r.change, 100 * r.change_lo,
             100 * r.change_hi);
    else
      puts("| |");
  }
  md_breakdown(e);
}

static void md_greedy(const struct eval *e) {
  printf("| cache K/V | bits/el with window | same greedy tokens of %u, median of %zu | mean |\n| --- | ---: | ---: | "
         "---: |\n",
         e->n_greedy, e->n_prompts);
  for (size_t i = 1; i < e->n_configs; i++) {
    struct row r = row_of(e, &e->configs[i]);
    printf("| %s | %.3f | %.1f | %.1f |\n", e->configs[i].name, e->configs[i].bits_all, r.greedy_median, r.greedy_mean);
  }
}

static void md_cost(const struct eval *e) {
  puts("| cache K/V | cache MiB | read t/s | decode t/s |\n| --- | ---: | ---: | ---: |");
  for (size_t i = 0; i < e->n_configs; i++) {
    const struct eval_config *c = &e->configs[i];
    struct row r = row_of(e, c);
    printf("| %s | %.3f | ", c->name, (double)c->cache_bytes / 0x1p20);
    if (c->read) printf("%.0f ", r.read_rate);
    fputs("| ", stdout);
    if (c->decoded) printf("%.0f ", r.decode_rate);
    puts("|");
  }
}

static void print_md(const struct eval *e) {
  static const char *const protocols[] = {"as llama-perplexity", "A: all encoded", "B: as users decode",
                                          "D: streaming"};
  if (e->configs[0].predictions) {
    printf("%zu predictions, contexts of %u tokens, %s\n\n", e->configs[0].predictions, e->n_ctx,
           protocols[e->protocol]);
    md_text(e);
    putchar('\n');
  }
  if (e->n_questions) {
    md_recall(e);
    putchar('\n');
  }
  if (e->n_prompts) {
    md_greedy(e);
    putchar('\n');
  }
  md_cost(e);
}

/* --------------------------------------------------------------------------------------------------- csv and json */

static void print_rows(const struct eval *e, const char *format) {
  static const char *const protocols[] = {"perplexity", "A", "B", "D"};
  struct cli_table t = {.to = stdout, .format = format, .name = "eval"};
  for (size_t i = 0; i < e->n_configs; i++) {
    const struct eval_config *c = &e->configs[i];
    struct row r = row_of(e, c);
    const struct cli_field fields[] = {
        cli_text("model", *e->info.name ? e->info.name : e->info.architecture),
        cli_text("cache", c->name),
        cli_text("isa", e->info.isa),
        cli_text("protocol", protocols[e->protocol]),
        cli_integer("n_ctx", e->n_ctx),
        cli_real("bits_stored", c->bits_stored),
        cli_real("bits_all", c->bits_all),
        cli_integer("cache_bytes", c->cache_bytes),
        cli_integer("memory_bytes", c->memory_bytes),
        cli_real("encoded", r.encoded),
        cli_integer("predictions", c->predictions),
        cli_real("perplexity", r.perplexity),
        cli_real("kld_mean", r.kld),
        cli_real("kld_se", r.kld_se),
        cli_real("kld_median", r.kld_median),
        cli_real("kld_99", r.kld_99),
        cli_real("kld_max", r.kld_max),
        cli_real("same_top1", r.same_top),
        cli_reals("kld_quarters", r.quarters, c->predictions ? QUARTERS : 0),
        cli_integer("questions", e->n_questions),
        cli_integer("right", r.right),
        cli_integer("lost", r.lost),
        cli_integer("won", r.won),
        cli_real("recall", r.recall),
        cli_real("recall_change", r.change),
        cli_real("recall_change_lo", r.change_lo),
        cli_real("recall_change_hi", r.change_hi),
        cli_integer("greedy_prompts", e->n_prompts),
        cli_real("greedy_median", r.greedy_median),
        cli_real("greedy_mean", r.greedy_mean),
        cli_real("read_ts", r.read_rate),
        cli_real("decode_ts", r.decode_rate),
    };
    cli_table_row(&t, fields, sizeof fields / sizeof fields[0]);
  }
  cli_table_end(&t);
}

void eval_print(struct eval *e, const char *format) {
  if (format[0] == 'm')
    print_md(e);
  else
    print_rows(e, format);
}

/* ------------------------------------------------------------------------------------------------------------ checks
 */

bool eval_check_encoded(const struct eval *e) {
  bool ok = true;
  for (size_t i = 1; i < e->n_configs; i++) {
    const struct eval_config *c = &e->configs[i];
    if (c->encoded >= 0.8 * c->attended) continue;
    fprintf(stderr,
            "thimble eval: %s: only %.0f %% of the attended tokens were encoded, 80 %% are needed: use a longer -c or "
            "a smaller --kv-window\n",
            c->name, 100 * c->encoded / c->attended);
    ok = false;
  }
  return ok;
}

/* ------------------------------------------------------------------------------------------------------------ picture
 */

/* What goes up: loss of quality. */
static double badness(const struct eval *e, const struct eval_config *c) {
  struct row r = row_of(e, c);
  if (c->predictions) return fmax(r.kld, 1e-8);
  return e->n_questions ? 100 * r.recall : r.greedy_median;
}

static bool better(bool low, double a, double b) {
  return low ? a < b : a > b;
}

/* No other configuration is as small and as good. */
static bool on_front(const struct eval *e, const struct eval_config *c, bool low) {
  for (size_t i = 1; i < e->n_configs; i++) {
    const struct eval_config *o = &e->configs[i];
    if (o == c) continue;
    const double ob = badness(e, o), cb = badness(e, c);
    if (o->bits_stored <= c->bits_stored && !better(low, cb, ob) &&
        (o->bits_stored < c->bits_stored || better(low, ob, cb)))
      return false;
  }
  return true;
}

static void plot_points(const struct eval *e, const struct cli_plot *p, const char *name, bool front_only, bool low) {
  fprintf(p->script, "$%s << EOD\n", name);
  for (size_t i = 1; i < e->n_configs; i++) {
    const struct eval_config *c = &e->configs[i];
    if (front_only && !on_front(e, c, low)) continue;
    fprintf(p->script, "%.6g %.6g \"", c->bits_stored, badness(e, c));
    cli_plot_text(p, c->name);
    fputs("\"\n", p->script);
  }
  fputs("EOD\n", p->script);
}

bool eval_plot(struct eval *e, const char *path) {
  struct cli_plot p;
  const bool low = e->configs[0].predictions > 0;
  if (!cli_plot_begin(&p, "eval", path, "Quality against bytes")) return false;
  plot_points(e, &p, "all", false, low);
  plot_points(e, &p, "front", true, low);
  fprintf(p.script,
          "set xlabel 'bits per cached value, as stored'\nset ylabel '%s'\n%s"
          "set logscale x 2\nset offsets graph 0, graph 0.15, 0, 0\n"
          "plot $front using 1:2 smooth unique with lines lw 2 lc rgb '#d95f02' title 'Pareto front', "
          "$all using 1:2 with points pt 7 ps 0.9 lc rgb '#1f77b4' notitle, "
          "$all using 1:2:3 with labels left offset 0.8,0.5 noenhanced notitle\n",
          low              ? "KL divergence from the f32 cache, nats"
          : e->n_questions ? "right answers, %"
                           : "same greedy tokens, median",
          low ? "set logscale y\nset format y '10^{%T}'\n" : "");
  return cli_plot_end(&p);
}
