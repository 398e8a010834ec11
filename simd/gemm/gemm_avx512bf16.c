/* gemm of bf16 rows for CPUs that multiply pairs of bf16 (AVX512-BF16): twice the rate of floats.
 *
 * The columns are rounded to bf16 (gemm.h says what that does to the bound). Both sides are kept as pairs of
 * neighbouring values, a dword each: of the rows as they lie in the file, transposed; of the columns PAIRS_KC values at a
 * time. An output is summed in the order of k, PAIRS_KC values in a chain, however rows and columns are cut. */
#include <immintrin.h>

#include "simd/vec/lanes_avx512.h"

#include "simd/gemm/gemm_rows_x86.h"

enum {
  PAIRS_KC = 128, /* sums start anew as in gemm_floats.h */
  PAIRS_NR = 12,
  PAIRS_NC = 512, /* columns at once */
  PANEL_DWORDS = PANEL_ROWS * PAIRS_KC / 2,
  COLUMN_BYTES = TB_GEMM_SCRATCH - TB_GEMM_KEPT - 4 * PANEL_DWORDS
};

/* Values [i, i + n) of columns [col, col + cols) as pairs, n/2 (rounded up) apart; a missing last value is 0. */
static void round_columns(uint32_t *out, const struct tb_acts *x, size_t col, size_t cols, size_t i, size_t n) {
  const size_t pairs = (n + 1) / 2;
  for (size_t c = 0; c < cols; c++, out += pairs) {
    const float *f = x->f + (col + c) * x->ldf + i;
    for (size_t a = 0; a < n; a += TB_LANES) {
      const size_t left = n - a < TB_LANES ? n - a : TB_LANES;
      const __m256i bf16 = (__m256i)_mm512_cvtneps_pbh(v_loadf_n(f + a, left));
      _mm256_mask_storeu_epi32(out + a / 2, (__mmask8)((1u << (left + 1) / 2) - 1), bf16);
    }
  }
}

V_INLINE void pair_tile(float *y, size_t ldy, size_t rows, bool first, const uint32_t *panel, size_t pairs,
                        const uint32_t *x, size_t ldx, int nr) {
  vflt sum[GEMM_MR][PAIRS_NR];
  V_UNROLL
  for (int c = 0; c < nr; c++) sum[0][c] = sum[1][c] = v_zero();
  for (size_t i = 0; i < pairs; i++, panel += PANEL_ROWS) {
    const __m512bh w0 = (__m512bh)v_loadi(panel), w1 = (__m512bh)v_loadi(panel + TB_LANES);
    V_UNROLL
    for (int c = 0; c < nr; c++) {
      const __m512bh v = (__m512bh)v_broadcast32(x + (size_t)c * ldx + i);
      sum[0][c] = _mm512_dpbf16_ps(sum[0][c], w0, v);
      sum[1][c] = _mm512_dpbf16_ps(sum[1][c], w1, v);
    }
  }
  V_UNROLL
  for (int m = 0; m < GEMM_MR; m++) tile_put(y, ldy, rows, first, m, sum[m], nr);
}

typedef void pair_tile_fn(float *y, size_t ldy, size_t rows, bool first, const uint32_t *panel, size_t pairs,
                          const uint32_t *x, size_t ldx);
#define PAIR_TILE(nr)                                                                                                  \
  static void pair_tile_##nr(float *y, size_t ldy, size_t rows, bool first, const uint32_t *panel, size_t pairs,       \
                             const uint32_t *x, size_t ldx) {                                                          \
    pair_tile(y, ldy, rows, first, panel, pairs, x, ldx, nr);                                                          \
  }
PAIR_TILE(1)
PAIR_TILE(2)
PAIR_TILE(3)
PAIR_TILE(4)
PAIR_TILE(6)
PAIR_TILE(8)
PAIR_TILE(12)

/* The tile for the most of n columns. */
static size_t choose_tile(size_t n, pair_tile_fn **fn) {
  static const struct {
    size_t columns;
    pair_tile_fn *fn;
  } tiles[] = {{12, pair_tile_12}, {8, pair_tile_8}, {6, pair_tile_6}, {4, pair_tile_4},
               {3, pair_tile_3},   {2, pair_tile_2}, {1, pair_tile_1}};
  size_t t = 0;
  while (tiles[t].columns > n) t++;
  *fn = tiles[t].fn;
  return tiles[t].columns;
}

struct pairs_job {
  float *y; /* of this pass's first column */
  size_t ldy;
  const unsigned char *w;
  size_t row_bytes, rows, cols;
  uint32_t *panel, *x;
};

static void open_pairs(const struct pairs_job *j, size_t row, size_t i, size_t n) {
  unsigned char copy[TB_LANES * PAIRS_KC * 2];
  for (size_t m = 0; m < GEMM_MR; m++) {
    const size_t r = row + m * TB_LANES, left = r < j->rows ? j->rows - r : 0;
    const unsigned char *w = j->w + r * j->row_bytes + 2 * i;
    const struct v_rows s = whole_rows(copy, PAIRS_KC * 2, w, j->row_bytes, left < TB_LANES ? left : TB_LANES, 2 * n);
    const bool more = left > PANEL_ROWS + TB_LANES;
    uint32_t *at = j->panel + m * TB_LANES;
    for (size_t b = 0; b < 2 * n; b += 16, at += 4 * PANEL_ROWS) {
      vint t[4];
      v_load16(t, &s, b);
      V_UNROLL
      for (int p = 0; p < 4; p++) v_storei(at + p * PANEL_ROWS, t[p]);
      if (more && b % 64 == 0) fetch_rows(w + b, j->row_bytes);
    }
  }
}

/* The panel's n values times all columns of this pass. `first`: they are the first of k. x: their part of the columns. */
static void panel_columns(const struct pairs_job *j, size_t row, size_t n, bool first, const uint32_t *x) {
  const size_t left = j->rows - row, rows = left < PANEL_ROWS ? left : PANEL_ROWS, pairs = (n + 1) / 2;
  for (size_t c = 0, step; c < j->cols; c += step) {
    pair_tile_fn *tile;
    step = choose_tile(j->cols - c, &tile);
    tile(j->y + c * j->ldy + row, j->ldy, rows, first, j->panel, pairs, x + c * pairs, pairs);
  }
}

/* Values [from, to) of all rows and this pass's columns, of which the first is `col`. */
static void some_values(const struct pairs_job *j, const struct tb_acts *x, size_t col, size_t from, size_t to) {
  uint32_t *at = j->x;
  for (size_t i = from; i < to; i += PAIRS_KC) {
    const size_t n = to - i < PAIRS_KC ? to - i : PAIRS_KC;
    round_columns(at, x, col, j->cols, i, n);
    at += j->cols * ((n + 1) / 2);
  }
  for (size_t row = 0; row < j->rows; row += PANEL_ROWS) {
    const uint32_t *part = j->x;
    for (size_t i = from; i < to; i += PAIRS_KC) {
      const size_t n = to - i < PAIRS_KC ? to - i : PAIRS_KC;
      open_pairs(j, row, i, n);
      panel_columns(j, row, n, i == 0, part);
      part += j->cols * ((n + 1) / 2);
    }
  }
}

void tb_gemm_bf16_avx512bf16 TB_GEMM_ARGS {
  uint32_t *room = (uint32_t *)scratch + TB_GEMM_KEPT / 4;
  struct pairs_job j = {y, ldy, w, row_bytes, rows, 0, room, room + PANEL_DWORDS};
  memset(scratch, 0, TB_GEMM_KEPT);
  for (size_t col = 0; col < n_cols; col += PAIRS_NC, j.y += PAIRS_NC * ldy) {
    j.cols = n_cols - col < PAIRS_NC ? n_cols - col : PAIRS_NC;
    /* As in gemm_blocks: all of k when columns are few, so that rows are read in the order of memory. */
    const size_t fit = COLUMN_BYTES / (j.cols * PAIRS_KC * 2) * PAIRS_KC;
    for (size_t i = 0; i < x->k; i += fit) some_values(&j, x, col, i, x->k - i < fit ? x->k : i + fit);
  }
}
