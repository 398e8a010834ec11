#include "cli/table.h"

#include <math.h>
#include <string.h>

struct cli_field cli_text(const char *name, const char *text) {
  return (struct cli_field){.name = name, .kind = CLI_TEXT, .text = text};
}

struct cli_field cli_integer(const char *name, uint64_t value) {
  return (struct cli_field){.name = name, .kind = CLI_INTEGER, .integer = value};
}

struct cli_field cli_real(const char *name, double value) {
  return (struct cli_field){.name = name, .kind = CLI_REAL, .real = value};
}

struct cli_field cli_reals(const char *name, const double *values, size_t n) {
  return (struct cli_field){.name = name, .kind = CLI_REALS, .reals = values, .n = n};
}

void cli_print_json_text(FILE *to, const char *text) {
  if (!text) {
    fputs("null", to);
    return;
  }
  fputc('"', to);
  for (const unsigned char *p = (const unsigned char *)text; *p; p++)
    if (*p == '"' || *p == '\\')
      fprintf(to, "\\%c", *p);
    else if (*p < 0x20 || *p == 0x7f)
      fprintf(to, "\\u%04x", *p);
    else
      fputc(*p, to);
  fputc('"', to);
}

static void print_real(FILE *to, double v, const char *none) {
  if (isfinite(v))
    fprintf(to, "%.9g", v);
  else
    fputs(none, to);
}

/* Text in quotes that are doubled inside: CSV and SQL. */
static void print_quoted(FILE *to, const char *text, char quote) {
  fputc(quote, to);
  for (const char *p = text; *p; p++) {
    if (*p == quote) fputc(quote, to);
    fputc(*p == '\n' ? ' ' : *p, to);
  }
  fputc(quote, to);
}

static void print_value(FILE *to, const struct cli_field *f, const char *format) {
  const bool json = format[0] == 'j', csv = format[0] == 'c';
  switch (f->kind) {
  case CLI_TEXT:
    if (json)
      cli_print_json_text(to, f->text);
    else if (f->text)
      print_quoted(to, f->text, csv ? '"' : '\'');
    else if (!csv)
      fputs("NULL", to);
    break;
  case CLI_INTEGER:
    fprintf(to, "%llu", (unsigned long long)f->integer);
    break;
  case CLI_REAL:
    print_real(to, f->real, json ? "null" : csv ? "" : "NULL");
    break;
  case CLI_REALS:
    fputc('[', to);
    for (size_t i = 0; i < f->n; i++) {
      if (i) fputs(", ", to);
      print_real(to, f->reals[i], "null");
    }
    fputc(']', to);
    break;
  }
}

static bool shown(const struct cli_field *f, const char *format) {
  return f->kind != CLI_REALS || format[0] == 'j';
}

static void print_names(FILE *to, const struct cli_field *fields, size_t n, const char *format, bool types) {
  static const char *const sql[] = {"TEXT", "INTEGER", "REAL", ""};
  bool any = false;
  for (size_t i = 0; i < n; i++) {
    if (!shown(&fields[i], format)) continue;
    fprintf(to, "%s%s", any ? "," : "", fields[i].name);
    if (types) fprintf(to, " %s", sql[fields[i].kind]);
    any = true;
  }
}

static void print_values(FILE *to, const struct cli_field *fields, size_t n, const char *format, bool names) {
  bool any = false;
  for (size_t i = 0; i < n; i++) {
    if (!shown(&fields[i], format)) continue;
    if (any) fputs(names ? ", " : ",", to);
    if (names) fprintf(to, "\"%s\": ", fields[i].name);
    print_value(to, &fields[i], format);
    any = true;
  }
}

static void csv_row(FILE *to, const struct cli_field *fields, size_t n, bool first) {
  if (first) {
    print_names(to, fields, n, "csv", false);
    fputc('\n', to);
  }
  print_values(to, fields, n, "csv", false);
  fputc('\n', to);
}

static void sql_row(const struct cli_table *t, const struct cli_field *fields, size_t n, bool first) {
  if (first) {
    fprintf(t->to, "CREATE TABLE IF NOT EXISTS %s (", t->name);
    print_names(t->to, fields, n, "sql", true);
    fputs(");\n", t->to);
  }
  fprintf(t->to, "INSERT INTO %s (", t->name);
  print_names(t->to, fields, n, "sql", false);
  fputs(") VALUES (", t->to);
  print_values(t->to, fields, n, "sql", false);
  fputs(");\n", t->to);
}

void cli_table_row(struct cli_table *t, const struct cli_field *fields, size_t n) {
  const bool first = t->rows++ == 0, lines = strcmp(t->format, "jsonl") == 0;
  if (strcmp(t->format, "csv") == 0) {
    csv_row(t->to, fields, n, first);
  } else if (strcmp(t->format, "sql") == 0) {
    sql_row(t, fields, n, first);
  } else {
    fputs(lines ? "{" : first ? "[\n  {" : ",\n  {", t->to);
    print_values(t->to, fields, n, t->format, true);
    fputs(lines ? "}\n" : "}", t->to);
  }
  fflush(t->to);
}

void cli_table_end(struct cli_table *t) {
  if (strcmp(t->format, "json") == 0) fputs(t->rows ? "\n]\n" : "[]\n", t->to);
}
