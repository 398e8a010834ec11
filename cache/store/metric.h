/* Metrics: symmetric matrices C in which an error e costs eᵀ·C·e. With C = L·Lᵀ the cost is |Lᵀ·e|², so a best subspace
 * in the metric is that of Lᵀ·x, and its dual (queries of keys, outputs of values) lives in the rows divided by L. */
#ifndef TB_CACHE_STORE_METRIC_H
#define TB_CACHE_STORE_METRIC_H

#include <stddef.h>

/* Sum of the diagonal. */
double tb_metric_trace(const float *metric, size_t d);

/* L (d×d, lower) of metric / unit. */
void tb_metric_factor(double *chol, const float *metric, double unit, size_t d);

/* out = y with y·L = u, a row of d. y: work. */
void tb_metric_divide(float *out, const double *u, const double *chol, double *y, size_t d);

#endif
