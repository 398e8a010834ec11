/* The text behind ':' in a type name: words and numbers joined by '+'. */
#ifndef TB_CACHE_STORE_ARGS_H
#define TB_CACHE_STORE_ARGS_H

#include <stdbool.h>
#include <string.h>

/* Takes `text` when *p begins with it. */
static inline bool tb_arg_word(const char **p, const char *text) {
  size_t n = strlen(text);
  if (strncmp(*p, text, n) != 0) return false;
  *p += n;
  return true;
}

/* Takes digits; false when there are none, or the number is above `most`. */
static inline bool tb_arg_number(const char **p, unsigned most, unsigned *out) {
  unsigned v = 0, digits = 0;
  for (; **p >= '0' && **p <= '9' && digits < 9; ++*p, digits++)
    v = 10 * v + (unsigned)(**p - '0');
  *out = v;
  return digits > 0 && v <= most;
}

/* Moves on behind the '+', or to NULL at the end; false for anything else. */
static inline bool tb_arg_next(const char **p) {
  if (**p != '\0' && **p != '+') return false;
  *p = **p ? *p + 1 : NULL;
  return true;
}

#endif
