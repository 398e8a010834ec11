/* Results as rows of named fields, in the formats that machines read. */
#ifndef TB_CLI_TABLE_H
#define TB_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum cli_field_kind { CLI_TEXT, CLI_INTEGER, CLI_REAL, CLI_REALS };

struct cli_field {
  const char *name;
  enum cli_field_kind kind;
  const char *text; /* CLI_TEXT; NULL: null */
  uint64_t integer;
  double real;         /* not finite: null */
  const double *reals; /* CLI_REALS: n of them; in JSON only */
  size_t n;
};

struct cli_field cli_text(const char *name, const char *text);
struct cli_field cli_integer(const char *name, uint64_t value);
struct cli_field cli_real(const char *name, double value);
struct cli_field cli_reals(const char *name, const double *values, size_t n);

struct cli_table {
  FILE *to;
  const char *format; /* "csv", "json", "jsonl", "sql" */
  const char *name;   /* of the SQL table */
  size_t rows;
};
void cli_table_row(struct cli_table *t, const struct cli_field *fields, size_t n);
void cli_table_end(struct cli_table *t);

/* A JSON string with its quotes; NULL: null. */
void cli_print_json_text(FILE *to, const char *text);

#endif
