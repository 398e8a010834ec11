#include "cli/plan_plot.h"

#include <string.h>
#include "cli/plot.h"

enum { FIRST = 1024, STEPS = 40 };

#define LEAST 1e-9 /* losses below are drawn there: the axis is logarithmic */

/* "K/V" or one name for both, into k and v. */
static bool split(const char *cache, char k[32], char v[32], struct tb_error *err) {
  const size_t n = strcspn(cache, "/");
  const char *value = cache[n] ? cache + n + 1 : cache;
  if (n == 0 || n >= 32 || strlen(value) >= 32 || !*value) {
    err->status = TB_E_ARG;
    snprintf(err->text, sizeof err->text, "--plot-cache: '%.60s' is not TYPE or KTYPE/VTYPE", cache);
    return false;
  }
  snprintf(k, 32, "%.*s", (int)n, cache);
  snprintf(v, 32, "%s", value);
  return true;
}

/* Memory with this cache at n_ctx tokens. */
static bool measure(const struct plan_plot *p, const struct tb_plan_options *base, const char *cache, uint32_t n_ctx,
                    struct tb_plan_info *info, struct tb_error *err) {
  struct tb_plan *plan;
  struct tb_plan_options o = *base;
  char k[32], v[32];
  if (!split(cache, k, v, err)) return false;
  o.elsewhere = true;
  o.context.kv_plan = NULL;
  o.context.type_k = k;
  o.context.type_v = v;
  o.context.n_ctx = n_ctx;
  if (p->make(p->source, &o, &plan, err) != TB_OK) return false;
  tb_plan_get_info(plan, info);
  info->name = info->architecture = info->limited_by = info->text = NULL; /* they go with the plan */
  tb_plan_free(plan);
  return true;
}

static bool line(const struct plan_plot *p, const struct tb_plan_options *base, const struct cli_plot *plot, size_t i,
                 const char *cache) {
  struct tb_plan_info info;
  struct tb_error err;
  if (!measure(p, base, cache, FIRST, &info, &err)) return false;
  const uint32_t last = base->context.n_ctx > info.n_ctx_train ? base->context.n_ctx : info.n_ctx_train;
  fprintf(plot->script, "$d%zu << EOD\n", i);
  for (uint32_t n = FIRST;; n = n > last / 2 ? last : n * 2) {
    if (!measure(p, base, cache, n, &info, &err)) return false;
    fprintf(plot->script, "%u %.6f\n", n, (double)info.fast / 0x1p30);
    if (n >= last) break;
  }
  fputs("EOD\n", plot->script);
  return true;
}

static void legend(const struct cli_plot *plot, const struct cli_list *caches, uint64_t ram) {
  fputs("set xlabel 'context, tokens'\nset ylabel 'memory, GiB: weights, cache, everything else'\nset logscale x 2\n"
        "set yrange [0:*]\nset key top left\nplot ",
        plot->script);
  for (size_t i = 0; i < caches->n; i++) {
    fprintf(plot->script, "%s$d%zu using 1:2 with linespoints lw 2 pt 7 ps 0.6 title \"", i ? ", " : "", i);
    cli_plot_text(plot, caches->items[i]);
    fputc('"', plot->script);
  }
  if (ram) fprintf(plot->script, ", %.6f with lines dt 2 lc rgb '#888888' title '--ram'", (double)ram / 0x1p30);
  fputc('\n', plot->script);
}

/* Complains before a picture is begun. */
static bool all_known(const struct plan_plot *p, const struct tb_plan_options *base, const struct cli_list *caches) {
  struct tb_plan_info info;
  struct tb_error err;
  for (size_t i = 0; i < caches->n; i++)
    if (!measure(p, base, caches->items[i], FIRST, &info, &err)) {
      cli_report("plan", &err);
      return false;
    }
  return true;
}

bool plan_plot(const struct plan_plot *p, const struct tb_plan_options *base) {
  struct cli_list usual = {0};
  const struct cli_list *caches = p->caches->n ? p->caches : &usual;
  struct tb_plan_info info;
  struct tb_error err;
  struct cli_plot plot;
  for (const char *const *n = tb_cache_types(); *n && usual.n < CLI_LIST_MAX; n++) /* not all types serve both sides */
    if (strcmp(*n, "f32") != 0 && measure(p, base, *n, FIRST, &info, &err)) usual.items[usual.n++] = *n;
  if (!all_known(p, base, caches) || !cli_plot_begin(&plot, "plan", p->path, p->title)) return false;
  bool ok = true;
  for (size_t i = 0; ok && i < caches->n; i++)
    ok = line(p, base, &plot, i, caches->items[i]);
  if (ok) legend(&plot, caches, base->ram);
  return cli_plot_end(&plot) && ok;
}

/* ---------------------------------------------------------------------------------------------------- loss and memory
 */

/* The planner's choice of types at n_ctx tokens within `ram` bytes (0: no limit). */
static bool choose(const struct plan_plot *p, const struct tb_plan_options *base, uint32_t n_ctx, uint64_t ram,
                   struct tb_plan_info *info, struct tb_error *err) {
  struct tb_plan *plan;
  struct tb_plan_options o = *base;
  o.elsewhere = true;
  o.ram = ram;
  o.context.n_ctx = n_ctx;
  o.context.kv_plan = o.context.type_k = o.context.type_v = NULL;
  if (p->make(p->source, &o, &plan, err) != TB_OK) return false;
  tb_plan_get_info(plan, info);
  info->name = info->architecture = info->limited_by = info->text = NULL; /* they go with the plan */
  tb_plan_free(plan);
  return true;
}

static void point(const struct cli_plot *plot, const struct tb_plan_info *info) {
  fprintf(plot->script, "%.6f %.9g\n", (double)info->fast / 0x1p30, info->loss > LEAST ? info->loss : LEAST);
}

/* From the smallest plan to the one that no memory makes better. */
static bool curve(const struct plan_plot *p, const struct tb_plan_options *base, uint32_t n_ctx,
                  const struct cli_plot *plot, struct tb_error *err) {
  struct tb_plan_info least, most, info;
  if (!choose(p, base, n_ctx, 1, &least, err) || !choose(p, base, n_ctx, 0, &most, err)) return false;
  fputs("$curve << EOD\n", plot->script);
  for (uint64_t i = 0; i <= STEPS; i++) {
    if (!choose(p, base, n_ctx, least.fast + (most.fast - least.fast) / STEPS * i, &info, err)) return false;
    if (info.fits) point(plot, &info);
  }
  point(plot, &most);
  fputs("EOD\n", plot->script);
  return true;
}

static bool uniform(const struct plan_plot *p, const struct tb_plan_options *base, uint32_t n_ctx, const char *cache,
                    const struct cli_plot *plot, struct tb_error *err) {
  struct tb_plan_info info;
  if (!measure(p, base, cache, n_ctx, &info, err)) return false;
  fprintf(plot->script, "set label \"  ");
  cli_plot_text(plot, cache);
  fprintf(plot->script, "\" noenhanced at %.6f, %.9g point pt 7 ps 0.8 lc rgb '#444444'\n", (double)info.fast / 0x1p30,
          info.loss > LEAST ? info.loss : LEAST);
  return true;
}

bool plan_plot_loss(const struct plan_plot *p, const struct tb_plan_options *base, const struct tb_plan_info *chosen) {
  struct tb_plan_info info;
  struct tb_error err;
  struct cli_plot plot;
  if (!all_known(p, base, p->caches) || !cli_plot_begin(&plot, "plan", p->path, p->title)) return false;
  bool ok = true;
  for (const char *const *n = tb_cache_types(); ok && !p->caches->n && *n; n++)
    if (strcmp(*n, "f32") != 0 && measure(p, base, *n, chosen->n_ctx, &info, &err))
      ok = uniform(p, base, chosen->n_ctx, *n, &plot, &err);
  for (size_t i = 0; ok && i < p->caches->n; i++)
    ok = uniform(p, base, chosen->n_ctx, p->caches->items[i], &plot, &err);
  ok = ok && curve(p, base, chosen->n_ctx, &plot, &err);
  fputs("$chosen << EOD\n", plot.script);
  point(&plot, chosen);
  fprintf(plot.script,
          "EOD\nset xlabel 'memory, GiB: weights, cache, everything else, at %u tokens'\n"
          "set ylabel 'predicted loss (%s)'\nset logscale y\nset format y '%%.0e'\nset key top right\n"
          "plot $curve using 1:2 with lines lw 2 lc 2 title 'planned layer by layer', "
          "$chosen using 1:2 with points pt 9 ps 2 lc 3 title 'chosen'\n",
          chosen->n_ctx, chosen->calibrated ? "nats" : "uncalibrated");
  if (!ok) cli_report("plan", &err);
  return cli_plot_end(&plot) && ok;
}
