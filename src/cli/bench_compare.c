/* This run beside an older one. */
#include "cli/bench.h"

#ifdef TB_HAVE_JANSSON

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An array of objects from a JSON array or from one object a line; NULL on failure (said). */
static json_t *read_old(const char *path) {
  size_t length;
  json_error_t error;
  char *text = cli_read_file("bench", path, &length);
  if (!text) return NULL;
  json_t *array = json_loads(text, JSON_REJECT_DUPLICATES, &error);
  if (!json_is_array(array)) {
    json_decref(array);
    array = json_array();
    for (char *line = text, *next; line && *line; line = next) {
      next = strchr(line, '\n');
      if (next) *next++ = '\0';
      json_t *one = *line ? json_loads(line, JSON_REJECT_DUPLICATES, &error) : NULL;
      if (!one && !*line) continue;
      if (json_is_object(one) && json_array_append_new(array, one) == 0) continue;
      fprintf(stderr, "thimble bench: --compare: %s is not the JSON or JSONL of a bench run: %s\n", path, error.text);
      json_decref(array);
      array = NULL;
      break;
    }
  }
  free(text);
  return array;
}

static bool number_is(const json_t *o, const char *key, double v) {
  const json_t *x = json_object_get(o, key);
  return !x || json_number_value(x) == v;
}

static bool text_is(const json_t *o, const char *key, const char *v) {
  const char *x = json_string_value(json_object_get(o, key));
  return !x || strcmp(x, v) == 0;
}

/* The same test on the same model; keys that the old file lacks do not count, so llama-bench's files do too. */
static bool same_test(const json_t *o, const struct bench_result *r) {
  const struct bench_test *t = &r->test;
  return json_is_number(json_object_get(o, "avg_ts")) && number_is(o, "model_n_params", (double)r->model.n_params) &&
         number_is(o, "model_size", (double)r->model.file_bytes) && number_is(o, "n_threads", t->n_threads) &&
         number_is(o, "n_prompt", t->n_prompt) && number_is(o, "n_gen", t->n_gen) &&
         number_is(o, "n_depth", t->n_depth) && text_is(o, "type_k", t->plan ? t->plan_name : t->type_k) &&
         text_is(o, "type_v", t->plan ? "" : t->type_v);
}

/* Below 5 % (or two standard deviations of either run) it is noise; from 20 % on it is real on any machine. */
static const char *verdict(double old, double old_dev, double new, double new_dev) {
  const double change = fabs(new / old - 1);
  if (change < 0.05 || fabs(new - old) < 2 * fmax(old_dev, new_dev)) return "noise";
  if (change < 0.10) return new > old ? "perhaps faster" : "perhaps slower";
  if (change < 0.20) return new > old ? "faster: look" : "slower: look";
  return new > old ? "faster" : "slower";
}

static void print_machine(FILE *to, const json_t *o) {
  static const char *const keys[] = {"cpu_info", "build_commit", "build_compiler", "test_time"};
  fputs("\nbefore:", to);
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    const char *v = json_string_value(json_object_get(o, keys[i]));
    if (v) fprintf(to, "%s %s", i ? "," : "", v);
  }
  fputc('\n', to);
}

bool bench_compare(FILE *to, const char *path, const struct bench_result *results, size_t n) {
  json_t *old = read_old(path), *o = NULL;
  if (!old) return false;
  size_t at, found = 0;
  double product = 0;
  fputs("\n| test | type_k | type_v | threads | before t/s | now t/s | ratio | |\n"
        "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |\n",
        to);
  for (size_t i = 0; i < n; i++) {
    const struct bench_result *r = &results[i];
    json_array_foreach(old, at, o) if (same_test(o, r)) break;
    if (at == json_array_size(old)) continue;
    const double ts = json_number_value(json_object_get(o, "avg_ts")),
                 dev = json_number_value(json_object_get(o, "stddev_ts"));
    char name[64];
    bench_test_name(&r->test, name);
    fprintf(to, "| %s | %s | %s | %u | %.2f | %.2f | %.3f | %s |\n", name,
            r->test.plan ? r->test.plan_name : r->test.type_k, r->test.plan ? "" : r->test.type_v, r->test.n_threads,
            ts, r->mean, r->mean / ts, verdict(ts, dev, r->mean, r->deviation));
    product += log(r->mean / ts);
    found++;
  }
  if (found) fprintf(to, "\ngeometric mean of %zu ratios: %.3f\n", found, exp(product / (double)found));
  if (json_array_size(old)) print_machine(to, json_array_get(old, 0));
  if (found < n) fprintf(to, "%zu of %zu tests are not in %s\n", n - found, n, path);
  json_decref(old);
  return true;
}

#else

bool bench_compare(FILE *to, const char *path, const struct bench_result *results, size_t n) {
  (void)to;
  (void)results;
  (void)n;
  fprintf(stderr, "thimble bench: --compare %s: this build has no JSON library (libjansson-dev)\n", path);
  return false;
}

#endif
