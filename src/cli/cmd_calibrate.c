/* thimble calibrate: measures a model once, for the cache types that adapt to it and for the planner. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "cli/cli.h"

struct calibrate_args {
  const char *model, *text, *out;
  struct tb_calibrate_options options;
  bool quiet, help;
};

struct progress {
  double started, shown;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool show(void *user, size_t done, size_t total) {
  struct progress *p = user;
  const double t = now();
  if (p->started == 0) p->started = t;
  if (isatty(STDERR_FILENO) && (t - p->shown > 0.5 || done >= total)) {
    const double left = done ? (t - p->started) / (double)done * (double)(total - done) : 0;
    if (done >= total)
      fputs("\r\033[Kwriting the profile", stderr);
    else if (done)
      fprintf(stderr, "\r\033[K%zu / %zu tokens, %.0f s left", done, total, left);
    p->shown = t;
  }
  return !cli_interrupted();
}

static void print_result(const char *path, double seconds) {
  struct tb_profile_info info;
  fprintf(stderr, "[%s, %.1f s]\n", path, seconds);
  if (tb_profile_read_info(path, NULL, &info, NULL) != TB_OK || !info.losses) return;
  fprintf(stderr, "[loss in nats, predicted and measured: %.2g and %.2g at about 2 bits, %.2g and %.2g at about 4]\n",
          info.check[0].predicted, info.check[0].measured, info.check[1].predicted, info.check[1].measured);
}

static int calibrate(const struct calibrate_args *a, const struct tb_model *model, const char *path) {
  char text_path[4096], at_hand[4096];
  const char *from = a->text, *to = a->out;
  if (!from && !cli_data_file("texts", "calibrate", ".txt", text_path, sizeof text_path)) {
    fprintf(stderr, "thimble calibrate: the default text is not installed: give one with -f FILE\n");
    return CLI_USAGE;
  }
  if (!from) from = text_path;
  if (!to && !(to = cli_profile_place(path, at_hand, sizeof at_hand))) {
    fprintf(stderr, "thimble calibrate: no place for the profile: give one with -o FILE\n");
    return CLI_USAGE;
  }
  size_t length;
  struct tb_error err;
  struct progress progress = {0};
  char *text = cli_read_file("calibrate", from, &length);
  if (!text) return CLI_USAGE;
  enum tb_status status = tb_calibrate(model, text, length, to, &a->options, show, &progress, &err);
  free(text);
  if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
  if (!status && (status = cli_check_model(model, &err))) remove(to);
  if (status) return cli_report("calibrate", &err);
  if (!a->quiet) print_result(to, now() - progress.started);
  return CLI_OK;
}

int cmd_calibrate(int argc, char **argv) {
  struct calibrate_args a = {0};
  const struct cli_option options[] = {
      {"-m", "--model", CLI_STRING, &a.model, 0, 0, "FILE", "GGUF file (default: the bundled model)"},
      {"-f", "--file", CLI_STRING, &a.text, 0, 0, "FILE", "text to measure on (default: one that comes along)"},
      {"-o", "--output", CLI_STRING, &a.out, 0, 0, "FILE",
       "the profile (default: beside the model or in the user's cache, where it is found by itself)"},
      {"-n", "--tokens", CLI_U32, &a.options.n_tokens, 0, 1u << 28, "N", "tokens of the text (16384)"},
      {"-c", "--ctx-size", CLI_U32, &a.options.n_ctx, 0, 1u << 24, "N", "tokens of the text taken at a time (2048)"},
      {"-b", "--batch-size", CLI_U32, &a.options.n_batch, 1, 4096, "N", "tokens computed together (512)"},
      {"-t", "--threads", CLI_U32, &a.options.n_threads, 1, TB_MAX_THREADS, "N",
       "threads (default: the performance cores)"},
      {NULL, "--no-losses", CLI_FLAG, &a.options.no_losses, 0, 0, NULL,
       "leave out what each cache type loses; the planner then guesses"},
      {"-q", "--quiet", CLI_FLAG, &a.quiet, 0, 0, NULL, "say nothing when all is well"},
      {"-h", "--help", CLI_FLAG, &a.help, 0, 0, NULL, "this text"},
      {0},
  };
  size_t n_rest;
  char bundled[4096];
  if (!cli_parse("calibrate", options, argc, argv, NULL, 0, &n_rest)) return CLI_USAGE;
  if (a.help) {
    puts("usage: thimble calibrate [-m FILE] [-f TEXT] [-o PROFILE]");
    cli_print_options(options);
    return CLI_OK;
  }
  cli_catch_signals();
  struct tb_model *model = cli_open_model("calibrate", a.model);
  if (!model) return CLI_FAILED;
  const char *path = a.model;
  if (!path && cli_bundled_model(bundled, sizeof bundled)) path = bundled;
  int code = cli_guard_model(model) ? calibrate(&a, model, path) : CLI_FAILED;
  cli_unguard_model();
  tb_model_free(model);
  return cli_interrupt_code(code);
}
