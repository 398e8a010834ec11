/* thimble plan: what fits in memory, and with which cache types, before anything is loaded. Exit code 2: nothing fits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/plan_plot.h"
#include "cli/plot.h"

struct plan_args {
  const char *model, *shape, *out, *plot, *plot_loss;
  struct cli_list plot_caches;
  uint32_t n_ctx, n_batch, threads;
  struct cli_cache cache;
  struct cli_memory memory;
  bool json, help;
};

/* A model file, or the text of a shape (owned) and a weight type. */
struct plan_source {
  const char *path, *type;
  char *shape;
};

/* --------------------------------------------------------------------------------------------------------------- text
 */

static bool same_layer(const struct tb_plan_layer_info *a, const struct tb_plan_layer_info *b) {
  return strcmp(a->type_k, b->type_k) == 0 && strcmp(a->type_v, b->type_v) == 0 && a->window == b->window &&
         a->sinks == b->sinks && a->recall == b->recall && a->resident == b->resident &&
         a->merged == b->merged && a->bytes == b->bytes &&
         a->n_kv == b->n_kv && a->d_k == b->d_k && a->d_v == b->d_v;
}

static void print_layers(const struct tb_plan *plan, uint32_t n_layer) {
  char buf[32], range[24];
  bool recall = false;
  for (uint32_t i = 0; i < n_layer; i++) {
    struct tb_plan_layer_info l;
    tb_plan_get_layer(plan, i, &l);
    recall |= l.recall > 0;
  }
  printf("\n  %-10s %-12s %-12s %-10s %12s %10s %10s%s\n", "layers", "keys", "values", "KV heads", "each", "loss each",
         "us each", recall ? "     recall" : "");
  for (uint32_t i = 0, last; i < n_layer; i = last + 1) {
    struct tb_plan_layer_info a, b;
    tb_plan_get_layer(plan, i, &a);
    for (last = i; last + 1 < n_layer; last++) {
      tb_plan_get_layer(plan, last + 1, &b);
      if (!same_layer(&a, &b)) break;
    }
    if (last > i)
      snprintf(range, sizeof range, "%u-%u", i, last);
    else
      snprintf(range, sizeof range, "%u", i);
    char heads[40];
    snprintf(heads, sizeof heads, "%u x %u", a.n_kv, a.d_k);
    printf("  %-10s %-12s %-12s %-10s %12s %10.2g %10.1f", range, a.type_k, a.type_v, heads, cli_bytes(buf, a.bytes),
           a.loss, a.us);
    if (recall && a.recall) printf(" %10u", a.recall);
    if (a.resident) printf(" (%u in memory)", a.resident);
    if (a.merged) printf(" merged with %u", a.merged > 0 ? i + 1 : i - 1);
    putchar('\n');
  }
}

static const char *cell(char buf[32], uint64_t bytes) {
  return bytes ? cli_bytes(buf, bytes) : "-";
}

static void print_classes(const struct tb_plan *plan, const struct tb_plan_info *info) {
  static const char *const kinds[] = {"anonymous", "file", "kernel"};
  char a[32], b[32], c[32], d[32];
  printf("\n  %-26s %-10s %12s %12s %12s %12s\n", "memory", "kind", "size", "fast", "hard", "address");
  for (size_t i = 0; i < info->n_classes; i++) {
    struct tb_plan_class k;
    tb_plan_get_class(plan, i, &k);
    printf("  %-26s %-10s %12s %12s %12s %12s\n", k.name, kinds[k.kind], cell(a, k.bytes), cell(b, k.fast),
           cell(c, k.hard), cell(d, k.address));
  }
  printf("  %-26s %-10s %12s %12s %12s %12s\n", "total", "", "", cell(b, info->fast), cell(c, info->hard),
         cell(d, info->address));
}

static void print_limits(const struct tb_plan *plan, const struct tb_plan_info *info) {
  char a[32];
  puts(info->n_limits ? "" : "\n  no limits are known");
  for (size_t i = 0; i < info->n_limits; i++) {
    struct tb_plan_limit l;
    tb_plan_get_limit(plan, i, &l);
    printf("  limit  %-28s %12s  for the %s total\n", l.source, cli_bytes(a, l.bytes), l.total);
  }
}

static void print_more(const struct tb_plan *plan, const struct tb_plan_info *info) {
  char a[32];
  if (info->n_settings) puts("\n  more memory would buy");
  for (size_t i = 0; i < info->n_settings; i++) {
    struct tb_plan_setting s;
    tb_plan_get_setting(plan, i, &s);
    printf("    --ram %.2fG %-28s %8u tokens, %s of cache, loss %.2g\n", (double)s.ram / 0x1p30, s.options, s.n_ctx,
           cli_bytes(a, s.cache), s.loss);
  }
}

static void print_text(const struct tb_plan *plan) {
  struct tb_plan_info info;
  char a[32], b[32];
  tb_plan_get_info(plan, &info);
  printf("%s (%s, %u layers): context %u of %u tokens, %u threads, batches of %u\n", info.name, info.architecture,
         info.n_layer, info.n_ctx, info.n_ctx_train, info.n_threads, info.n_batch);
  printf("  cache %s, loss %.2g (%s)\n", cli_bytes(a, info.cache), info.loss,
         info.calibrated ? "calibrated" : "uncalibrated");
  printf("  attention about %.0f us per token when the context is full, %.2f of f16 (estimates, at 20 GB/s)\n", info.us,
         info.us_f16 > 0 ? info.us / info.us_f16 : 1);
  if (info.n_spilled) printf("  %u layers keep clusters in a file (--kv-spill)\n", info.n_spilled);
  printf("  fast %s, hard %s%s\n", cli_bytes(a, info.fast), cli_bytes(b, info.hard),
         info.paging ? "; the weights do not stay in memory: slow" : "");
  if (info.limited_by) printf("  limited by %s\n", info.limited_by);
  print_layers(plan, info.n_layer);
  print_classes(plan, &info);
  print_limits(plan, &info);
  if (info.fits) print_more(plan, &info);
}

/* --------------------------------------------------------------------------------------------------------------- JSON
 */

static void json_string(const char *name, const char *value, const char *after) {
  printf("\"%s\": ", name);
  if (!value) {
    printf("null%s", after);
    return;
  }
  putchar('"');
  for (const unsigned char *p = (const unsigned char *)value; *p; p++)
    if (*p == '"' || *p == '\\')
      printf("\\%c", *p);
    else if (*p < 0x20 || *p == 0x7f)
      printf("\\u%04x", *p);
    else
      putchar(*p);
  printf("\"%s", after);
}

static void json_number(const char *name, uint64_t value, const char *after) {
  printf("\"%s\": %llu%s", name, (unsigned long long)value, after);
}

static void json_head(const struct tb_plan_info *i) {
  static const char *const prefer[] = {"quality", "speed", "context"};
  fputs("{\n  \"schema\": \"thimble-plan-report 1\",\n  ", stdout);
  json_string("model", i->name, ", ");
  json_string("architecture", i->architecture, ",\n  ");
  printf("\"fits\": %s, \"paging\": %s, \"calibrated\": %s, ", i->fits ? "true" : "false", i->paging ? "true" : "false",
         i->calibrated ? "true" : "false");
  json_string("prefer", prefer[i->prefer], ", ");
  json_string("limited_by", i->limited_by, ",\n  ");
  json_number("n_ctx", i->n_ctx, ", ");
  json_number("n_ctx_train", i->n_ctx_train, ", ");
  json_number("n_batch", i->n_batch, ", ");
  json_number("n_threads", i->n_threads, ", ");
  json_number("n_layer", i->n_layer, ",\n  ");
  printf("\"loss\": %.9g, \"us\": %.6g, \"us_f16\": %.6g, ", i->loss, i->us, i->us_f16);
  json_number("cache", i->cache, ", ");
  json_number("anonymous", i->anonymous, ", ");
  json_number("mapped", i->mapped, ",\n  ");
  json_number("fast", i->fast, ", ");
  json_number("hard", i->hard, ", ");
  json_number("address", i->address, ", ");
  json_number("data", i->data, ",\n  ");
}

static void json_layers(const struct tb_plan *plan, uint32_t n) {
  fputs("\"layers\": [\n", stdout);
  for (uint32_t i = 0; i < n; i++) {
    struct tb_plan_layer_info l;
    tb_plan_get_layer(plan, i, &l);
    fputs("    {", stdout);
    json_string("keys", l.type_k, ", ");
    json_string("values", l.type_v, ", ");
    json_number("window", l.window, ", ");
    json_number("sinks", l.sinks, ", ");
    json_number("recall", l.recall, ", ");
    json_number("resident", l.resident, ", ");
    printf("\"merged\": %d, ", l.merged);
    json_number("bytes", l.bytes, ", ");
    printf("\"loss\": %.9g, \"us\": %.6g}%s\n", l.loss, l.us, i + 1 < n ? "," : "");
  }
  fputs("  ],\n  ", stdout);
}

static void json_classes(const struct tb_plan *plan, size_t n) {
  static const char *const kinds[] = {"anonymous", "file", "kernel"};
  fputs("\"memory\": [\n", stdout);
  for (size_t i = 0; i < n; i++) {
    struct tb_plan_class c;
    tb_plan_get_class(plan, i, &c);
    fputs("    {", stdout);
    json_string("name", c.name, ", ");
    json_string("kind", kinds[c.kind], ", ");
    json_number("bytes", c.bytes, ", ");
    json_number("fast", c.fast, ", ");
    json_number("hard", c.hard, ", ");
    json_number("address", c.address, ", ");
    json_number("data", c.data, i + 1 < n ? "},\n" : "}\n");
  }
  fputs("  ],\n  ", stdout);
}

static void json_limits(const struct tb_plan *plan, size_t n) {
  fputs("\"limits\": [", stdout);
  for (size_t i = 0; i < n; i++) {
    struct tb_plan_limit l;
    tb_plan_get_limit(plan, i, &l);
    fputs(i ? ",\n    {" : "\n    {", stdout);
    json_string("source", l.source, ", ");
    json_string("total", l.total, ", ");
    json_number("bytes", l.bytes, "}");
  }
  fputs("],\n  ", stdout);
}

static void json_settings(const struct tb_plan *plan, size_t n) {
  fputs("\"settings\": [", stdout);
  for (size_t i = 0; i < n; i++) {
    struct tb_plan_setting s;
    tb_plan_get_setting(plan, i, &s);
    fputs(i ? ",\n    {" : "\n    {", stdout);
    json_string("options", s.options, ", ");
    json_number("ram", s.ram, ", ");
    json_number("n_ctx", s.n_ctx, ", ");
    json_number("fast", s.fast, ", ");
    json_number("hard", s.hard, ", ");
    json_number("cache", s.cache, ", ");
    printf("\"loss\": %.9g}", s.loss);
  }
  fputs("]\n}\n", stdout);
}

static void print_json(const struct tb_plan *plan) {
  struct tb_plan_info info;
  tb_plan_get_info(plan, &info);
  json_head(&info);
  json_layers(plan, info.n_layer);
  json_classes(plan, info.n_classes);
  json_limits(plan, info.n_limits);
  json_settings(plan, info.n_settings);
}

/* --------------------------------------------------------------------------------------------------------------- verb
 */

/* "llama-3.2-1b:q4_0"; q4_0 when no type is named. */
static enum tb_status make_plan(void *source, const struct tb_plan_options *o, struct tb_plan **plan,
                                struct tb_error *err) {
  const struct plan_source *s = source;
  return s->shape ? tb_plan_shape(plan, s->shape, s->type, o, err) : tb_plan_file(plan, s->path, o, err);
}

/* The text of "llama-3.2-1b:q4_0"; false when there is none (said). */
static bool find_shape(struct plan_source *s, const char *spec) {
  char name[1024];
  const char *colon = strrchr(spec, ':');
  const size_t n = colon ? (size_t)(colon - spec) : strlen(spec);
  snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), spec);
  s->type = colon ? colon + 1 : "q4_0";
  s->shape = cli_read_shape("plan", name);
  return s->shape != NULL;
}

static bool write_plan(const struct tb_plan *plan, const char *path) {
  struct tb_plan_info info;
  tb_plan_get_info(plan, &info);
  struct cli_output o;
  if (!cli_output_begin(&o, "plan", "-o", path)) return false;
  fputs(info.text, o.file);
  return cli_output_end(&o, true);
}

static int report(const struct plan_args *a, const struct tb_plan *plan) {
  struct tb_plan_info info;
  tb_plan_get_info(plan, &info);
  if (a->json)
    print_json(plan);
  else
    print_text(plan);
  fflush(stdout);
  if (!info.fits) cli_print_refusal(stderr, "plan", plan);
  if (!info.fits) return CLI_USAGE;
  return a->out && !write_plan(plan, a->out) ? CLI_FAILED : CLI_OK;
}

static int plan_it(const struct plan_args *a, struct plan_source *source, struct tb_plan_options *o) {
  struct tb_plan *plan = NULL;
  struct tb_error err;
  if (a->plot) {
    const struct plan_plot plot = {a->plot, a->shape ? a->shape : source->path, &a->plot_caches, make_plan, source};
    return plan_plot(&plot, o) ? CLI_OK : CLI_FAILED;
  }
  if (make_plan(source, o, &plan, &err) != TB_OK) return cli_report("plan", &err);
  bool drawn = true;
  if (a->plot_loss) {
    const struct plan_plot plot = {a->plot_loss, a->shape ? a->shape : source->path, &a->plot_caches, make_plan, source};
    struct tb_plan_info chosen;
    tb_plan_get_info(plan, &chosen);
    drawn = plan_plot_loss(&plot, o, &chosen);
  }
  const int code = drawn ? report(a, plan) : CLI_FAILED;
  tb_plan_free(plan);
  return code;
}

static int run(const struct plan_args *a, struct tb_plan_options *o) {
  struct plan_source source = {.path = a->model};
  char bundled[4096];
  if ((a->plot && !cli_plot_possible("plan", a->plot)) || (a->plot_loss && !cli_plot_possible("plan", a->plot_loss)))
    return CLI_USAGE;
  if (!a->model && !a->shape && cli_bundled_model(bundled, sizeof bundled)) source.path = bundled;
  if (!source.path && !a->shape) {
    fprintf(stderr, "thimble plan: -m FILE or --shape NAME:TYPE is needed\n");
    return CLI_USAGE;
  }
  if (a->shape && !find_shape(&source, a->shape)) return CLI_USAGE;
  if (!a->shape) cli_reading(source.path);
  if (a->shape) o->elsewhere = o->ram > 0; /* a shape is planned for the machine that has this much */
  const int code = plan_it(a, &source, o);
  free(source.shape);
  return code;
}

int cmd_plan(int argc, char **argv) {
  struct plan_args a = {0};
  const struct cli_option options[] = {
      {"-m", "--model", CLI_STRING, &a.model, 0, 0, "FILE", "GGUF file (default: the bundled model)"},
      {NULL, "--shape", CLI_STRING, &a.shape, 0, 0, "NAME:TYPE",
       "instead of a file: a shape and a weight type, llama-3.2-1b:q4_0"},
      CLI_MEMORY_OPTIONS(a.memory),
      {"-c", "--ctx-size", CLI_U32, &a.n_ctx, 0, 1u << 30, "N", "context in tokens (0: chosen)"},
      {"-b", "--batch-size", CLI_U32, &a.n_batch, 1, 4096, "N", "prompt tokens computed together (512; small models 256)"},
      {"-t", "--threads", CLI_U32, &a.threads, 1, TB_MAX_THREADS, "N", "threads (default: the performance cores)"},
      CLI_CACHE_TYPE_OPTIONS(a.cache),
      CLI_CACHE_OPTIONS(a.cache),
      {NULL, "--json", CLI_FLAG, &a.json, 0, 0, NULL, "the report as JSON"},
      {"-o", "--output", CLI_STRING, &a.out, 0, 0, "FILE", "write the plan, for --kv-plan"},
      {NULL, "--plot", CLI_STRING, &a.plot, 0, 0, "FILE",
       "instead: memory against context for several cache types as .svg or .png, through gnuplot"},
      {NULL, "--plot-loss", CLI_STRING, &a.plot_loss, 0, 0, "FILE",
       "loss against memory, with what was chosen, as .svg or .png"},
      {NULL, "--plot-cache", CLI_LIST, &a.plot_caches, 0, 0, "K/V", "a cache type of the pictures; may be repeated"},
      {"-h", "--help", CLI_FLAG, &a.help, 0, 0, NULL, "this text"},
      {0},
  };
  size_t n_rest;
  if (!cli_parse("plan", options, argc, argv, NULL, 0, &n_rest)) return CLI_USAGE;
  if (a.help) {
    puts("usage: thimble plan [-m FILE | --shape NAME:TYPE] [--ram SIZE] [-c N]; exit code 2: it does not fit");
    cli_print_options(options);
    return CLI_OK;
  }
  struct tb_plan_options o = {.context = {.n_ctx = a.n_ctx, .n_batch = a.n_batch, .n_threads = a.threads}};
  int code = CLI_USAGE;
  if (a.shape && !a.cache.profile) a.cache.profile = "none";
  if (cli_cache_open("plan", &a.cache, a.model, &o.context) && cli_memory_options("plan", &a.memory, &o)) code = run(&a, &o);
  cli_cache_close(&a.cache);
  return code;
}
