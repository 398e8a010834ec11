/* gemm for x86: the rows of a tile, GEMM_MR vectors of TB_LANES. A simd/vec/lanes_*.h is included before. */
#ifndef TB_SIMD_GEMM_GEMM_ROWS_X86_H
#define TB_SIMD_GEMM_GEMM_ROWS_X86_H

#include <stdbool.h>

#include "simd/gemm/gemm.h"
#include "simd/kernels.h"

enum { GEMM_MR = 2, PANEL_ROWS = GEMM_MR * TB_LANES };

/* Rows of vector m among the `rows` of a tile. */
static inline size_t tile_rows(size_t rows, int m) {
  const size_t before = (size_t)m * TB_LANES;
  return rows <= before ? 0 : rows - before < TB_LANES ? rows - before : TB_LANES;
}

/* Sums of vector m of a tile's rows in nr columns: to y where k begins, else added to it. */
V_INLINE void tile_put(float *y, size_t ldy, size_t rows, bool first, int m, const vflt *sum, int nr) {
  const size_t keep = tile_rows(rows, m);
  y += m * TB_LANES;
  V_UNROLL
  for (int c = 0; c < nr; c++, y += ldy) v_storef_n(y, first ? sum[c] : v_add(v_loadf_n(y, keep), sum[c]), keep);
}

/* `bytes` of `rows` ≤ TB_LANES rows for v_load16: in place, or, where rows are missing or the end is ragged, copied
 * together with zeros to `copy`, which has room for TB_LANES · most bytes. */
V_INLINE struct v_rows whole_rows(unsigned char *copy, size_t most, const unsigned char *w, size_t row_bytes, size_t rows,
                                  size_t bytes) {
  const struct v_rows in_place = {w, row_bytes}, copied = {copy, most};
  if (rows == TB_LANES && bytes % 16 == 0) return in_place;
  memset(copy, 0, TB_LANES * most);
  for (size_t r = 0; r < rows; r++) memcpy(copy + r * most, w + r * row_bytes, bytes);
  return copied;
}

/* The next panel's rows, a line of every one, as another is read at w. */
V_INLINE void fetch_rows(const unsigned char *w, size_t row_bytes) {
  const unsigned char *next = w + PANEL_ROWS * row_bytes;
  for (size_t r = 0; r < TB_LANES; r++) v_prefetch(next + r * row_bytes);
}

#endif
