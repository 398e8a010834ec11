/* Eigenvalues of symmetric matrices, for the bases that stores derive from a profile. Plain double arithmetic in a
 * fixed order (sums, products, quotients, square roots): the same bits on every machine, so that a saved cache can go
 * on elsewhere. No LAPACK: phones have none. */
#ifndef TB_CACHE_EIGEN_H
#define TB_CACHE_EIGEN_H

#include <stddef.h>

/* Doubles of work that tb_eigen_symmetric needs. */
static inline size_t tb_eigen_work(size_t n) {
  return 3 * n;
}

/* a: n×n, symmetric. Afterwards row i of a is the eigenvector of values[i], of length 1, values descending.
 * Householder's reduction to a tridiagonal matrix, then QL steps with Wilkinson's shift (Golub and Van Loan, Matrix
 * Computations, §8.3; the implicit form). About 6 n³ products. Residual |A u - λ u| of order n · 2^-53 · |A|. */
void tb_eigen_symmetric(double *a, size_t n, double *values, double *work);

/* Lower triangle L of a = L·Lᵀ in place, upper triangle zero. A pivot below `floor` becomes that,
 * so that an indefinite matrix gives a finite factor of another one. */
void tb_cholesky(double *a, size_t n, double floor);

/* The orthogonal factor of a (n×n) in place: with a = U·S·Vᵀ it is U·Vᵀ, the nearest rotation or reflection. Directions
 * in which a is zero are completed to any orthogonal matrix. work: 2·n² + n doubles. One-sided Jacobi (Hestenes 1958).
 */
void tb_polar(double *a, size_t n, double *work);

#endif
