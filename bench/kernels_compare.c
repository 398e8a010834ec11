/* Reads two outputs of kernels_bench and says of every kernel in both whether it became faster. */
#include "bench/kernels_compare.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Ratios nearer to one than this count as the same. */
#define NOISE 0.05

enum { MAX_KERNELS = 1024, MAX_NAME = 64 };

struct times {
  size_t n;
  struct entry {
    char name[MAX_NAME];
    double ns;
  } at[MAX_KERNELS];
};

/* Lines of kernels are "family/format/tier  NUMBER ns ..."; others are passed over. Of a kernel that was timed more
 * than once the best time counts. */
static void add(struct times *t, const char *name, double ns) {
  for (size_t i = 0; i < t->n; i++)
    if (!strcmp(t->at[i].name, name)) {
      if (ns < t->at[i].ns) t->at[i].ns = ns;
      return;
    }
  if (t->n == MAX_KERNELS) return;
  snprintf(t->at[t->n].name, MAX_NAME, "%s", name);
  t->at[t->n++].ns = ns;
}

static bool read_times(struct times *t, const char *path) {
  FILE *f = fopen(path, "r");
  if (!f) {
    fprintf(stderr, "kernels_bench: cannot read %s\n", path);
    return false;
  }
  char line[512], name[MAX_NAME], unit[4];
  double ns;
  while (fgets(line, sizeof line, f))
    if (sscanf(line, "%63s %lf %3s", name, &ns, unit) == 3 && !strcmp(unit, "ns") && ns > 0) add(t, name, ns);
  fclose(f);
  if (t->n == 0) fprintf(stderr, "kernels_bench: %s has no times of kernels\n", path);
  return t->n > 0;
}

static const char *verdict(double ratio) {
  return ratio > 1 + NOISE ? "faster" : ratio < 1 / (1 + NOISE) ? "SLOWER" : "same";
}

int kernels_compare(const char *before, const char *after) {
  static struct times a, b;
  if (!read_times(&a, before) || !read_times(&b, after)) return 1;
  size_t both = 0, slower = 0;
  printf("%-28s %12s %12s %8s\n", "kernel", "before, ns", "after, ns", "ratio");
  for (size_t i = 0; i < a.n; i++)
    for (size_t j = 0; j < b.n; j++) {
      if (strcmp(a.at[i].name, b.at[j].name) != 0) continue;
      const double ratio = a.at[i].ns / b.at[j].ns;
      printf("%-28s %12.0f %12.0f %7.2fx  %s\n", a.at[i].name, a.at[i].ns, b.at[j].ns, ratio, verdict(ratio));
      both++;
      slower += ratio < 1 / (1 + NOISE);
    }
  printf("%zu kernels compared, %zu slower by more than %.0f %%\n", both, slower, 100 * NOISE);
  return both && !slower ? 0 : 1;
}
