/* Command-line options as tables: an option is its names, what it takes, where the value goes, and one line of help.
 * Accepted forms: -n 5, -n5 is not, --predict 5, --predict=5; a flag takes nothing. */
#ifndef TB_CLI_ARGS_H
#define TB_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cli_kind {
  CLI_FLAG,   /* bool *target: true */
  CLI_UNFLAG, /* bool *target: false */
  CLI_STRING, /* const char **target */
  CLI_LIST,   /* struct cli_list *target: may be given several times */
  CLI_U32,    /* uint32_t *target, min … max */
  CLI_I32,    /* int32_t *target, min … max */
  CLI_U64,    /* uint64_t *target */
  CLI_FLOAT,  /* float *target, min … max */
  CLI_IGNORED /* takes a value; one notice (target: const char * text) */
};

enum { CLI_LIST_MAX = 16 };

struct cli_list {
  const char *items[CLI_LIST_MAX];
  size_t n;
};

struct cli_option {
  const char *short_name; /* "-n" or NULL */
  const char *long_name;  /* "--predict" or NULL */
  enum cli_kind kind;
  void *target;
  double min, max;
  const char *value; /* name of the value in the help, "N" */
  const char *help;
};

/* Parses argv[1…]; arguments without a dash go to `rest` (at most rest_max). Prints one line to stderr and returns
 * false when something is wrong. The table ends with an all-zero entry. */
bool cli_parse(const char *verb, const struct cli_option *options, int argc, char **argv, const char **rest,
               size_t rest_max, size_t *n_rest);

/* Prints the options to stdout. */
void cli_print_options(const struct cli_option *options);

#endif
