/* The map of each head, from the profile. */
#include <math.h>
#include <string.h>
#include "cache/eigen.h"
#include "cache/store/lowrank.h"
#include "cache/store/metric.h"

/* What the profile says of a side; NULL for what is absent. */
struct statistics {
  const float *moment; /* head h begins at h·moment_head, its rows are moment_row apart */
  size_t moment_head, moment_row;
  const float *mean;   /* n_heads·d */
  const float *metric; /* n_heads·d·d */
};

static const char *metric_name(enum tb_side side) {
  return side == TB_SIDE_K ? "q.moment" : "o.metric";
}

static enum tb_status find(const struct tb_store_config *c, struct statistics *s, struct tb_error *err) {
  const size_t d = c->d, wide = c->n_heads * d;
  const bool keys = c->side == TB_SIDE_K;
  s->moment_head = keys ? d * d : d * wide + d;
  s->moment_row = keys ? d : wide;
  enum tb_status status = tb_profile_get(c->profile, c->layer, keys ? "kr.moment" : "v.moment",
                                         keys ? wide * d : wide * wide, &s->moment, err);
  if (!status) status = tb_profile_get(c->profile, c->layer, keys ? "kr.mean" : "v.mean", wide, &s->mean, err);
  if (!status) status = tb_profile_get(c->profile, c->layer, metric_name(c->side), wide * d, &s->metric, err);
  return status;
}

enum tb_status tb_lowrank_basis_check(const struct tb_store_config *c, const struct tb_lowrank *l,
                                      struct tb_error *err) {
  struct statistics s;
  if (!c->profile)
    return tb_fail(err, TB_E_ARG, "cache type lowrank needs a profile of the model (thimble calibrate makes one)");
  enum tb_status status = find(c, &s, err);
  if (status) return status;
  if (!s.moment || (l->weighted && !s.metric))
    return tb_fail(err, TB_E_ARG, "cache type lowrank: the profile has no '%s' for this layer",
                   s.moment               ? metric_name(c->side)
                   : c->side == TB_SIDE_K ? "kr.moment"
                                          : "v.moment");
  return TB_OK;
}

/* ----------------------------------------------------------------------------------------------------------- tables */

static size_t maps(const struct tb_lowrank *l, uint32_t d) {
  return (size_t)d * d * (l->weighted ? 2 : 1);
}

size_t tb_lowrank_table_bytes(const struct tb_lowrank *l, uint32_t d) {
  return tb_round_up((maps(l, d) + 2 * (size_t)d + TB_LOWRANK_DEPTH) * sizeof(float), TB_ALIGN);
}

struct tb_lowrank_head tb_lowrank_head(const struct tb_store *st, const struct tb_lowrank *l, uint32_t head) {
  const uint32_t d = st->config.d;
  struct tb_lowrank_head h;
  h.turn = (float *)(void *)(st->mem + head * tb_lowrank_table_bytes(l, d));
  h.back = h.turn + (l->weighted ? (size_t)d * d : 0);
  h.mean = h.turn + maps(l, d);
  h.sigma = h.mean + d;
  h.depth = (uint32_t *)(void *)(h.sigma + d);
  return h;
}

/* Bits in pairs, one after the other to the channel that gains most by it. The mean squared error of the best uniform
 * quantiser of 0, 2, 4, 6, 8 bits for a normal variable of variance 1 (Max, IRE Trans. IT-6, 1960, table II; the last
 * two computed in the same way). Errors fall convexly, so this is the optimum, and channels of more energy never get
 * fewer bits. */
static void allocate(const struct tb_lowrank *l, uint32_t d, const float *sigma, uint32_t *depth) {
  static const double error[] = {1, 0.1188, 0.01154, 0.001041, 0.0000869};
  for (uint32_t j = 0; j < TB_LOWRANK_DEPTH; j++)
    depth[j] = l->bits && j < l->bits / 2 ? l->rank : 0;
  if (l->bits) return;
  for (uint32_t p = 0; p < l->planes; p++) {
    int best = -1;
    double most = -1;
    for (int j = 0; j < TB_LOWRANK_DEPTH; j++) {
      if (depth[j] == (j ? depth[j - 1] : d)) continue;
      const double s = sigma[depth[j]], gain = s * s * (error[j] - error[j + 1]);
      if (gain > most) {
        most = gain;
        best = j;
      }
    }
    if (best >= 0) depth[best]++;
  }
}

/* -------------------------------------------------------------------------------------------------------------- maps
 */

struct solver {
  size_t d;
  double *cover, *chol, *work, *values, *vectors; /* d×d: covariance then its eigenvectors, L, products; d; 3d */
};

size_t tb_lowrank_init_bytes(const struct tb_store_config *c) {
  const size_t d = c->d;
  return (3 * d * d + d + tb_eigen_work(d)) * sizeof(double);
}

static struct solver solver(size_t d, void *work) {
  double *p = work;
  return (struct solver){.d = d,
                         .cover = p,
                         .chol = p + d * d,
                         .work = p + 2 * d * d,
                         .values = p + 3 * d * d,
                         .vectors = p + 3 * d * d + d};
}

/* x = a·b, all d×d. */
static void product(double *x, const double *a, const double *b, size_t d) {
  memset(x, 0, d * d * sizeof *x);
  for (size_t i = 0; i < d; i++)
    for (size_t j = 0; j < d; j++)
      for (size_t k = 0; k < d; k++)
        x[i * d + k] += a[i * d + j] * b[j * d + k];
}

static void transpose(double *a, size_t d) {
  for (size_t i = 0; i < d; i++)
    for (size_t j = 0; j < i; j++) {
      const double t = a[i * d + j];
      a[i * d + j] = a[j * d + i];
      a[j * d + i] = t;
    }
}

/* The covariance of a head. */
static void load_cover(const struct solver *s, const struct statistics *st, uint32_t head) {
  const float *m = st->moment + head * st->moment_head, *mean = st->mean ? st->mean + head * s->d : NULL;
  for (size_t i = 0; i < s->d; i++)
    for (size_t j = 0; j < s->d; j++)
      s->cover[i * s->d + j] = ((double)m[i * st->moment_row + j] + (double)m[j * st->moment_row + i]) / 2 -
                               (mean ? (double)mean[i] * mean[j] : 0);
}

static void solve_head(const struct solver *s, const struct tb_lowrank *l, const struct statistics *st, uint32_t head,
                       struct tb_lowrank_head *h) {
  const size_t d = s->d;
  load_cover(s, st, head);
  if (l->weighted) {
    const float *metric = st->metric + head * d * d;
    tb_metric_factor(s->chol, metric, tb_metric_trace(metric, d) / (double)d, d);
    product(s->work, s->cover, s->chol, d);
    transpose(s->chol, d); /* Lᵀ */
    product(s->cover, s->chol, s->work, d);
  }
  tb_eigen_symmetric(s->cover, d, s->values, s->vectors);
  if (l->weighted) {
    product(s->work, s->cover, s->chol, d);
    transpose(s->chol, d); /* L */
    for (size_t i = 0; i < d; i++)
      tb_metric_divide(h->back + i * d, s->cover + i * d, s->chol, s->vectors, d);
  }
  const double *turn = l->weighted ? s->work : s->cover;
  for (size_t i = 0; i < d * d; i++)
    h->turn[i] = (float)turn[i];
  for (size_t i = 0; i < d; i++) {
    h->mean[i] = st->mean ? st->mean[head * d + i] : 0;
    h->sigma[i] = (float)sqrt(s->values[i] > 0 ? s->values[i] : 0);
  }
}

void tb_lowrank_init(struct tb_store *st, void *work) {
  const struct tb_lowrank l = tb_lowrank_of(st);
  const struct solver s = solver(st->config.d, work);
  struct statistics found;
  if (find(&st->config, &found, NULL) != TB_OK || !found.moment) return; /* check() has seen to it */
  for (uint32_t head = 0; head < st->config.n_heads; head++) {
    struct tb_lowrank_head h = tb_lowrank_head(st, &l, head);
    solve_head(&s, &l, &found, head, &h);
    allocate(&l, st->config.d, h.sigma, h.depth);
  }
}

/* ----------------------------------------------------------------------------------------------------------- turning
 */

enum { CHUNK_FLOATS = TB_STORE_SCRATCH / sizeof(float) };

/* x = map · (x - mean) for n rows; mean NULL: 0. */
static void apply(const struct tb_store *st, const float *map, const float *mean, uint32_t n, float *x, size_t ldx,
                  float *copy) {
  const uint32_t d = st->config.d, most = CHUNK_FLOATS / d;
  for (uint32_t i = 0; i < n; i += most, x += most * ldx) {
    const uint32_t rows = n - i < most ? n - i : most;
    for (uint32_t r = 0; r < rows; r++)
      for (uint32_t c = 0; c < d; c++)
        copy[(size_t)r * d + c] = x[r * ldx + c] - (mean ? mean[c] : 0);
    st->kernels->tile_qk(x, ldx, copy, d, rows, map, d, d, d);
  }
}

void tb_lowrank_turn(const struct tb_store *st, uint32_t head, uint32_t n, float *x, size_t ldx, void *scratch) {
  const struct tb_lowrank l = tb_lowrank_of(st);
  const struct tb_lowrank_head h = tb_lowrank_head(st, &l, head);
  apply(st, h.turn, h.mean, n, x, ldx, scratch);
}

/* Leaving the mean out of the keys takes q·mean from all scores of a query alike. */
void tb_lowrank_turn_query(const struct tb_store *st, uint32_t head, uint32_t n, float *q, size_t ldq, void *scratch) {
  const struct tb_lowrank l = tb_lowrank_of(st);
  apply(st, tb_lowrank_head(st, &l, head).back, NULL, n, q, ldq, scratch);
}

void tb_lowrank_turn_output(const struct tb_store *st, uint32_t head, uint32_t n, float *o, size_t ldo, void *scratch) {
  const struct tb_lowrank l = tb_lowrank_of(st);
  const struct tb_lowrank_head h = tb_lowrank_head(st, &l, head);
  const uint32_t d = st->config.d, most = CHUNK_FLOATS / d;
  float *copy = scratch;
  for (uint32_t i = 0; i < n; i += most, o += most * ldo) {
    const uint32_t rows = n - i < most ? n - i : most;
    for (uint32_t r = 0; r < rows; r++) {
      memcpy(copy + (size_t)r * d, o + r * ldo, d * sizeof *o);
      memcpy(o + r * ldo, h.mean, d * sizeof *o);
    }
    st->kernels->tile_pv(o, ldo, copy, d, rows, h.back, d, d, d);
  }
}
