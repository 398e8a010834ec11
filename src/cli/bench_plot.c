/* Tokens per second against depth. */
#include <string.h>
#include "cli/bench.h"
#include "cli/plot.h"

static bool same_line(const struct bench_result *a, const struct bench_result *b) {
  const struct bench_test *x = &a->test, *y = &b->test;
  const char *xn = x->plan ? x->plan_name : x->type_k, *yn = y->plan ? y->plan_name : y->type_k;
  return a->file == b->file && x->n_threads == y->n_threads && x->n_batch == y->n_batch && x->n_prompt == y->n_prompt &&
         x->n_gen == y->n_gen && strcmp(xn, yn) == 0 && strcmp(x->type_v, y->type_v) == 0;
}

/* Index of the first result of its line. */
static size_t line_of(const struct bench_result *r, size_t i) {
  size_t j = 0;
  while (!same_line(&r[j], &r[i]))
    j++;
  return j;
}

static void title(const struct cli_plot *p, const struct bench_result *r, bool models) {
  struct bench_test t = r->test;
  char name[64], text[256];
  t.n_depth = 0;
  bench_test_name(&t, name);
  const char *k = t.plan ? t.plan_name : t.type_k;
  if (t.plan || strcmp(k, t.type_v) == 0)
    snprintf(text, sizeof text, "%s %.60s", name, k);
  else
    snprintf(text, sizeof text, "%s %.60s/%.60s", name, k, t.type_v);
  cli_plot_text(p, text);
  if (models) {
    fputc(' ', p->script);
    cli_plot_text(p, r->file);
  }
}

bool bench_plot(const char *path, const struct bench_result *r, size_t n) {
  struct cli_plot p;
  bool any = false, models = false;
  if (n == 0) return true;
  for (size_t i = 0; i < n; i++)
    models = models || r[i].file != r[0].file;
  const char *slash = strrchr(r[0].file, '/');
  if (!cli_plot_begin(&p, "bench", path, models ? "Speed against context" : slash ? slash + 1 : r[0].file))
    return false;
  for (size_t i = 0; i < n; i++) {
    if (line_of(r, i) != i) continue;
    fprintf(p.script, "$d%zu << EOD\n", i);
    for (size_t j = i; j < n; j++)
      if (line_of(r, j) == i) fprintf(p.script, "%u %.4f %.4f\n", r[j].test.n_depth, r[j].mean, r[j].deviation);
    fputs("EOD\n", p.script);
  }
  fputs("set xlabel 'tokens in the cache'\nset ylabel 'tokens/s'\nset yrange [0:*]\nset bars 0\nplot ", p.script);
  for (size_t i = 0; i < n; i++) {
    if (line_of(r, i) != i) continue;
    fprintf(p.script, "%s$d%zu using 1:2:3 with yerrorlines lw 2 pt 7 ps 0.6 title \"", any ? ", " : "", i);
    title(&p, &r[i], models);
    fputc('"', p.script);
    any = true;
  }
  fputc('\n', p.script);
  return cli_plot_end(&p);
}
