/* token_ids VOCABULARY.gguf TEXT [best|own|pcre2] [plain]: the ids of a text file, one line, without BOS and EOS; special
 * tokens in the text are parsed unless "plain". For peer_tokens.py: unlike `thimble tokenize` it opens files that hold a
 * vocabulary and no model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/tokenizer_impl.h"

static char *read_file(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  char *text = NULL;
  size_t cap = 0, got = 1;
  for (*n = 0; got > 0; *n += got) {
    if (cap - *n < 65536) text = realloc(text, cap = cap * 2 + 65536);
    got = text ? fread(text + *n, 1, 65536, f) : 0;
  }
  fclose(f);
  return text;
}

static int print_ids(const struct tb_tokenizer *t, const char *text, size_t n, unsigned flags) {
  struct tb_tokens ids = {0};
  struct tb_error err;
  if (tb_tokenizer_encode(t, text, n, flags, &ids, &err) != TB_OK) return fprintf(stderr, "%s\n", err.text), 1;
  for (size_t i = 0; i < ids.n; i++) printf("%s%d", i ? " " : "", (int)ids.data[i]);
  putchar('\n');
  tb_free(&tb_system_allocator, ids.data);
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 3) return fprintf(stderr, "usage: token_ids VOCABULARY.gguf TEXT [best|own|pcre2] [plain]\n"), 2;
  const char *name = argc > 3 ? argv[3] : "best";
  enum tb_pretok_engine engine = strcmp(name, "own") == 0     ? TB_PRETOK_OWN
                                 : strcmp(name, "pcre2") == 0 ? TB_PRETOK_PCRE2
                                                              : TB_PRETOK_BEST;
  unsigned flags = argc > 4 && strcmp(argv[4], "plain") == 0 ? 0 : TB_TOKENIZE_SPECIAL_PARSE;
  size_t n;
  char *text = read_file(argv[2], &n);
  if (!text) return fprintf(stderr, "%s: cannot be read\n", argv[2]), 1;
  struct tb_gguf *g = NULL;
  struct tb_tokenizer *t = NULL;
  struct tb_error err;
  int rc = 1;
  if (tb_gguf_open(&g, argv[1], &tb_system_allocator, &err) != TB_OK ||
      tb_tokenizer_create_with(&t, g, engine, &tb_system_allocator, &err) != TB_OK)
    fprintf(stderr, "%s: %s\n", argv[1], err.text);
  else
    rc = print_ids(t, text, n, flags);
  tb_tokenizer_free(t);
  tb_gguf_free(g);
  free(text);
  return rc;
}
