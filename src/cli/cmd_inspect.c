/* thimble inspect: what is in a GGUF file. */
#include <stdio.h>
#include "cli/cli.h"

static bool write_text(void *user, const char *text, size_t length) {
  (void)user;
  return fwrite(text, 1, length, stdout) == length;
}

int cmd_inspect(int argc, char **argv) {
  const char *file = NULL;
  bool help = false;
  const struct cli_option options[] = {
      {"-m", "--model", CLI_STRING, &file, 0, 0, "FILE", "the file; may also be given without -m"},
      {"-h", "--help", CLI_FLAG, &help, 0, 0, NULL, "this text"},
      {0},
  };
  size_t n_rest;
  const char *rest[1];
  char bundled[4096];
  if (!cli_parse("inspect", options, argc, argv, rest, 1, &n_rest)) return CLI_USAGE;
  if (help) {
    puts("usage: thimble inspect [FILE] (default: the bundled model)");
    cli_print_options(options);
    return CLI_OK;
  }
  if (n_rest) file = rest[0];
  if (!file && cli_bundled_model(bundled, sizeof bundled)) file = bundled;
  if (!file) {
    fprintf(stderr, "thimble inspect: no file given\n");
    return CLI_USAGE;
  }
  struct tb_error err;
  cli_reading(file);
  if (tb_inspect(file, NULL, write_text, NULL, &err) != TB_OK && !ferror(stdout)) return cli_report("inspect", &err);
  return CLI_OK;
}
