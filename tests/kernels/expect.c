#include "tests/kernels/expect.h"

#include <math.h>
#include <stdlib.h>

#include "simd/kernels.h"
#include "tests/check/bf16.h"

static double activation(const struct tb_acts *x, size_t i, size_t c, bool codes) {
  return codes ? (double)x->d[c * (x->k / 32) + i / 32] * x->q[c * x->k + i] : x->f[c * x->ldf + i];
}

void expect_product(double *want, double *bound, const void *w, enum tb_format format, size_t rows,
                    const struct tb_acts *x, size_t n_cols, bool pairs) {
  const bool codes = tb_formats[format].block_values > 1;
  const size_t k = x->k, row_bytes = tb_row_bytes(format, k);
  const double chain = codes ? (double)(k / 32 + 16) : (double)(k / 8 + 16);
  float *value = malloc(k * sizeof *value);
  double *magnitude = malloc(k * sizeof *magnitude);
  assert_true(value && magnitude);
  struct tb_kernels ref;
  tb_kernels_init(&ref, 0);
  for (size_t r = 0; r < rows; r++) {
    const unsigned char *row = (const unsigned char *)w + r * row_bytes;
    ref.dequant[format](value, row, k);
    tb_weight_magnitude(magnitude, row, format, k);
    for (size_t c = 0; c < n_cols; c++) {
      double sum = 0, size = 0;
      for (size_t i = 0; i < k; i++) {
        double a = activation(x, i, c, codes), v = value[i];
        if (pairs) {
          a = tb_check_bf16(a);
          v = fabs(v) < 0x1p-126 ? 0 : v;
        }
        sum += v * a;
        size += magnitude[i] * fabs(a);
      }
      want[c * rows + r] = sum;
      bound[c * rows + r] = chain * 0x1p-24 * 4 * size + (double)k * (pairs ? 0x1p-126 : 0x1p-130);
    }
  }
  free(value);
  free(magnitude);
}

struct tb_acts expect_columns(const struct tb_acts *x, size_t c) {
  struct tb_acts y = *x;
  y.f += c * x->ldf;
  if (x->q) {
    y.q += c * x->k;
    y.d += c * (x->k / 32);
    y.s += c * (x->k / 16);
  }
  return y;
}
