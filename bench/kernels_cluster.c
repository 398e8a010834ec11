#include "bench/kernels_cluster.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "simd/isa.h"
#include "simd/kernels.h"

enum { D = 128, KEYS = 320, CLUSTERS = 32, QUERIES = 4 };

struct data {
  _Alignas(64) int8_t lanes[CLUSTERS * D];
  int8_t rows[KEYS * D], code[KEYS * D];
  float x[KEYS * D], centre[D], ones[KEYS], scale[KEYS], dx[CLUSTERS], bx[CLUSTERS], s[QUERIES * CLUSTERS];
  float sum[CLUSTERS * D], share[KEYS];
  uint16_t label[KEYS];
  uint8_t bin[KEYS];
  uint32_t hist[TB_CLUSTER_BINS];
};

typedef void kernel_fn(void);
typedef void call_fn(struct data *d, kernel_fn *fn);

static void call_cluster_code(struct data *d, kernel_fn *fn) {
  ((tb_cluster_code_t *)fn)(d->code, d->scale, d->x, D, d->centre, KEYS, D);
}
static void call_cluster_score(struct data *d, kernel_fn *fn) {
  ((tb_cluster_score_t *)fn)(d->s, CLUSTERS, d->rows, d->ones, d->ones, QUERIES, d->lanes, d->dx, d->bx, CLUSTERS, D);
}
static void call_cluster_assign(struct data *d, kernel_fn *fn) {
  ((tb_cluster_assign_t *)fn)(d->label, d->rows, d->ones, d->ones, KEYS, d->lanes, d->dx, d->bx, CLUSTERS, D);
}
static void call_cluster_sum(struct data *d, kernel_fn *fn) {
  ((tb_cluster_sum_t *)fn)(d->sum, d->label, d->rows, d->ones, KEYS, D);
}
static void call_cluster_hist(struct data *d, kernel_fn *fn) {
  ((tb_cluster_hist_t *)fn)(d->hist, d->bin, d->share, d->label, KEYS);
}

static void fill(struct data *d) {
  struct tb_rng rng = {4};
  for (int i = 0; i < CLUSTERS * D; i++) d->lanes[i] = (int8_t)((int)(tb_rng_next(&rng) % 255) - 127);
  for (int i = 0; i < KEYS * D; i++) {
    d->rows[i] = (int8_t)((int)(tb_rng_next(&rng) % 255) - 127);
    d->x[i] = tb_rng_normal(&rng);
  }
  for (int i = 0; i < KEYS; i++) {
    d->ones[i] = 1;
    d->share[i] = tb_rng_unit(&rng);
  }
  for (int i = 0; i < CLUSTERS; i++) d->dx[i] = d->bx[i] = tb_rng_unit(&rng);
}

/* Best of several rounds of 5 ms of processor time. */
static double best_time(struct data *d, call_fn *call, kernel_fn *fn) {
  double best = 1e30;
  for (int round = 0; round < 5; round++) {
    double calls = 0;
    const clock_t start = clock();
    clock_t now;
    do {
      call(d, fn);
      calls++;
      now = clock();
    } while (now - start < CLOCKS_PER_SEC / 200);
    const double each = (double)(now - start) / CLOCKS_PER_SEC / calls;
    best = each < best ? each : best;
  }
  return best;
}

static void row(struct data *d, const char *name, bool wanted, call_fn *call, kernel_fn *fn, kernel_fn *ref) {
  if (!wanted) return;
  const double t = best_time(d, call, fn);
  printf("%-24s %12.0f ns %8.1f x ref\n", name, t * 1e9, best_time(d, call, ref) / t);
  fflush(stdout);
}

void kernels_cluster(const char *filter, unsigned isa) {
  static struct data d;
  fill(&d);
#define TB_ROW(fn, tier)                                                                                               \
  row(&d, #fn "/" #tier, (isa & TB_ISA_##tier) == TB_ISA_##tier && (!filter || strstr(#fn "/" #tier, filter)),         \
      call_##fn, (kernel_fn *)tb_##fn##_##tier, (kernel_fn *)tb_##fn##_ref);
#include "simd/cluster/cluster.def"
#undef TB_ROW
}
