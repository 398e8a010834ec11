#include <math.h>
#include <string.h>
#include "cache/align.h"
#include "cache/eigen.h"

size_t tb_align_map_floats(bool values, uint32_t d) {
  return values ? (size_t)d * d : d;
}

size_t tb_align_bytes(uint32_t n_kv, uint32_t d) {
  return ((size_t)n_kv * n_kv + 3 * (size_t)d * d + d) * sizeof(double);
}

static const float *at(const struct tb_align *p, uint32_t i, uint32_t j) {
  return p->cross + ((size_t)i * p->n + j) * tb_align_map_floats(p->values, p->d);
}

/* Mean cosine of lower head i and upper head j as they are. */
static double plain_cosine(const struct tb_align *p, uint32_t i, uint32_t j) {
  const float *x = at(p, i, j);
  double sum = 0;
  for (uint32_t c = 0; c < p->d; c++)
    if (p->values)
      sum += x[(size_t)c * p->d + c];
    else if (c >= p->rotated || c % 2 == 0)
      sum += x[c];
  return sum;
}

/* Keys: each pair turned by the angle of its complex correlation; what is not rotated stays. */
static double align_keys(const struct tb_align *p, uint32_t i, uint32_t j, float *map) {
  const float *x = at(p, i, j);
  double sum = 0;
  for (uint32_t c = 0; c < p->rotated; c += 2) {
    const double re = x[c], im = x[c + 1], size = sqrt(re * re + im * im);
    map[c / 2] = size > 0 ? (float)(re / size) : 1;
    map[(p->rotated + c) / 2] = size > 0 ? (float)(im / size) : 0;
    sum += size;
  }
  for (uint32_t c = p->rotated; c < p->d; c++) {
    map[c] = 0;
    sum += x[c];
  }
  return sum;
}

/* Values: the orthogonal factor of E[lower upperᵀ], which makes lower·(map·upper) largest: the sum of its singular
 * values. */
static double align_values(const struct tb_align *p, uint32_t i, uint32_t j, float *map, double *work) {
  const float *x = at(p, i, j);
  const size_t n = (size_t)p->d * p->d;
  double sum = 0;
  for (size_t c = 0; c < n; c++)
    work[c] = x[c];
  tb_polar(work, p->d, work + n);
  for (size_t c = 0; c < n; c++) {
    sum += work[c] * x[c];
    if (map) map[c] = (float)work[c];
  }
  return sum;
}

enum { PASSES = 64 }; /* two or three are usual; sums that differ by rounding alone could be exchanged for ever */

/* The permutation of largest sum of gain[i][j]: exchanges of two or three heads until none helps. Exact for the handful
 * of KV heads that models have in all cases but contrived ones, and never worse than the identity. */
static void assign(const double *gain, uint32_t n, uint32_t *lower_of) {
  for (uint32_t j = 0; j < n; j++)
    lower_of[j] = j;
  bool again = true;
  for (int pass = 0; again && pass < PASSES; pass++) {
    again = false;
    for (uint32_t a = 0; a < n; a++)
      for (uint32_t b = 0; b < n; b++)
        for (uint32_t c = 0; c < n; c++) { /* a → b → c → a; c = b or a: an exchange of two */
          if (a == b || (c == a && n > 1 && b == c)) continue;
          const uint32_t la = lower_of[a], lb = lower_of[b], lc = lower_of[c];
          const bool two = c == a || c == b;
          const double now = gain[la * n + a] + gain[lb * n + b] + (two ? 0 : gain[lc * n + c]);
          const double then =
              two ? gain[lb * n + a] + gain[la * n + b] : gain[lb * n + a] + gain[lc * n + b] + gain[la * n + c];
          if (!(then > now + 1e-9)) continue; /* nor what is not a number */
          lower_of[a] = lb;
          lower_of[b] = two ? la : lc;
          if (!two) lower_of[c] = la;
          again = true;
        }
  }
}

static void identity(const struct tb_align *p, float *map) {
  memset(map, 0, tb_align_map_floats(p->values, p->d) * sizeof *map);
  for (uint32_t c = 0; c < p->d; c++)
    if (p->values)
      map[(size_t)c * p->d + c] = 1;
    else if (c < p->rotated / 2)
      map[c] = 1;
}

void tb_align_solve(const struct tb_align *p, bool align, struct tb_align_map *out, void *work) {
  const size_t stride = tb_align_map_floats(p->values, p->d);
  double *gain = work, *more = gain + (size_t)p->n * p->n;
  out->cosine = out->untouched = 0;
  for (uint32_t i = 0; i < p->n; i++)
    for (uint32_t j = 0; j < p->n; j++) {
      float pairs[512];
      gain[i * p->n + j] = !align       ? plain_cosine(p, i, j)
                           : !p->values ? align_keys(p, i, j, pairs)
                                        : align_values(p, i, j, NULL, more);
    }
  for (uint32_t j = 0; j < p->n; j++) {
    out->head[j] = j;
    out->untouched += plain_cosine(p, j, j) / p->n;
  }
  if (align) assign(gain, p->n, out->head);
  for (uint32_t j = 0; j < p->n; j++) {
    float *map = out->map + j * stride;
    out->cosine += gain[out->head[j] * p->n + j] / p->n;
    if (!align)
      identity(p, map);
    else if (!p->values)
      align_keys(p, out->head[j], j, map);
    else
      align_values(p, out->head[j], j, map, more);
  }
}
