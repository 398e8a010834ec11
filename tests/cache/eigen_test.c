/* The eigen-solver against its definition. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/rng.h"
#include "cache/eigen.h"

enum { MOST = 96 };

static double a[MOST * MOST], u[MOST * MOST], values[MOST], work[3 * MOST];

/* A u = λ u, U Uᵀ = 1, values descend. */
static void check(size_t n) {
  double scale = 1e-300;
  for (size_t i = 0; i < n * n; i++)
    scale = fmax(scale, fabs(a[i]));
  memcpy(u, a, n * n * sizeof *a);
  tb_eigen_symmetric(u, n, values, work);
  for (size_t i = 0; i < n; i++) {
    if (i > 0) assert_true(values[i] <= values[i - 1]);
    for (size_t j = 0; j < n; j++) {
      double au = 0, uu = 0;
      for (size_t k = 0; k < n; k++) {
        au += a[j * n + k] * u[i * n + k];
        uu += u[i * n + k] * u[j * n + k];
      }
      if (fabs(au - values[i] * u[i * n + j]) > 1e-13 * (double)n * scale)
        fail_msg("n %zu: residual of vector %zu", n, i);
      if (fabs(uu - (i == j)) > 1e-13 * (double)n) fail_msg("n %zu: vectors %zu and %zu: product %g", n, i, j, uu);
    }
  }
}

static void solves_random(void **state) {
  (void)state;
  struct tb_rng rng = {1};
  for (size_t n = 1; n <= MOST; n += n < 20 ? 1 : 19)
    for (int kind = 0; kind < 3; kind++) { /* plain, graded over twelve decades, of rank 3 */
      for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
          double x = tb_rng_normal(&rng);
          if (kind == 1) x *= pow(10, -12.0 * (double)(i + j) / (double)(2 * n));
          if (kind == 2) x = cos((double)i) * cos((double)j) + (double)(i * j) / (double)(n * n) + (i % 3 == j % 3);
          a[i * n + j] = a[j * n + i] = x;
        }
      check(n);
    }
}

static void solves_degenerate(void **state) {
  (void)state;
  for (size_t n = 1; n < 9; n++) {
    memset(a, 0, sizeof a);
    check(n);
    for (size_t i = 0; i < n; i++)
      a[i * n + i] = i / 2 % 2 ? 7 : -2; /* repeated values */
    check(n);
    for (size_t i = 0; i < n * n; i++)
      a[i] = 1e200;
    check(n);
  }
}

static void factors(void **state) {
  (void)state;
  struct tb_rng rng = {2};
  const size_t n = 33;
  for (size_t i = 0; i < n * n; i++)
    u[i] = tb_rng_normal(&rng);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) {
      a[i * n + j] = i == j;
      for (size_t k = 0; k < n; k++)
        a[i * n + j] += u[i * n + k] * u[j * n + k];
    }
  memcpy(u, a, n * n * sizeof *a);
  tb_cholesky(u, n, 1e-6);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) {
      double sum = 0;
      for (size_t k = 0; k < n; k++)
        sum += u[i * n + k] * u[j * n + k];
      assert_true(fabs(sum - a[i * n + j]) < 1e-12 * a[0]);
      if (j > i) assert_true(u[i * n + j] == 0);
    }
}

/* Any matrix is a rotation times a symmetric one without negative eigenvalues; singular ones too. */
static void finds_rotations(void **state) {
  (void)state;
  struct tb_rng rng = {3};
  static double q[MOST * MOST], polar_work[2 * MOST * MOST + MOST];
  for (size_t n = 1; n <= 40; n += 13)
    for (size_t rank = 0; rank <= n; rank += n > 20 ? 13 : 1) {
      memset(a, 0, sizeof a);
      for (size_t r = 0; r < rank; r++)
        for (size_t i = 0; i < n; i++) {
          const double x = tb_rng_normal(&rng);
          for (size_t j = 0; j < n; j++)
            a[i * n + j] += x * sin((double)(1 + r) * (double)(1 + j));
        }
      memcpy(q, a, n * n * sizeof *a);
      tb_polar(q, n, polar_work);
      for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
          double qq = 0, ij = 0, ji = 0;
          for (size_t k = 0; k < n; k++) {
            qq += q[i * n + k] * q[j * n + k];
            ij += q[k * n + i] * a[k * n + j];
            ji += q[k * n + j] * a[k * n + i];
          }
          if (fabs(qq - (i == j)) > 1e-9) fail_msg("n %zu, rank %zu: not a rotation: %g", n, rank, qq);
          if (fabs(ij - ji) > 1e-9 * (double)n) fail_msg("n %zu, rank %zu: not symmetric", n, rank);
          u[i * n + j] = (ij + ji) / 2;
        }
      tb_eigen_symmetric(u, n, values, work);
      assert_true(values[n - 1] > -1e-9 * (double)n);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(solves_random), cmocka_unit_test(solves_degenerate),
                                     cmocka_unit_test(factors), cmocka_unit_test(finds_rotations)};
  return cmocka_run_group_tests_name("eigen", tests, NULL, NULL);
}
