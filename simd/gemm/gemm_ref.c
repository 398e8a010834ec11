/* The specification of gemm: gemv, column by column. */
#include "simd/gemm/gemm.h"

#include "simd/kernels.h"

static void gemm(float *y, size_t ldy, const void *w, size_t row_bytes, size_t rows, const struct tb_acts *x, size_t n_cols,
                 tb_gemv_t *gemv) {
  for (size_t c = 0; c < n_cols; c++) {
    struct tb_acts column = *x;
    if (x->f) column.f += c * x->ldf;
    if (x->q) {
      column.q += c * x->k;
      column.d += c * (x->k / 32);
      column.s += c * (x->k / 16);
    }
    gemv(y + c * ldy, w, row_bytes, rows, &column);
  }
}

#define TB_FORMAT(name, id, values, bytes)                                                                             \
  void tb_gemm_##name##_ref TB_GEMM_ARGS {                                                                             \
    (void)scratch;                                                                                                     \
    gemm(y, ldy, w, row_bytes, rows, x, n_cols, tb_gemv_##name##_ref);                                                 \
  }
#include "simd/formats.def"
#undef TB_FORMAT
