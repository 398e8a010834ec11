/* thimble tokenize: standard input to tokens, one per line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/cli.h"

static void print_piece(const struct tb_model *m, tb_token id) {
  char piece[512];
  size_t n = tb_token_text(m, id, true, piece, sizeof piece);
  if (n > sizeof piece) n = sizeof piece;
  printf("%d\t", id);
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)piece[i];
    if (c == '\n')
      fputs("\\n", stdout);
    else if (c == '\t')
      fputs("\\t", stdout);
    else if (c == '\\')
      fputs("\\\\", stdout);
    else if (c < 0x20 || c == 0x7f)
      printf("\\x%02x", c);
    else
      putchar(c);
  }
  putchar('\n');
}

int cmd_tokenize(int argc, char **argv) {
  const char *path = NULL, *file = "-";
  bool ids_only = false, no_special = false, no_parse = false, help = false;
  const struct cli_option options[] = {
      {"-m", "--model", CLI_STRING, &path, 0, 0, "FILE", "GGUF file (default: the bundled model)"},
      {"-f", "--file", CLI_STRING, &file, 0, 0, "FILE", "text to read instead of standard input"},
      {NULL, "--ids", CLI_FLAG, &ids_only, 0, 0, NULL, "print ids alone, separated by blanks"},
      {NULL, "--no-bos", CLI_FLAG, &no_special, 0, 0, NULL, "do not add the tokens that the model wants at the ends"},
      {NULL, "--no-parse-special", CLI_FLAG, &no_parse, 0, 0, NULL,
       "take text that spells a special token as plain text"},
      {"-h", "--help", CLI_FLAG, &help, 0, 0, NULL, "this text"},
      {0},
  };
  size_t n_rest, length, n = 0;
  if (!cli_parse("tokenize", options, argc, argv, NULL, 0, &n_rest)) return CLI_USAGE;
  if (help) {
    puts("usage: thimble tokenize [-m FILE] [--ids] < TEXT");
    cli_print_options(options);
    return CLI_OK;
  }
  char *text = cli_read_file("tokenize", file, &length);
  if (!text) return CLI_FAILED;
  struct tb_model *model = cli_open_model("tokenize", path);
  int code = CLI_FAILED;
  tb_token *ids = NULL;
  if (!model) goto end;
  unsigned flags = (no_special ? 0 : TB_TOKENIZE_SPECIAL_ADD) | (no_parse ? 0 : TB_TOKENIZE_SPECIAL_PARSE);
  struct tb_error err;
  size_t cap = length + 16;
  ids = malloc(cap * sizeof *ids);
  if (!ids || tb_tokenize(model, text, length, flags, ids, cap, &n, &err) != TB_OK) {
    if (ids) cli_report("tokenize", &err);
    goto end;
  }
  if (n > cap) n = cap;
  for (size_t i = 0; i < n; i++) {
    if (ids_only)
      printf("%s%d", i ? " " : "", ids[i]);
    else
      print_piece(model, ids[i]);
  }
  if (ids_only) putchar('\n');
  code = CLI_OK;
end:
  free(ids);
  tb_model_free(model);
  free(text);
  return code;
}
