#include "quality/selection.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 16 };

struct ranked {
  double key;
  uint32_t at;
};

static int falling(const void *a, const void *b) {
  const struct ranked *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? 1 : -1;
  return (x->at > y->at) - (x->at < y->at);
}

static uint32_t group(const struct question *a) { return a->rows->n_head / a->rows->n_kv; }

/* ------------------------------------------------------------------------------------------------------ exact */

/* heads: how many heads from g on decide together, by the sum of their weights. */
static void best_tokens(const struct question *a, uint32_t g, uint32_t heads, bool *chosen) {
  const uint32_t n = a->n0 - a->sinks;
  struct ranked *r = malloc(n * sizeof *r);
  for (uint32_t i = 0; i < n; i++) {
    r[i] = (struct ranked){0, a->sinks + i};
    for (uint32_t h = g; h < g + heads; h++) r[i].key += a->weight[h * a->n0 + a->sinks + i];
  }
  qsort(r, n, sizeof *r, falling);
  for (uint32_t i = 0; i < n && i < a->budget; i++)
    for (uint32_t h = g; h < g + heads; h++) chosen[h * a->n0 + r[i].at] = true;
  free(r);
}

void select_oracle(const struct question *a, bool *chosen) {
  for (uint32_t g = 0; g < group(a); g++) best_tokens(a, g, 1, chosen);
}

void select_oracle_shared(const struct question *a, bool *chosen) { best_tokens(a, 0, group(a), chosen); }

/* ------------------------------------------------------------------------------------------------------ pages */

/* Quest (arXiv 2406.10774): pages of 16 tokens by an upper bound of q·k from the least and greatest value per channel. */
static double page_bound(const struct question *a, uint32_t g, uint32_t first, uint32_t end) {
  const struct layer_rows *r = a->rows;
  const float *q = r->q + ((size_t)a->pos * r->n_head + a->kv * group(a) + g) * r->d;
  double sum = 0;
  for (uint32_t c = 0; c < r->d; c++) {
    double least = DBL_MAX, most = -DBL_MAX;
    for (uint32_t t = first; t < end; t++) {
      const double x = r->k[((size_t)t * r->n_kv + a->kv) * r->d + c];
      least = x < least ? x : least;
      most = x > most ? x : most;
    }
    sum += q[c] * (q[c] > 0 ? most : least);
  }
  return sum;
}

static void best_pages(const struct question *a, uint32_t g, uint32_t heads, bool *chosen) {
  const uint32_t n = (a->n0 - a->sinks) / PAGE;
  struct ranked *r = malloc(n * sizeof *r);
  for (uint32_t i = 0; i < n; i++) {
    r[i] = (struct ranked){-DBL_MAX, i};
    for (uint32_t h = g; h < g + heads; h++) {
      const double bound = page_bound(a, h, a->sinks + i * PAGE, a->sinks + (i + 1) * PAGE);
      r[i].key = bound > r[i].key ? bound : r[i].key;
    }
  }
  qsort(r, n, sizeof *r, falling);
  for (uint32_t i = 0; i < n && (i + 1) * PAGE <= a->budget; i++)
    for (uint32_t h = g; h < g + heads; h++) memset(chosen + h * a->n0 + a->sinks + r[i].at * PAGE, true, PAGE);
  free(r);
}

void select_pages(const struct question *a, bool *chosen) {
  for (uint32_t g = 0; g < group(a); g++) best_pages(a, g, 1, chosen);
}

void select_pages_shared(const struct question *a, bool *chosen) { best_pages(a, 0, group(a), chosen); }

/* --------------------------------------------------------------------------------------------- without looking */

void select_newest(const struct question *a, bool *chosen) {
  for (uint32_t g = 0; g < group(a); g++) memset(chosen + (size_t)g * a->n0 + a->n0 - a->budget, true, a->budget);
}

void select_random(const struct question *a, bool *chosen) {
  uint64_t x = a->pos * 2654435761u + a->kv + 1;
  for (uint32_t g = 0; g < group(a); g++)
    for (uint32_t left = a->budget; left;) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      bool *at = chosen + (size_t)g * a->n0 + a->sinks + (x >> 33) % (a->n0 - a->sinks);
      left -= !*at;
      *at = true;
    }
}
