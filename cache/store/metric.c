#include "cache/store/metric.h"

#include <string.h>
#include "cache/eigen.h"

double tb_metric_trace(const float *metric, size_t d) {
  double trace = 0;
  for (size_t i = 0; i < d; i++)
    trace += metric[i * d + i];
  return trace;
}

/* With the mean diagonal as the unit, what is measured in the metric stays in the range of the window's fp16. A ridge
 * keeps directions that were never asked for from being thrown into the void: the metric of a profile comes from
 * finitely many queries, and the inverse map from those directions would blow rounding up. */
void tb_metric_factor(double *chol, const float *metric, double unit, size_t d) {
  enum { RIDGE_INVERSE = 1000 };
  const double scale = unit > 0 ? 1 / unit : 0;
  for (size_t i = 0; i < d; i++)
    for (size_t j = 0; j < d; j++)
      chol[i * d + j] = ((double)metric[i * d + j] + metric[j * d + i]) / 2 * scale + (i == j) / (double)RIDGE_INVERSE;
  tb_cholesky(chol, d, 1.0 / RIDGE_INVERSE);
}

void tb_metric_divide(float *out, const double *u, const double *chol, double *y, size_t d) {
  memcpy(y, u, d * sizeof *y);
  for (size_t j = d; j-- > 0;) {
    y[j] /= chol[j * d + j];
    for (size_t k = 0; k < j; k++)
      y[k] -= y[j] * chol[j * d + k];
  }
  for (size_t j = 0; j < d; j++)
    out[j] = (float)y[j];
}
