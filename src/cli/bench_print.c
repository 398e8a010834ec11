/* Results in llama-bench's formats, with columns of our own behind its. */
#include <math.h>
#include <string.h>
#include "cli/bench.h"
#include "cli/table.h"

/* Share of the measured read bandwidth that generating uses; NAN where a prompt is read. */
static double bandwidth_share(const struct bench_result *r) {
  return r->test.n_prompt || !(r->bandwidth > 0) ? NAN : r->mean * bench_touched(r) / r->bandwidth;
}

/* Share of what the instructions could multiply that reading a prompt does, with its weights; NAN for other tests. */
static double peak_share(const struct bench_result *r) {
  return r->multiply_peak > 0 ? r->mean * (double)r->model.macs_per_token / r->multiply_peak : NAN;
}

static const char *type_k(const struct bench_test *t) {
  return t->plan ? t->plan_name : t->type_k;
}

static const char *type_v(const struct bench_test *t) {
  return t->plan ? "" : t->type_v;
}

static void md_head(const struct bench_printer *p) {
  fputs("| model | size | params | backend | threads |", p->to);
  if (p->batch) fputs(" n_batch |", p->to);
  if (p->cache) fputs(" type_k | type_v |", p->to);
  fputs(" test | t/s | KV B/token | peak MiB | anonymous MiB | bandwidth or integer peak used |", p->to);
  if (p->heat) fputs(" °C | MHz | throttled |", p->to);
  fputs("\n| --- | ---: | ---: | --- | ---: |", p->to);
  if (p->batch) fputs(" ---: |", p->to);
  if (p->cache) fputs(" ---: | ---: |", p->to);
  fputs(" ---: | ---: | ---: | ---: | ---: | ---: |", p->to);
  fputs(p->heat ? " ---: | ---: | --- |\n" : "\n", p->to);
}

static void md_heat(FILE *to, const struct bench_sensors *s) {
  if (s->celsius > 0) fprintf(to, " %.0f", s->celsius);
  fputs(" |", to);
  if (s->mhz > 0) fprintf(to, " %.0f", s->mhz);
  fprintf(to, " | %s |", s->throttled < 0 ? "" : s->throttled ? "yes" : "no");
}

static void print_md(struct bench_printer *p, const struct bench_result *r) {
  const struct bench_test *t = &r->test;
  char name[64];
  bench_test_name(t, name);
  if (p->rows == 0) md_head(p);
  fprintf(p->to, "| %s %s | %.2f GiB | %.2f B | CPU %s | %u |", r->model.architecture, r->model.name,
          (double)r->model.file_bytes / 0x1p30, (double)r->model.n_params / 1e9, r->model.isa, t->n_threads);
  if (p->batch) fprintf(p->to, " %u |", t->n_batch);
  if (p->cache) fprintf(p->to, " %s | %s |", type_k(t), type_v(t));
  fprintf(p->to, " %s | %.2f ± %.2f | %.0f |", name, r->mean, r->deviation, r->cache_per_token);
  if (r->peak) fprintf(p->to, " %.0f | %.0f |", (double)r->peak / 0x1p20, (double)r->anonymous / 0x1p20);
  if (!r->peak) fputs(" | |", p->to);
  if (isfinite(bandwidth_share(r)))
    fprintf(p->to, " %.0f %% of %.1f GB/s", 100 * bandwidth_share(r), r->bandwidth / 1e9);
  if (isfinite(peak_share(r))) fprintf(p->to, " %.0f %% of %.0f GMAC/s", 100 * peak_share(r), r->multiply_peak / 1e9);
  fputs(" |", p->to);
  if (p->heat) md_heat(p->to, &r->after);
  fputc('\n', p->to);
  fflush(p->to);
}

static double or_nan(double v) {
  return v > 0 ? v : NAN;
}

static void print_fields(struct bench_printer *p, const struct bench_result *r) {
  const struct bench_test *t = &r->test;
  const double tokens = t->n_prompt + t->n_gen;
  double ns[BENCH_REPEATS], ts[BENCH_REPEATS], mean = 0, squares = 0;
  for (size_t i = 0; i < r->n_samples; i++) {
    ns[i] = round(r->samples[i] * 1e9);
    ts[i] = tokens / r->samples[i];
    mean += ns[i] / (double)r->n_samples;
  }
  for (size_t i = 0; i < r->n_samples; i++)
    squares += (ns[i] - mean) * (ns[i] - mean);
  struct tb_machine machine;
  tb_get_machine(&machine);
  char test[64];
  bench_test_name(t, test);
  const struct cli_field fields[] = {
      cli_text("build_commit", bench_commit),
      cli_text("build_compiler", bench_compiler),
      cli_text("engine", "thimble " TB_VERSION),
      cli_text("cpu_info", machine.cpu),
      cli_integer("cpus", machine.cpus),
      cli_integer("performance_cores", machine.performance_cores),
      cli_text("backends", "CPU"),
      cli_text("isa", r->model.isa),
      cli_text("model_filename", r->file),
      cli_text("model_type", *r->model.name ? r->model.name : r->model.architecture),
      cli_integer("model_size", r->model.file_bytes),
      cli_integer("model_n_params", r->model.n_params),
      cli_integer("n_batch", t->n_batch),
      cli_integer("n_ubatch", t->n_batch),
      cli_integer("n_threads", t->n_threads),
      cli_text("type_k", type_k(t)),
      cli_text("type_v", type_v(t)),
      cli_text("test", test),
      cli_integer("n_prompt", t->n_prompt),
      cli_integer("n_gen", t->n_gen),
      cli_integer("n_depth", t->n_depth),
      cli_text("test_time", r->time),
      cli_real("avg_ns", mean),
      cli_real("stddev_ns", r->n_samples > 1 ? sqrt(squares / (double)(r->n_samples - 1)) : 0),
      cli_real("avg_ts", r->mean),
      cli_real("stddev_ts", r->deviation),
      cli_integer("kv_bytes", r->cache_bytes),
      cli_real("kv_bytes_per_token", r->cache_per_token),
      cli_integer("weight_bytes_per_token", r->model.bytes_per_token),
      cli_real("bytes_touched_per_token", t->n_prompt ? NAN : bench_touched(r)),
      cli_real("read_bandwidth", or_nan(r->bandwidth)),
      cli_real("bandwidth_used", bandwidth_share(r)),
      cli_real("integer_peak", or_nan(r->multiply_peak)),
      cli_real("integer_peak_used", peak_share(r)),
      cli_real("peak_rss", or_nan((double)r->peak)),
      cli_real("peak_anonymous", or_nan((double)r->anonymous)),
      cli_real("celsius_before", or_nan(r->before.celsius)),
      cli_real("celsius_after", or_nan(r->after.celsius)),
      cli_real("mhz", or_nan(r->after.mhz)),
      cli_real("throttled", r->after.throttled < 0 ? NAN : r->after.throttled),
      cli_reals("samples_ns", ns, r->n_samples),
      cli_reals("samples_ts", ts, r->n_samples),
  };
  struct cli_table table = {.to = p->to, .format = p->format, .name = "test", .rows = p->rows};
  cli_table_row(&table, fields, sizeof fields / sizeof fields[0]);
}

void bench_print(struct bench_printer *p, const struct bench_result *r) {
  if (strcmp(p->format, "md") == 0)
    print_md(p, r);
  else
    print_fields(p, r);
  p->rows++;
}

void bench_print_end(struct bench_printer *p) {
  struct tb_machine machine;
  struct cli_table table = {.to = p->to, .format = p->format, .rows = p->rows};
  if (strcmp(p->format, "md") != 0) {
    cli_table_end(&table);
  } else if (p->rows) {
    tb_get_machine(&machine);
    fprintf(p->to, "\n%s, %u CPUs (%u for threads); thimble " TB_VERSION " %s, %s\n", machine.cpu, machine.cpus,
            machine.performance_cores, bench_commit, bench_compiler);
  }
}
