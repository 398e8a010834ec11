/* What the verbs share about memory: the budget's words, planning before a context is made, planned against real. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli.h"

static const char *const prefer_names[] = {"quality", "speed", "context"};

/* "2G", "1.5GiB", "800M", "2": GiB without a unit. 0 when it is none of these. */
static uint64_t parse_ram(const char *text) {
  char *end;
  double v = strtod(text, &end), unit = 0x1p30;
  if (end == text || !(v > 0) || text[0] == '-' || text[0] == '+') return 0;
  if (*end == 'M' || *end == 'm') unit = 0x1p20;
  if (strchr("GgMm", *end) && *end) end++;
  if (strcmp(end, "iB") == 0 || strcmp(end, "B") == 0) end += strlen(end);
  v *= unit;
  return *end || v < 1 || v > 0x1p50 ? 0 : (uint64_t)v;
}

bool cli_memory_options(const char *verb, const struct cli_memory *m, struct tb_plan_options *out) {
  if (m->ram && !(out->ram = parse_ram(m->ram))) {
    fprintf(stderr, "thimble %s: --ram: '%s' is not a size like 2G (GiB) or 800M (MiB)\n", verb, m->ram);
    return false;
  }
  for (int i = 0; m->prefer && i < 3; i++) {
    out->prefer = (enum tb_prefer)i;
    if (strcmp(m->prefer, prefer_names[i]) == 0) return true;
  }
  if (m->prefer) fprintf(stderr, "thimble %s: --prefer: '%s' is not quality, speed or context\n", verb, m->prefer);
  return !m->prefer;
}

const char *cli_bytes(char buf[32], uint64_t bytes) {
  if (bytes >= (uint64_t)1 << 30)
    snprintf(buf, 32, "%.2f GiB", (double)bytes / 0x1p30);
  else if (bytes >= 10 << 20)
    snprintf(buf, 32, "%.1f MiB", (double)bytes / 0x1p20);
  else
    snprintf(buf, 32, "%.2f MiB", (double)bytes / 0x1p20);
  return buf;
}

/* The total that a limit is held against. */
static uint64_t total_of(const struct tb_plan_info *info, const char *total) {
  switch (total[0]) {
  case 'f':
    return info->fast;
  case 'h':
    return info->hard;
  case 'a':
    return info->address;
  default:
    return info->data;
  }
}

void cli_print_refusal(FILE *f, const char *verb, const struct tb_plan *plan) {
  struct tb_plan_info info;
  char a[32], b[32];
  tb_plan_get_info(plan, &info);
  fprintf(f, "thimble %s: memory: %s with a context of %u tokens does not fit", verb, info.name, info.n_ctx);
  bool any = false;
  for (size_t i = 0; i < info.n_limits; i++) {
    struct tb_plan_limit l;
    tb_plan_get_limit(plan, i, &l);
    uint64_t need = total_of(&info, l.total);
    if (need <= l.bytes || (l.total[0] == 'f' && strcmp(l.source, "--ram") != 0)) continue;
    fprintf(f, "%s it takes %s, %s allows %s", any ? ";" : ":", cli_bytes(a, need), l.source, cli_bytes(b, l.bytes));
    any = true;
  }
  fputs(info.n_settings ? "\nThese settings fit:\n" : "\nNo setting of this model fits.\n", f);
  for (size_t i = 0; i < info.n_settings; i++) {
    struct tb_plan_setting s;
    tb_plan_get_setting(plan, i, &s);
    fprintf(f, "  %-40s %8u tokens  %10s  loss %.2g\n", s.options, s.n_ctx, cli_bytes(a, s.fast), s.loss);
  }
}

int cli_plan_context(const char *verb, const char *model, const struct cli_memory *m,
                     const struct tb_sampler_options *sampler, struct tb_context_options *options, struct tb_plan **plan) {
  struct tb_plan_options o = {.context = *options, .sampler = sampler};
  struct tb_error err;
  char bundled[4096];
  if (!cli_memory_options(verb, m, &o)) return CLI_USAGE;
  if (!model) {
    if (!cli_bundled_model(bundled, sizeof bundled)) return CLI_OK; /* opening the model says so */
    model = bundled;
  }
  cli_reading(model);
  if (tb_plan_file(plan, model, &o, &err) != TB_OK) return cli_report(verb, &err);
  struct tb_plan_info info;
  tb_plan_get_info(*plan, &info);
  if (!info.fits) {
    cli_print_refusal(stderr, verb, *plan);
    return CLI_USAGE;
  }
  if (info.paging)
    fprintf(stderr,
            "thimble %s: the weights do not stay in memory (%s) and are read from disk again and again: this will be "
            "slow\n",
            verb, info.limited_by ? info.limited_by : "limits");
  if (options->kv_spill && !options->kv_recall && info.n_spilled)
    fprintf(stderr, "thimble %s: %u layers keep clusters of their cache in a file in %s\n", verb, info.n_spilled,
            options->kv_spill);
  if (!info.n_spilled && !options->kv_plan) options->kv_spill = NULL; /* memory is enough */
  options->kv_resident = options->kv_spill ? options->kv_resident : 0;
  options->n_ctx = info.n_ctx;
  options->n_threads = info.n_threads;
  options->kv_plan = info.text;
  options->type_k = options->type_v = NULL;
  return CLI_OK;
}

/* The registry's name, which stays when a plan is freed. */
static const char *lasting(const char *type) {
  for (const char *const *name = tb_cache_types(); *name; name++)
    if (strcmp(*name, type) == 0) return *name;
  return NULL;
}

/* The types that all layers have, where every token is kept and read as it is, and the registry knows them by these names
 * (without parameters); NULL elsewhere. */
static void same_types(const struct tb_plan *plan, struct cli_planned *out) {
  struct tb_plan_info info;
  struct tb_plan_layer_info first, l;
  tb_plan_get_info(plan, &info);
  tb_plan_get_layer(plan, 0, &first);
  for (uint32_t i = 0; i < info.n_layer; i++) {
    tb_plan_get_layer(plan, i, &l);
    if (l.recall || l.merged || strcmp(l.type_k, first.type_k) != 0 || strcmp(l.type_v, first.type_v) != 0) return;
  }
  const char *k = lasting(first.type_k), *v = lasting(first.type_v);
  if (!k || !v) return;
  out->type_k = k;
  out->type_v = v;
}

int cli_plan_cache(const char *verb, const char *path, const char *shape, const char *type, const struct cli_memory *m,
                   const struct tb_context_options *options, struct cli_planned *out) {
  struct tb_plan_options o = {.context = *options};
  struct tb_plan *plan = NULL;
  struct tb_plan_info info;
  struct tb_error err;
  *out = (struct cli_planned){0};
  if (!cli_memory_options(verb, m, &o)) return CLI_USAGE;
  if (path) cli_reading(path);
  if ((path ? tb_plan_file(&plan, path, &o, &err) : tb_plan_shape(&plan, shape, type, &o, &err)) != TB_OK)
    return cli_report(verb, &err);
  tb_plan_get_info(plan, &info);
  int code = info.fits ? CLI_OK : CLI_USAGE;
  if (!info.fits)
    cli_print_refusal(stderr, verb, plan);
  else if (!(out->text = strdup(info.text)))
    code = CLI_FAILED;
  else if (!m->ram && !m->prefer)
    same_types(plan, out);
  tb_plan_free(plan);
  return code;
}

static void print_pair(const char *name, uint64_t planned, uint64_t real) {
  char a[32], b[32];
  fprintf(stderr, "  %-28s %12s %12s", name, cli_bytes(a, planned), cli_bytes(b, real));
  if (planned) fprintf(stderr, " %8.3f", (double)real / (double)planned);
  fputc('\n', stderr);
}

void cli_print_memory(const struct tb_plan *plan) {
  struct tb_plan_info info;
  struct tb_memory_usage u;
  tb_memory_get_usage(&u);
  tb_plan_get_info(plan, &info);
  uint64_t files = 0, kernel = 0;
  for (size_t i = 0; i < info.n_classes; i++) {
    struct tb_plan_class c;
    tb_plan_get_class(plan, i, &c);
    if (c.kind == TB_MEMORY_FILE) files += c.bytes;
    if (c.kind == TB_MEMORY_KERNEL) kernel += c.bytes;
  }
  fprintf(stderr, "\n  %-28s %12s %12s %8s\n", "memory", "planned", "real", "ratio");
  print_pair("anonymous (RssAnon)", info.anonymous, u.anonymous);
  print_pair("files (RssFile, at most)", files, u.file);
  print_pair("both, peak (VmHWM)", info.anonymous + files, u.peak);
  print_pair("page tables (VmPTE)", kernel, u.page_tables);
  print_pair("address space (VmPeak)", info.address, u.address);
  print_pair("writable (VmData)", info.data, u.data);
}

void cli_print_recall(const struct tb_context *ctx) {
  struct tb_recall_stats r;
  char bytes[32];
  tb_recall_get_stats(ctx, &r);
  if (r.choices == 0) return;
  fprintf(stderr, "\n  recall, per generated token, layer and choice:\n");
  fprintf(stderr, "    tokens attended to / held  %12.0f %12.0f %8.1f %%\n", (double)r.attended / (double)r.choices,
          (double)r.held / (double)r.choices, 100 * (double)r.attended / (double)r.held);
  fprintf(stderr, "    clusters chosen            %12.1f, chosen before too %.1f %%\n",
          (double)r.chosen / (double)r.choices, r.chosen ? 100 * (double)r.again / (double)r.chosen : 0);
  fprintf(stderr, "    bytes read                 %12s\n", cli_bytes(bytes, r.bytes / r.choices));
  if (r.pages == 0) return;
  fprintf(stderr, "    pages wanted               %12.1f, in memory already %.1f %%\n",
          (double)r.pages / (double)r.choices, 100 - 100 * (double)r.pages_read / (double)r.pages);
  fprintf(stderr, "    bytes read from the file   %12s\n", cli_bytes(bytes, r.bytes_read / r.choices));
}

/* ------------------------------------------------------------------------------------------------------------- shapes
 */

char *cli_read_shape(const char *verb, const char *shape) {
  size_t length;
  char path[4096];
  if (strchr(shape, '/') || strchr(shape, '.')) {
    if (access(shape, R_OK) == 0) return cli_read_file(verb, shape, &length);
  }
  if (cli_data_file("shapes", shape, ".txt", path, sizeof path)) return cli_read_file(verb, path, &length);
  fprintf(stderr, "thimble %s: --shape: no shape file and no known shape is called '%s'\n", verb, shape);
  return NULL;
}
