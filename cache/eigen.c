#include "cache/eigen.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Eight chains: the compiler keeps their order and still uses vectors. */
static double dot(const double *x, const double *y, size_t n) {
  double s[8] = {0};
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (size_t j = 0; j < 8; j++)
      s[j] += x[i + j] * y[i + j];
  for (size_t j = 0; i < n; i++, j++)
    s[j] += x[i] * y[i];
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* y += f·x */
static void add(double *y, double f, const double *x, size_t n) {
  for (size_t i = 0; i < n; i++)
    y[i] += f * x[i];
}

static double length2(double x, double y) {
  double big = fmax(fabs(x), fabs(y)), small = fmin(fabs(x), fabs(y));
  if (big == 0) return 0;
  small /= big;
  return big * sqrt(1 + small * small);
}

/* ------------------------------------------------------------------------------------------------ tridiagonal form */

/* Turns x (n values) into v with (I - beta·v·vᵀ)·x = (alpha, 0, 0 …); returns alpha. */
static double reflect(double *x, size_t n, double *beta) {
  double most = 0;
  for (size_t i = 0; i < n; i++)
    most = fmax(most, fabs(x[i]));
  *beta = 0;
  if (most == 0) return 0;
  for (size_t i = 0; i < n; i++)
    x[i] /= most;
  const double norm = sqrt(dot(x, x, n)), alpha = x[0] > 0 ? -norm : norm;
  x[0] -= alpha;
  *beta = 2 / dot(x, x, n);
  return alpha * most;
}

/* Diagonal to d, the n-1 values beside it to e; the reflections stay in the upper triangle of a, their factors on its
 * diagonal. w: n values of work. */
static void reduce(double *a, size_t n, double *d, double *e, double *w) {
  for (size_t k = 0; k + 1 < n; k++) {
    double *v = a + k * n + k + 1, *rest = a + (k + 1) * n + k + 1, beta;
    const size_t m = n - k - 1;
    d[k] = a[k * n + k];
    e[k] = reflect(v, m, &beta);
    a[k * n + k] = beta;
    memset(w, 0, m * sizeof *w);
    for (size_t i = 0; i < m; i++)
      add(w, beta * v[i], rest + i * n, m);
    add(w, -beta / 2 * dot(w, v, m), v, m);
    for (size_t i = 0; i < m; i++) {
      add(rest + i * n, -v[i], w, m);
      add(rest + i * n, -w[i], v, m);
    }
  }
  d[n - 1] = a[n * n - 1];
}

/* The product of the reflections, transposed, in place of them. v: n values of work. */
static void expand(double *a, size_t n, double *v) {
  memset(a + (n - 1) * n, 0, n * sizeof *a);
  a[n * n - 1] = 1;
  for (size_t k = n - 1; k-- > 0;) {
    const size_t m = n - k - 1;
    double *row = a + k * n;
    const double beta = row[k];
    memcpy(v, row + k + 1, m * sizeof *v);
    memset(row, 0, n * sizeof *row);
    row[k] = 1;
    for (size_t i = k + 1; i < n; i++) {
      double *x = a + i * n + k + 1;
      a[i * n + k] = 0;
      add(x, -beta * dot(x, v, m), v, m);
    }
  }
}

/* -------------------------------------------------------------------------------------------------------- QL steps */

static void rotate_rows(double *x, double *y, size_t n, double c, double s) {
  for (size_t i = 0; i < n; i++) {
    const double a = x[i], b = y[i];
    x[i] = c * a - s * b;
    y[i] = s * a + c * b;
  }
}

/* The end of the unreduced block that begins at l. */
static size_t block_end(const double *d, const double *e, size_t l, size_t n) {
  size_t m = l;
  while (m + 1 < n && fabs(e[m]) > DBL_EPSILON * (fabs(d[m]) + fabs(d[m + 1])))
    m++;
  return m;
}

/* One implicit QL step on d[l … m], e[l … m-1]: the bulge is chased from the lower end to l. */
static void ql_step(double *a, size_t n, double *d, double *e, size_t l, size_t m) {
  const double half = (d[l + 1] - d[l]) / (2 * e[l]), root = length2(half, 1);
  double g = d[m] - d[l] + e[l] / (half + (half < 0 ? -root : root)); /* d[m] - shift */
  double s = 1, c = 1, p = 0;
  for (size_t i = m; i-- > l;) {
    const double f = s * e[i], b = c * e[i];
    double r = length2(f, g);
    e[i + 1] = r;
    if (r == 0) { /* the block falls apart here */
      d[i + 1] -= p;
      e[m] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = d[i + 1] - p;
    r = (d[i] - g) * s + 2 * c * b;
    p = s * r;
    d[i + 1] = g + p;
    g = c * r - b;
    rotate_rows(a + i * n, a + (i + 1) * n, n, c, s);
  }
  d[l] -= p;
  e[l] = g;
  e[m] = 0;
}

enum { MAX_STEPS = 64 }; /* two or three per value are usual */

static void sort(double *a, size_t n, double *d) {
  for (size_t i = 0; i + 1 < n; i++) {
    size_t best = i;
    for (size_t j = i + 1; j < n; j++)
      if (d[j] > d[best]) best = j;
    if (best == i) continue;
    const double value = d[i];
    d[i] = d[best];
    d[best] = value;
    rotate_rows(a + i * n, a + best * n, n, 0, 1);
  }
}

void tb_eigen_symmetric(double *a, size_t n, double *values, double *work) {
  double *e = work, *w = work + n;
  reduce(a, n, values, e, w);
  e[n - 1] = 0;
  expand(a, n, w);
  for (size_t l = 0; l < n; l++)
    for (int step = 0; step < MAX_STEPS; step++) {
      const size_t m = block_end(values, e, l, n);
      if (m == l) break;
      ql_step(a, n, values, e, l, m);
    }
  sort(a, n, values);
}

void tb_cholesky(double *a, size_t n, double floor) {
  for (size_t i = 0; i < n; i++) {
    double *row = a + i * n;
    const double most = sqrt(row[i] > floor ? row[i] : floor); /* no entry is larger, unless a is indefinite */
    for (size_t j = 0; j < i; j++)
      row[j] = fmax(-most, fmin(most, (row[j] - dot(row, a + j * n, j)) / a[j * n + j]));
    const double pivot = row[i] - dot(row, row, i);
    row[i] = sqrt(pivot > floor ? pivot : floor);
    memset(row + i + 1, 0, (n - i - 1) * sizeof *row);
  }
}

/* Rotates rows p and q of u (and v alike) until they are orthogonal; true when they were not. */
static int orthogonalise(double *p, double *q, double *vp, double *vq, size_t n) {
  const double a = dot(p, p, n), b = dot(q, q, n), c = dot(p, q, n);
  if (fabs(c) <= 1e-14 * sqrt(a * b) || c == 0) return 0;
  const double z = (b - a) / (2 * c), t = (z < 0 ? -1 : 1) / (fabs(z) + sqrt(1 + z * z));
  const double cosine = 1 / sqrt(1 + t * t), sine = cosine * t;
  rotate_rows(p, q, n, cosine, sine);
  rotate_rows(vp, vq, n, cosine, sine);
  return 1;
}

/* Row i of u becomes a unit vector orthogonal to the rows before it that `done` holds, nearest to some axis. */
static void complete(double *u, size_t n, size_t i, const double *size, double least) {
  double best = -1;
  for (size_t axis = 0; axis < n && best < 0.5 / (double)n; axis++) {
    double *x = u + i * n;
    memset(x, 0, n * sizeof *x);
    x[axis] = 1;
    for (int twice = 0; twice < 2; twice++)
      for (size_t j = 0; j < n; j++)
        if (j < i || (j > i && size[j] > least)) add(x, -dot(x, u + j * n, n), u + j * n, n);
    best = dot(x, x, n);
  }
  const double length = sqrt(dot(u + i * n, u + i * n, n));
  for (size_t c = 0; c < n; c++)
    u[i * n + c] /= length;
}

enum { MAX_SWEEPS = 40 };

/* aᵀ as rows: u = aᵀ, v = 1. Rotations of rows make u = S·Uᵀ and v = Vᵀ with aᵀ = V·S·Uᵀ. */
void tb_polar(double *a, size_t n, double *work) {
  double *u = work, *v = work + n * n, *size = work + 2 * n * n, most = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) {
      u[i * n + j] = a[j * n + i];
      v[i * n + j] = i == j;
    }
  for (int sweep = 0, changed = 1; changed && sweep < MAX_SWEEPS; sweep++) {
    changed = 0;
    for (size_t p = 0; p + 1 < n; p++)
      for (size_t q = p + 1; q < n; q++)
        changed |= orthogonalise(u + p * n, u + q * n, v + p * n, v + q * n, n);
  }
  for (size_t i = 0; i < n; i++) {
    size[i] = sqrt(dot(u + i * n, u + i * n, n));
    most = fmax(most, size[i]);
  }
  const double least = most * 1e-12;
  for (size_t i = 0; i < n; i++)
    for (size_t c = 0; size[i] > least && c < n; c++)
      u[i * n + c] /= size[i];
  for (size_t i = 0; i < n; i++)
    if (!(size[i] > least)) complete(u, n, i, size, least);
  memset(a, 0, n * n * sizeof *a);
  for (size_t i = 0; i < n; i++) /* Σ u_i v_iᵀ */
    for (size_t r = 0; r < n; r++)
      add(a + r * n, u[i * n + r], v + i * n, n);
}
