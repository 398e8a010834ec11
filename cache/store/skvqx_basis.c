/* The calibrated basis of the skvqx stores, one per KV head. Keys and values are quantised in rows y = T·(x - mean); an
 * error e of y is an error T⁻¹·e of x, and costs eᵀ·T⁻ᵀ·C·T⁻¹·e in the metric C that the profile measured: of keys
 * C = E[q qᵀ] (the error of scores), of values C = Σ Wₒᵀ·Wₒ (the error of the layer's output). Quantisers leave an
 * error in proportion to the variance of each channel (keys) or of the row (values). With S the covariance of x, the
 * sum over channels of (T·S·Tᵀ)_cc · (T⁻ᵀ·C·T⁻¹)_cc is least, (Σ √λ)²/d with λ the eigenvalues of C½·S·C½ = V·Λ·Vᵀ,
 * when both matrices are √Λ in some basis and are then spread evenly over the channels:
 *
 *     T = H · Λ^-¼ · Vᵀ · C^½,   T⁻ᵀ = H · Λ^¼ · Vᵀ · C^-½,   H a Walsh-Hadamard matrix.
 *
 * With the diagonals of C and S alone this is T = H·diag((C_cc/S_cc)^¼): channels scaled and mixed
 * (TB_SKVQX_EQUAL), which asks less of the profile.
 *
 * (Cauchy-Schwarz; a rotation alone leaves trace(S)·trace(C)/d, no rotation trace(S·C).) Leaving the mean of keys out
 * moves all scores of a query alike; the mean of values comes back with the output. */
#include <math.h>
#include <string.h>
#include "cache/eigen.h"
#include "cache/store/skvqx.h"

/* Parts of the mean eigenvalue. A profile has finitely many tokens: directions that it hardly saw are not trusted. */
static const double METRIC_FLOOR = 1e-3, SPREAD_FLOOR = 1e-4;

struct statistics {
  const float *moment, *mean, *metric;
  size_t moment_head, moment_row; /* head h begins at h·moment_head, rows are moment_row apart */
};

static enum tb_status find(const struct tb_store_config *c, struct statistics *s, struct tb_error *err) {
  const size_t d = c->d, wide = c->n_heads * d;
  const bool keys = c->side == TB_SIDE_K;
  s->moment_head = keys ? d * d : d * wide + d;
  s->moment_row = keys ? d : wide;
  enum tb_status status =
      tb_profile_get(c->profile, c->layer, keys ? "kr.moment" : "v.moment", wide * (keys ? d : wide), &s->moment, err);
  if (!status) status = tb_profile_get(c->profile, c->layer, keys ? "kr.mean" : "v.mean", wide, &s->mean, err);
  return status ? status
                : tb_profile_get(c->profile, c->layer, keys ? "q.moment" : "o.metric", wide * d, &s->metric, err);
}

enum tb_status tb_skvqx_profile(const struct tb_store_config *c, bool *complete, struct tb_error *err) {
  struct statistics s;
  *complete = false;
  if (!c->profile) return TB_OK;
  enum tb_status status = find(c, &s, err);
  *complete = !status && s.moment && s.mean && s.metric;
  return status;
}

/* ------------------------------------------------------------------------------------------------------ solving */

struct solver {
  size_t d;
  double *metric, *cover, *vectors, *product, *values, *work; /* four d×d, d, tb_eigen_work(d) */
};

size_t tb_skvqx_basis_work(uint32_t d) {
  return (4 * (size_t)d * d + d + tb_eigen_work(d)) * sizeof(double);
}

static struct solver solver(size_t d, void *work) {
  double *p = work;
  return (struct solver){d, p, p + d * d, p + 2 * d * d, p + 3 * d * d, p + 4 * d * d, p + 4 * d * d + d};
}

/* out = Σ f(values_i)·u_iᵀ·u_i, u_i the rows of vectors: a function of a symmetric matrix. */
static void apply_power(const struct solver *s, double power, double *out) {
  memset(out, 0, s->d * s->d * sizeof *out);
  for (size_t i = 0; i < s->d; i++) {
    const double *u = s->vectors + i * s->d, f = power > 0 ? sqrt(s->values[i]) : 1 / sqrt(s->values[i]);
    for (size_t a = 0; a < s->d; a++)
      for (size_t b = 0; b < s->d; b++)
        out[a * s->d + b] += f * u[a] * u[b];
  }
}

static void multiply(double *out, const double *a, const double *b, size_t d) {
  memset(out, 0, d * d * sizeof *out);
  for (size_t i = 0; i < d; i++)
    for (size_t k = 0; k < d; k++)
      for (size_t j = 0; j < d; j++)
        out[i * d + j] += a[i * d + k] * b[k * d + j];
}

static void decompose(const struct solver *s, const double *matrix, double floor) {
  double mean = 0;
  memcpy(s->vectors, matrix, s->d * s->d * sizeof *matrix);
  tb_eigen_symmetric(s->vectors, s->d, s->values, s->work);
  for (size_t i = 0; i < s->d; i++)
    mean += s->values[i] / (double)s->d;
  const double least = mean > 0 ? floor * mean : 1;
  for (size_t i = 0; i < s->d; i++)
    s->values[i] = s->values[i] > least ? s->values[i] : least;
}

static void load(const struct solver *s, const struct statistics *st, uint32_t head) {
  const float *m = st->moment + head * st->moment_head, *mean = st->mean + head * s->d;
  const float *c = st->metric + head * s->d * s->d;
  for (size_t i = 0; i < s->d; i++)
    for (size_t j = 0; j < s->d; j++) {
      s->cover[i * s->d + j] = ((double)m[i * st->moment_row + j] + (double)m[j * st->moment_row + i]) / 2 -
                               (double)mean[i] * (double)mean[j];
      s->metric[i * s->d + j] = ((double)c[i * s->d + j] + (double)c[j * s->d + i]) / 2;
    }
}

/* Rows of a map scaled by f_i and mixed by H: every channel gets a part of all. Heads whose size is no power of two are
 * mixed in interleaved parts. */
static void spread(const struct tb_store *st, float *map) {
  const uint32_t d = st->config.d, part = tb_skvqx_part(d), parts = d / part;
  float column[TB_SKVQX_MAX_HEAD];
  for (uint32_t c = 0; c < d; c++)
    for (uint32_t p = 0; p < parts; p++) {
      for (uint32_t i = 0; i < part; i++)
        column[i] = map[(size_t)(i * parts + p) * d + c];
      st->kernels->hadamard(column, part);
      for (uint32_t i = 0; i < part; i++)
        map[(size_t)(i * parts + p) * d + c] = column[i];
    }
}

/* out's row i = f_i · v_i · root, v_i the rows of vectors, f_i = scale · values_i^(±¼). */
static void make_map(const struct solver *s, const double *root, double scale, bool inverse, float *out) {
  multiply(s->product, s->vectors, root, s->d);
  for (size_t i = 0; i < s->d; i++) {
    const double quarter = sqrt(sqrt(s->values[i])), f = inverse ? quarter / scale : scale / quarter;
    for (size_t j = 0; j < s->d; j++)
      out[i * s->d + j] = (float)(f * s->product[i * s->d + j]);
  }
}

static void keep_diagonal(double *m, size_t d) {
  for (size_t i = 0; i < d * d; i++)
    if (i % (d + 1)) m[i] = 0;
}

static void solve(struct tb_store *st, const struct solver *s, const struct statistics *stats, uint32_t head) {
  const struct tb_skvqx_basis b = tb_skvqx_basis_of(st, head);
  const size_t d = s->d;
  load(s, stats, head);
  if (tb_skvqx_of(st)->basis == TB_SKVQX_EQUAL) {
    keep_diagonal(s->metric, d);
    keep_diagonal(s->cover, d);
  }
  decompose(s, s->metric, METRIC_FLOOR);
  double *root = s->metric, *back = s->product;
  apply_power(s, 0.5, root);
  apply_power(s, -0.5, back); /* kept in b.back until the eigenvalues are known: products need the room */
  for (size_t i = 0; i < d * d; i++)
    b.back[i] = (float)back[i];
  multiply(s->product, root, s->cover, d);
  multiply(s->cover, s->product, root, d);
  decompose(s, s->cover, SPREAD_FLOOR);
  double energy = 0; /* mean variance of the channels becomes 1: within the window's fp16 whatever the model's scale */
  for (size_t i = 0; i < d; i++)
    energy += sqrt(s->values[i]) / (double)d;
  const double scale = 1 / sqrt(energy);
  make_map(s, root, scale, false, b.turn);
  for (size_t i = 0; i < d * d; i++)
    root[i] = (double)b.back[i];
  make_map(s, root, scale, true, b.back);
  spread(st, b.turn);
  spread(st, b.back);
  memcpy(b.mean, stats->mean + head * d, d * sizeof *b.mean);
}

void tb_skvqx_basis_init(struct tb_store *st, void *work) {
  const struct solver s = solver(st->config.d, work);
  struct statistics stats;
  if (find(&st->config, &stats, NULL) != TB_OK) return; /* check() has seen to it */
  for (uint32_t head = 0; head < st->config.n_heads; head++)
    solve(st, &s, &stats, head);
}

/* ------------------------------------------------------------------------------------------------------ turning */

/* x = map · (x - mean) for n rows; mean NULL: 0. */
static void apply(const struct tb_store *st, const float *map, const float *mean, uint32_t n, float *x, size_t ldx,
                  float *copy) {
  const uint32_t d = st->config.d, most = (uint32_t)(TB_STORE_SCRATCH / sizeof *copy) / d;
  for (uint32_t i = 0; i < n; i += most, x += most * ldx) {
    const uint32_t rows = n - i < most ? n - i : most;
    for (uint32_t r = 0; r < rows; r++)
      for (uint32_t c = 0; c < d; c++)
        copy[(size_t)r * d + c] = x[r * ldx + c] - (mean ? mean[c] : 0);
    st->kernels->tile_qk(x, ldx, copy, d, rows, map, d, d, d);
  }
}

void tb_skvqx_basis_turn(const struct tb_store *st, uint32_t head, uint32_t n, float *x, size_t ldx, void *scratch) {
  const struct tb_skvqx_basis b = tb_skvqx_basis_of(st, head);
  apply(st, b.turn, b.mean, n, x, ldx, scratch);
}

void tb_skvqx_basis_query(const struct tb_store *st, uint32_t head, uint32_t n, float *q, size_t ldq, void *scratch) {
  apply(st, tb_skvqx_basis_of(st, head).back, NULL, n, q, ldq, scratch);
}

/* Σ p·x = mean + T⁻¹·Σ p·y: sums of the rows of T⁻ᵀ. */
void tb_skvqx_basis_output(const struct tb_store *st, uint32_t head, uint32_t n, float *o, size_t ldo, void *scratch) {
  const struct tb_skvqx_basis b = tb_skvqx_basis_of(st, head);
  const uint32_t d = st->config.d, most = (uint32_t)(TB_STORE_SCRATCH / sizeof *o) / d;
  float *copy = scratch;
  for (uint32_t i = 0; i < n; i += most, o += most * ldo) {
    const uint32_t rows = n - i < most ? n - i : most;
    for (uint32_t r = 0; r < rows; r++) {
      memcpy(copy + (size_t)r * d, o + r * ldo, d * sizeof *o);
      memcpy(o + r * ldo, b.mean, d * sizeof *o);
    }
    st->kernels->tile_pv(o, ldo, copy, d, rows, b.back, d, d, d);
  }
}
