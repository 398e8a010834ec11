/* The factors of a layer's keys or values, from the profile. */
#include <string.h>
#include "cache/eigen.h"
#include "cache/store/cskv.h"
#include "cache/store/metric.h"

static const char *moment_name(enum tb_side side, enum tb_cskv_method m) {
  static const char *const names[2][4] = {{"k.gram", "k.asvd", "k.moment", "k.moment"},
                                          {"v.gram", "v.asvd", "v.moment", "v.moment"}};
  return names[side == TB_SIDE_V][m];
}

static const char *metric_name(enum tb_side side) {
  return side == TB_SIDE_K ? "q.moment" : "o.metric";
}

struct statistics {
  const float *moment, *metric;
};

static enum tb_status find(const struct tb_store_config *c, const struct tb_cskv *j, struct statistics *s,
                           struct tb_error *err) {
  const size_t wide = (size_t)c->n_heads * c->d;
  enum tb_status status =
      tb_profile_get(c->profile, c->layer, moment_name(c->side, j->method), wide * wide, &s->moment, err);
  if (!status) status = tb_profile_get(c->profile, c->layer, metric_name(c->side), wide * c->d, &s->metric, err);
  return status;
}

enum tb_status tb_cskv_factor_check(const struct tb_store_config *c, const struct tb_cskv *j, struct tb_error *err) {
  struct statistics s;
  if (!c->profile)
    return tb_fail(err, TB_E_ARG, "cache type cskv needs a profile of the model (thimble calibrate makes one)");
  enum tb_status status = find(c, j, &s, err);
  if (status) return status;
  if (!s.moment || (j->method == TB_CSKV_WEIGHTED && !s.metric))
    return tb_fail(err, TB_E_ARG, "cache type cskv: the profile has no '%s' for this layer",
                   s.moment ? metric_name(c->side) : moment_name(c->side, j->method));
  return TB_OK;
}

size_t tb_cskv_factor_bytes(const struct tb_store_config *c) {
  const size_t wide = (size_t)c->n_heads * c->d;
  return (wide * wide + wide * c->d + 2 * wide + tb_eigen_work(wide)) * sizeof(double) +
         (size_t)c->d * c->d * sizeof(float);
}

/* Keys are compared with queries at all distances. Averaged over the angles, what is left of the queries' moment is the
 * energy of each rotated pair; coordinates that are not rotated keep theirs (and lose what ties them to others). */
static void average_pairs(const struct tb_store_config *c, const float *moment, float *out) {
  const size_t d = c->d, rotated = c->rope ? c->rope->n_rot : 0;
  memset(out, 0, d * d * sizeof *out);
  for (size_t i = 0; i < d; i++) {
    size_t other = i;
    if (i < rotated) other = c->rope->neox ? (i + rotated / 2) % rotated : i ^ 1u;
    out[i * d + i] = (moment[i * d + i] + moment[other * d + other]) / 2;
  }
}

/* x = Lᵀ·x for the rows of head h in each column: x is wide × wide, L belongs to rows h·d … . */
static void from_left(double *x, const double *chol, size_t h, size_t d, size_t wide) {
  for (size_t i = 0; i < d; i++) { /* row i of Lᵀ·x needs rows i … of x: from the front in place */
    double *row = x + (h * d + i) * wide;
    for (size_t k = 0; k < wide; k++)
      row[k] *= chol[i * d + i];
    for (size_t j = i + 1; j < d; j++)
      for (size_t k = 0; k < wide; k++)
        row[k] += chol[j * d + i] * x[(h * d + j) * wide + k];
  }
}

static void transpose(double *x, size_t n) {
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < i; j++) {
      const double t = x[i * n + j];
      x[i * n + j] = x[j * n + i];
      x[j * n + i] = t;
    }
}

/* down = Uᵀ·Lᵀ, a row: L·u per head. */
static void raise(float *out, const double *u, const double *chol, size_t d) {
  for (size_t i = 0; i < d; i++) {
    double sum = 0;
    for (size_t j = 0; j <= i; j++)
      sum += chol[i * d + j] * u[j];
    out[i] = (float)sum;
  }
}

void tb_cskv_factor(const struct tb_store_config *c, const struct tb_cskv *j, float *down, float *up, void *work) {
  const size_t d = c->d, heads = c->n_heads, wide = heads * d;
  double *x = work, *chol = x + wide * wide, *values = chol + wide * d, *y = values + wide, *vectors = y + wide;
  float *metric = (float *)(void *)(vectors + tb_eigen_work(wide));
  struct statistics s;
  if (find(c, j, &s, NULL) != TB_OK || !s.moment) return; /* check() has seen to it */
  for (size_t a = 0; a < wide; a++)
    for (size_t b = 0; b < wide; b++)
      x[a * wide + b] = ((double)s.moment[a * wide + b] + s.moment[b * wide + a]) / 2;
  const bool weighted = j->method == TB_CSKV_WEIGHTED;
  double unit = 0; /* one for all heads: the ones that are asked more count more */
  for (size_t h = 0; weighted && h < heads; h++)
    unit += tb_metric_trace(s.metric + h * d * d, d) / (double)wide;
  for (int side = 0; weighted && side < 2; side++) { /* Lᵀ·M·L */
    for (size_t h = 0; h < heads; h++) {
      const float *m = s.metric + h * d * d;
      if (c->side == TB_SIDE_K) {
        average_pairs(c, m, metric);
        m = metric;
      }
      if (side == 0) tb_metric_factor(chol + h * d * d, m, unit, d);
      from_left(x, chol + h * d * d, h, d, wide);
    }
    transpose(x, wide);
  }
  tb_eigen_symmetric(x, wide, values, vectors);
  for (size_t r = 0; r < j->rank; r++)
    for (size_t h = 0; h < heads; h++) {
      const size_t at = r * wide + h * d;
      if (weighted) {
        raise(down + at, x + at, chol + h * d * d, d);
        tb_metric_divide(up + at, x + at, chol + h * d * d, y, d);
      } else {
        for (size_t i = 0; i < d; i++)
          down[at + i] = up[at + i] = (float)x[at + i];
      }
    }
}
