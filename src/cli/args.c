#include "cli/args.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool takes_value(const struct cli_option *o) {
  return o->kind != CLI_FLAG && o->kind != CLI_UNFLAG;
}

static bool is_end(const struct cli_option *o) {
  return !o->short_name && !o->long_name;
}

/* The option that `arg` names; *value is set for --name=value. */
static const struct cli_option *find(const struct cli_option *o, const char *arg, const char **value) {
  size_t len = strcspn(arg, "=");
  for (; !is_end(o); o++) {
    if (o->short_name && strcmp(arg, o->short_name) == 0) return o;
    if (!o->long_name || strncmp(arg, o->long_name, len) != 0 || strlen(o->long_name) != len) continue;
    if (arg[len] == '=') *value = arg + len + 1;
    return o;
  }
  return NULL;
}

static bool bad_value(const char *verb, const char *name, const char *value, const char *what) {
  fprintf(stderr, "thimble %s: %s: '%s' %s\n", verb, name, value, what);
  return false;
}

static bool parse_integer(const char *text, double min, double max, int64_t *out) {
  char *end;
  errno = 0;
  long long v = strtoll(text, &end, 10);
  if (errno || end == text || *end || (double)v < min || (double)v > max) return false;
  *out = v;
  return true;
}

static bool store(const char *verb, const struct cli_option *o, const char *name, const char *value) {
  char what[80];
  snprintf(what, sizeof what, "is not a number in %.10g..%.10g", o->min, o->max);
  int64_t integer = 0;
  char *end;
  switch (o->kind) {
  case CLI_FLAG:
    *(bool *)o->target = true;
    return true;
  case CLI_UNFLAG:
    *(bool *)o->target = false;
    return true;
  case CLI_STRING:
    *(const char **)o->target = value;
    return true;
  case CLI_IGNORED:
    fprintf(stderr, "thimble %s: %s is ignored: %s\n", verb, name, (const char *)o->target);
    return true;
  case CLI_LIST: {
    struct cli_list *list = o->target;
    if (list->n == CLI_LIST_MAX) return bad_value(verb, name, value, "is one too many");
    list->items[list->n++] = value;
    return true;
  }
  case CLI_U32:
    if (!parse_integer(value, o->min, o->max, &integer)) return bad_value(verb, name, value, what);
    *(uint32_t *)o->target = (uint32_t)integer;
    return true;
  case CLI_I32:
    if (!parse_integer(value, o->min, o->max, &integer)) return bad_value(verb, name, value, what);
    *(int32_t *)o->target = (int32_t)integer;
    return true;
  case CLI_U64:
    errno = 0;
    *(uint64_t *)o->target = strtoull(value, &end, 10);
    if (errno || end == value || *end || *value == '-') return bad_value(verb, name, value, "is not a whole number");
    return true;
  case CLI_FLOAT: {
    float v = strtof(value, &end);
    if (end == value || *end || !(v >= (float)o->min && v <= (float)o->max)) return bad_value(verb, name, value, what);
    *(float *)o->target = v;
    return true;
  }
  }
  return false;
}

bool cli_parse(const char *verb, const struct cli_option *options, int argc, char **argv, const char **rest,
               size_t rest_max, size_t *n_rest) {
  *n_rest = 0;
  for (int i = 1; i < argc; i++) {
    const char *arg = argv[i], *value = NULL;
    if (arg[0] != '-' || arg[1] == '\0') {
      if (*n_rest == rest_max) {
        fprintf(stderr, "thimble %s: unexpected argument '%s'\n", verb, arg);
        return false;
      }
      rest[(*n_rest)++] = arg;
      continue;
    }
    const struct cli_option *o = find(options, arg, &value);
    if (!o) {
      fprintf(stderr, "thimble %s: unknown option '%s' (thimble %s --help lists them)\n", verb, arg, verb);
      return false;
    }
    if (takes_value(o) && !value) {
      if (i + 1 == argc) {
        fprintf(stderr, "thimble %s: %s needs a value\n", verb, arg);
        return false;
      }
      value = argv[++i];
    } else if (!takes_value(o) && value) {
      fprintf(stderr, "thimble %s: %s takes no value\n", verb, o->long_name);
      return false;
    }
    if (!store(verb, o, arg, value)) return false;
  }
  return true;
}

void cli_print_options(const struct cli_option *o) {
  for (; !is_end(o); o++) {
    char names[64];
    snprintf(names, sizeof names, "%s%s%s%s%s", o->short_name ? o->short_name : "",
             o->short_name && o->long_name ? ", " : "", o->long_name ? o->long_name : "", o->value ? " " : "",
             o->value ? o->value : "");
    printf("  %-30s %s\n", names, o->help);
  }
}
