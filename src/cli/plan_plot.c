#include "cli/plan_plot.h"

#include <string.h>
#include "cli/plot.h"

enum { FIRST = 1024 };

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

bool plan_plot(const struct plan_plot *p, const struct tb_plan_options *base) {
  struct cli_list usual = {0};
  const struct cli_list *caches = p->caches->n ? p->caches : &usual;
  struct tb_plan_info info;
  struct tb_error err;
  struct cli_plot plot;
  for (const char *const *n = tb_cache_types(); *n && usual.n < CLI_LIST_MAX; n++) /* not all types serve both sides */
    if (strcmp(*n, "f32") != 0 && measure(p, base, *n, FIRST, &info, &err)) usual.items[usual.n++] = *n;
  for (size_t i = 0; i < caches->n; i++) /* complain before a picture is begun */
    if (!measure(p, base, caches->items[i], FIRST, &info, &err)) {
      cli_report("plan", &err);
      return false;
    }
  if (!cli_plot_begin(&plot, "plan", p->path, p->title)) return false;
  bool ok = true;
  for (size_t i = 0; ok && i < caches->n; i++)
    ok = line(p, base, &plot, i, caches->items[i]);
  if (ok) legend(&plot, caches, base->ram);
  return cli_plot_end(&plot) && ok;
}
