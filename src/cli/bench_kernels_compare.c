/* Two lists of kernels' times: which became faster, which slower. */
#include "cli/bench_kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Ratios nearer to one than this count as the same. */
#define NOISE 0.05

void kernel_times_add(struct kernel_times *t, const char *name, double ns) {
  for (size_t i = 0; i < t->n; i++)
    if (strcmp(t->at[i].name, name) == 0) {
      t->at[i].ns = fmin(t->at[i].ns, ns);
      return;
    }
  if (t->n == KERNEL_TIMES) return;
  snprintf(t->at[t->n].name, KERNEL_NAME, "%s", name);
  t->at[t->n++].ns = ns;
}

/* "| gemv/q4_0/avx2 | 123.4 | ..." */
static void read_table_line(struct kernel_times *t, const char *line) {
  char name[KERNEL_NAME];
  double ns;
  if (sscanf(line, "| %63[a-z0-9_/] | %lf |", name, &ns) == 2 && strchr(name, '/') && ns > 0 && isfinite(ns))
    kernel_times_add(t, name, ns);
}

/* The number behind "ns" that follows each "kernel". */
static void read_json(struct kernel_times *t, const char *text) {
  static const char key[] = "\"kernel\":", number[] = "\"ns\":";
  for (const char *p = text; (p = strstr(p, key)); p++) {
    char name[KERNEL_NAME];
    const char *ns = strstr(p, number);
    if (!ns || sscanf(p + sizeof key - 1, " \"%63[a-z0-9_/]\"", name) != 1) continue;
    const double v = strtod(ns + sizeof number - 1, NULL);
    if (v > 0 && isfinite(v)) kernel_times_add(t, name, v);
  }
}

bool kernel_times_read(struct kernel_times *t, const char *path) {
  size_t length;
  char *text = cli_read_file("bench", path, &length);
  if (!text) return false;
  read_json(t, text);
  for (char *line = text, *next; line; line = next) {
    next = strchr(line, '\n');
    if (next) *next++ = '\0';
    read_table_line(t, line);
  }
  free(text);
  if (t->n == 0) fprintf(stderr, "thimble bench: --compare: %s has no times of kernels\n", path);
  return t->n > 0;
}

static const char *verdict(double ratio) {
  return ratio > 1 + NOISE ? "faster" : ratio < 1 / (1 + NOISE) ? "SLOWER" : "same";
}

int kernel_times_compare(FILE *to, const struct kernel_times *before, const struct kernel_times *after) {
  size_t both = 0, slower = 0;
  double product = 0;
  fputs("\n| kernel | before, ns | after, ns | ratio | |\n| --- | ---: | ---: | ---: | --- |\n", to);
  for (size_t i = 0; i < before->n; i++)
    for (size_t j = 0; j < after->n; j++) {
      const struct kernel_time *a = &before->at[i], *b = &after->at[j];
      if (strcmp(a->name, b->name) != 0) continue;
      const double ratio = a->ns / b->ns;
      fprintf(to, "| %s | %.4g | %.4g | %.2f | %s |\n", a->name, a->ns, b->ns, ratio, verdict(ratio));
      product += log(ratio);
      both++;
      slower += ratio < 1 / (1 + NOISE);
    }
  if (both == 0) {
    fputs("thimble bench: --compare: the two have no kernel in common\n", stderr);
    return CLI_FAILED;
  }
  fprintf(to, "\n%zu kernels, %zu slower by more than %.0f %%, geometric mean of the ratios %.3f\n", both, slower,
          100 * NOISE, exp(product / (double)both));
  return slower ? CLI_FAILED : CLI_OK;
}
