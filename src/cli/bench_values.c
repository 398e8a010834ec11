/* The words of bench's options. */
#include <stdlib.h>
#include <string.h>
#include "cli/bench.h"

static bool add_value(struct bench_values *out, uint64_t v, uint32_t min, uint32_t max) {
  if (out->n == BENCH_VALUES || v > max || v < min) return false;
  out->v[out->n++] = (uint32_t)v;
  return true;
}

/* Digits at *p; moves behind them. */
static bool number(const char **p, uint64_t *v) {
  char *end;
  if (**p < '0' || **p > '9') return false;
  *v = strtoull(*p, &end, 10);
  *p = end;
  return true;
}

/* One piece: "512", "128-512+128", "128-1024*2". */
static bool parse_range(const char **p, uint32_t min, uint32_t max, struct bench_values *out) {
  uint64_t first, last, by, step = 1, factor = 1;
  if (!number(p, &first)) return false;
  last = first;
  if (**p == '-') {
    ++*p;
    if (!number(p, &last) || last < first) return false;
    const bool times = **p == '*';
    if (times || **p == '+') {
      ++*p;
      if (!number(p, &by) || by < (times ? 2 : 1) || (times && first < 1) || by > max) return false;
      factor = times ? by : 1;
      step = times ? 0 : by;
    }
  }
  bool ok = last <= max;
  for (uint64_t v = first; ok && v <= last; v = v * factor + step)
    ok = add_value(out, v, min, max);
  return ok;
}

bool bench_parse_values(const char *option, const char *text, uint32_t min, uint32_t max, struct bench_values *out) {
  const char *p = text;
  bool ok = parse_range(&p, min, max, out);
  while (ok && *p == ',') {
    ++p;
    ok = parse_range(&p, min, max, out);
  }
  if (ok && *p == '\0') return true;
  fprintf(stderr,
          "thimble bench: %s: '%s' is not a list like 512,1024 or 128-512+128 of at most %d numbers in %u..%u\n",
          option, text, BENCH_VALUES, min, max);
  return false;
}

double bench_parse_seconds(const char *text) {
  char *end;
  double v = strtod(text, &end);
  if (end == text || !(v > 0) || v > 1e7) return 0;
  const double unit = *end == 'h' ? 3600 : *end == 'm' ? 60 : 1;
  if (*end == 'h' || *end == 'm' || *end == 's') end++;
  return *end ? 0 : v * unit;
}

bool bench_next_name(const char **text, char *buf, size_t cap) {
  const size_t n = strcspn(*text, ",");
  if (n == 0 || n >= cap) return false;
  memcpy(buf, *text, n);
  buf[n] = '\0';
  *text += n + ((*text)[n] == ',');
  return true;
}

bool bench_known_format(const char *option, const char *format) {
  static const char *const formats[] = {"md", "csv", "json", "jsonl", "sql"};
  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
    if (strcmp(format, formats[i]) == 0) return true;
  fprintf(stderr, "thimble bench: %s: '%s' is not md, csv, json, jsonl or sql\n", option, format);
  return false;
}
