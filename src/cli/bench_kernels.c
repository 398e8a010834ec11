/* thimble bench --kernels: every kernel of this CPU, one by one, beside its reference. */
#include "cli/bench_kernels.h"

#include <math.h>
#include <string.h>
#include "bench/kernels.h"
#include "cli/bench.h"
#include "cli/table.h"

struct kernels_args {
  const char *filter, *format, *before, *after;
  uint32_t threads, mib, width, columns, head, heads;
  bool kernels, help;
};

struct kernels_print {
  const char *format;
  struct cli_table table;
  struct kernel_times times;
};

/* Of integer peak and read bandwidth; NAN where the kernel has none. Weights too large for a cache when they were
 * tried, else operands in the cache: over 1 the kernel waits for memory wherever its operands come from there. */
static double peak_share(const struct kernels_result *r) {
  return r->macs / r->seconds / r->peak;
}

static double memory_share(const struct kernels_result *r) {
  return (isfinite(r->memory) ? r->memory : r->bytes / r->seconds) / r->roof;
}

static void print_cell(bool there, const char *format, double a, double b) {
  fputs(" ", stdout);
  if (there) printf(format, a, b);
  fputs(" |", stdout);
}

static void print_md(const struct kernels_print *p, const struct kernels_result *r) {
  if (p->times.n == 0)
    puts("| kernel | ns | GB/s | GMAC/s | of integer peak | of read bandwidth | x reference |\n"
         "| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
  printf("| %s | %.4g |", r->name, 1e9 * r->seconds);
  print_cell(r->bytes > 0, "%.2f", 1e-9 * r->bytes / r->seconds, 0);
  print_cell(r->macs > 0, "%.1f", 1e-9 * r->macs / r->seconds, 0);
  print_cell(isfinite(peak_share(r)), "%.0f %% of %.0f", 100 * peak_share(r), 1e-9 * r->peak);
  print_cell(isfinite(memory_share(r)), "%.0f %% of %.1f", 100 * memory_share(r), 1e-9 * r->roof);
  print_cell(isfinite(r->reference), "%.1f", r->reference / r->seconds, 0);
  putchar('\n');
}

static bool print_one(void *user, const struct kernels_result *r) {
  struct kernels_print *p = user;
  if (cli_interrupted()) return false;
  const struct cli_field fields[] = {
      cli_text("kernel", r->name),
      cli_real("ns", 1e9 * r->seconds),
      cli_real("bytes", r->bytes),
      cli_real("gb_per_s", r->bytes > 0 ? 1e-9 * r->bytes / r->seconds : NAN),
      cli_real("gmac_per_s", r->macs > 0 ? 1e-9 * r->macs / r->seconds : NAN),
      cli_real("integer_peak", r->peak),
      cli_real("integer_peak_used", peak_share(r)),
      cli_real("read_bandwidth", r->roof),
      cli_real("bandwidth_used", memory_share(r)),
      cli_real("ratio_to_reference", r->reference / r->seconds),
  };
  if (p->format[0] == 'm')
    print_md(p, r);
  else
    cli_table_row(&p->table, fields, sizeof fields / sizeof fields[0]);
  fflush(stdout);
  kernel_times_add(&p->times, r->name, 1e9 * r->seconds);
  return true;
}

static bool is_multiple(const char *option, uint32_t v, uint32_t of) {
  if (v % of) fprintf(stderr, "thimble bench: %s: %u is not a multiple of %u\n", option, v, of);
  return v % of == 0;
}

static int compare_files(const struct kernels_args *a) {
  static struct kernel_times before, after;
  if (!kernel_times_read(&before, a->before) || !kernel_times_read(&after, a->after)) return CLI_FAILED;
  return kernel_times_compare(stdout, &before, &after);
}

static int measure(const struct kernels_args *a) {
  static struct kernels_print p;
  static struct kernel_times before;
  const struct kernels_options o = {.filter = a->filter,
                                    .isa = cli_isa(),
                                    .threads = a->threads,
                                    .mib = a->mib,
                                    .width = a->width,
                                    .columns = a->columns,
                                    .head = a->head,
                                    .heads = a->heads};
  p.format = a->format;
  p.table = (struct cli_table){.to = stdout, .format = a->format, .name = "kernels"};
  if (a->before && !kernel_times_read(&before, a->before)) return CLI_FAILED;
  cli_catch_signals();
  const char *failed = kernels_run(&o, print_one, &p);
  if (p.times.n > 0 && a->format[0] != 'm') cli_table_end(&p.table);
  if (failed) {
    fprintf(stderr, "thimble bench: --kernels: %s\n", failed);
    return CLI_FAILED;
  }
  if (cli_interrupted()) return cli_interrupt_code(CLI_FAILED);
  if (p.times.n == 0) {
    fprintf(stderr, "thimble bench: --filter: no kernel of this CPU has '%s' in its name\n", a->filter);
    return CLI_USAGE;
  }
  return a->before ? kernel_times_compare(a->format[0] == 'm' ? stdout : stderr, &before, &p.times) : CLI_OK;
}

int bench_kernels(int argc, char **argv) {
  struct kernels_args a = {
      .format = "md", .threads = 1, .mib = 256, .width = 2048, .columns = 512, .head = 128, .heads = 4};
  const struct cli_option options[] = {
      {NULL, "--kernels", CLI_FLAG, &a.kernels, 0, 0, NULL, "single kernels, one thread, operands in the cache"},
      {NULL, "--filter", CLI_STRING, &a.filter, 0, 0, "TEXT", "only those with TEXT in their name: gemv/q4_0, avx2"},
      {"-t", "--threads", CLI_U32, &a.threads, 1, TB_MAX_THREADS, "N", "threads for what no cache holds (1)"},
      {NULL, "--mib", CLI_U32, &a.mib, 1, 65536, "N", "MiB of that (256)"},
      {NULL, "--width", CLI_U32, &a.width, 256, 16384, "N", "values of a row of weights or of a vector (2048)"},
      {NULL, "--columns", CLI_U32, &a.columns, 1, 4096, "N", "columns of gemm (512)"},
      {NULL, "--head", CLI_U32, &a.head, 32, 512, "N", "values of a key (128)"},
      {NULL, "--heads", CLI_U32, &a.heads, 1, KERNELS_HEADS, "N", "query heads that share a KV head (4)"},
      {"-o", "--output", CLI_STRING, &a.format, 0, 0, "FORMAT", "md, csv, json, jsonl or sql"},
      {NULL, "--compare", CLI_STRING, &a.before, 0, 0, "FILE [FILE]",
       "verdicts on an older output (md or json) and this run, or another"},
      {"-h", "--help", CLI_FLAG, &a.help, 0, 0, NULL, "this text"},
      {0},
  };
  size_t n_rest;
  if (!cli_parse("bench", options, argc, argv, &a.after, 1, &n_rest)) return CLI_USAGE;
  if (a.help) {
    puts(
        "usage: thimble bench --kernels [--filter TEXT] [-t N]\n       thimble bench --kernels --compare BEFORE AFTER");
    cli_print_options(options);
    return CLI_OK;
  }
  if (a.after && !a.before) {
    fprintf(stderr, "thimble bench: unexpected argument '%s'\n", a.after);
    return CLI_USAGE;
  }
  if (!bench_known_format("-o", a.format) || !is_multiple("--width", a.width, 256) ||
      !is_multiple("--head", a.head, 32))
    return CLI_USAGE;
  return a.after ? compare_files(&a) : measure(&a);
}
