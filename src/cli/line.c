#include "cli/line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/cli.h"

#ifdef TB_HAVE_LIBEDIT
#include <editline/readline.h>
#endif

static char *give_up(char *text) {
  fprintf(stderr, "thimble: a question that is too long: no memory, or more than %d MiB\n", CLI_TEXT_MAX >> 20);
  free(text);
  return NULL;
}

static char *plain_line(const char *prompt, bool interactive) {
  if (interactive) {
    fputs(prompt, stdout);
    fflush(stdout);
  }
  char *line = NULL;
  size_t n = 0, cap = 0;
  for (int c = 0; c != '\n' && (c = getc_unlocked(stdin)) != EOF;) {
    if (n + 1 >= cap) {
      char *grown = n < CLI_TEXT_MAX ? realloc(line, cap = cap * 2 + 128) : NULL;
      if (!grown) return give_up(line);
      line = grown;
    }
    line[n++] = (char)c;
    line[n] = '\0';
  }
  if (ferror(stdin)) {
    free(line);
    return NULL;
  }
  while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
    line[--n] = '\0';
  return line;
}

static char *one_line(const char *prompt, bool interactive) {
#ifdef TB_HAVE_LIBEDIT
  if (interactive) {
    char *line = readline(prompt);
    if (line && *line) add_history(line);
    return line;
  }
#endif
  return plain_line(prompt, interactive);
}

/* text + newline + more; frees `more`. */
static char *join(char *text, size_t *n, char *more) {
  const bool first = !text;
  size_t add = strlen(more);
  char *grown = *n + add < CLI_TEXT_MAX ? realloc(text, *n + add + 2) : NULL;
  if (!grown) {
    free(more);
    return give_up(text);
  }
  if (!first) grown[(*n)++] = '\n';
  memcpy(grown + *n, more, add + 1);
  *n += add;
  free(more);
  return grown;
}

static char *read_block(bool interactive, size_t *length) {
  char *text = NULL;
  *length = 0;
  for (char *more; (more = one_line("... ", interactive));) {
    if (strcmp(more, "\"\"\"") == 0) {
      free(more);
      break;
    }
    if (!text) {
      text = more;
      *length = strlen(more);
    } else if (!(text = join(text, length, more))) {
      return NULL;
    }
  }
  return text ? text : calloc(1, 1);
}

char *cli_read_line(const char *prompt, bool interactive, size_t *length) {
  char *line = one_line(prompt, interactive);
  if (!line || cli_interrupted()) {
    free(line);
    return NULL;
  }
  if (strcmp(line, "\"\"\"") == 0) {
    free(line);
    return read_block(interactive, length);
  }
  *length = strlen(line);
  while (*length && line[*length - 1] == '\\') {
    line[--*length] = '\0';
    char *more = one_line("... ", interactive);
    if (!more) break;
    if (!(line = join(line, length, more))) return NULL;
  }
  return line;
}
