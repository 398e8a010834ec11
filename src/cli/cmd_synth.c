/* thimble synth: a GGUF with random weights in the shape of a real model. */
#include <stdio.h>
#include <stdlib.h>
#include "cli/cli.h"

int cmd_synth(int argc, char **argv) {
  const char *shape = NULL, *type = "q4_0", *out = NULL;
  uint64_t seed = 1;
  bool help = false;
  const struct cli_option options[] = {
      {NULL, "--shape", CLI_STRING, &shape, 0, 0, "NAME", "a shape of bench/shapes (llama-3.2-1b) or a shape file"},
      {NULL, "--type", CLI_STRING, &type, 0, 0, "TYPE", "weight type: q4_0 (default), q8_0, f16, q4_k_m ..."},
      {"-o", "--output", CLI_STRING, &out, 0, 0, "FILE", "file to write"},
      {"-s", "--seed", CLI_U64, &seed, 0, 0, "N", "seed of the weights (default 1)"},
      {"-h", "--help", CLI_FLAG, &help, 0, 0, NULL, "this text"},
      {0},
  };
  size_t n_rest;
  if (!cli_parse("synth", options, argc, argv, NULL, 0, &n_rest)) return CLI_USAGE;
  if (help) {
    puts("usage: thimble synth --shape NAME [--type TYPE] -o FILE");
    cli_print_options(options);
    return CLI_OK;
  }
  if (!shape || !out) {
    fprintf(stderr, "thimble synth: %s is needed\n", shape ? "-o FILE" : "--shape NAME");
    return CLI_USAGE;
  }
  char *text = cli_read_shape("synth", shape);
  if (!text) return CLI_FAILED;
  struct tb_synth_options synth = {.shape = text, .type = type, .seed = seed};
  struct tb_error err;
  enum tb_status status = tb_synth(out, &synth, NULL, &err);
  free(text);
  return status == TB_OK ? CLI_OK : cli_report("synth", &err);
}
