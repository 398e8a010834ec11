/* The specification of gemv for every format: decode the row, multiply with the activations, sum in double. */
#include "simd/gemv/gemv.h"

#include <stdbool.h>

#include "simd/formats.h"
#include "simd/kernels.h"

enum { CHUNK = 256 }; /* values decoded at a time: a multiple of every block size */

static double activation(const struct tb_acts *x, size_t i, bool codes) {
  return codes ? (double)x->d[i / 32] * x->q[i] : x->f[i];
}

static void gemv(float *y, const void *w, size_t row_bytes, size_t rows, const struct tb_acts *x, tb_dequant_t *dequant,
                 enum tb_format format) {
  const bool codes = tb_formats[format].block_values > 1;
  for (size_t r = 0; r < rows; r++) {
    const unsigned char *row = (const unsigned char *)w + r * row_bytes;
    double sum = 0;
    for (size_t i = 0; i < x->k; i += CHUNK) {
      float values[CHUNK];
      size_t n = x->k - i < CHUNK ? x->k - i : CHUNK;
      dequant(values, row + tb_row_bytes(format, i), n);
      for (size_t j = 0; j < n; j++) sum += values[j] * activation(x, i + j, codes);
    }
    y[r] = (float)sum;
  }
}

#define TB_FORMAT(name, id, values, bytes)                                                                             \
  void tb_gemv_##name##_ref TB_GEMV_ARGS { gemv(y, w, row_bytes, rows, x, tb_dequant_##name##_ref, TB_FMT_##name); }
#include "simd/formats.def"
#undef TB_FORMAT
