/* gemm of the float formats with NEON. Panels of eight rows as floats, [k][row]; tiles of eight columns, [k / 4][column]
 * [4]. The microkernel multiplies a vector of four rows with one lane of a column: sixteen result vectors. Chains are
 * cut every CHAIN values of k (see the bound in simd/gemv/gemv.h: a chain of n sums has n roundings, and
 * CHAIN + k/CHAIN ≤ 4·(k/8 + 16) for every k). Past the end of k there are zeros. */
#include "simd/gemm/gemm.h"

#include <arm_neon.h>
#include <stdbool.h>
#include <string.h>

#include "simd/kernels.h"
#include "simd/vec/arm_floats.h"

enum { ROWS = 8, COLS = 8, CHAIN = 64, K_SLICE = 512, ROW_GROUP = 32 };

struct workspace {
  float panels[ROW_GROUP / ROWS][K_SLICE * ROWS]; /* 64 KiB: second-level cache */
  float columns[K_SLICE * COLS];                  /* 16 KiB: first-level cache */
};
_Static_assert(sizeof(struct workspace) <= TB_GEMM_SCRATCH, "the caller's scratch holds the workspace");

/* Sixteen weights of a row as floats. */
typedef void load16(float32x4_t v[4], const uint8_t *w);

TB_INLINE void load_some(float32x4_t v[4], const uint8_t *w, size_t bytes, load16 *load) {
  uint8_t padded[64] = {0};
  memcpy(padded, w, bytes);
  load(v, padded);
}

/* Sixteen values of four rows into a panel; `valid` of the 16 exist. */
TB_INLINE void fill16(float *out, const uint8_t *const w[4], size_t valid, size_t size, load16 *load) {
  float32x4_t v[4][4];
  for (int r = 0; r < 4; r++) {
    if (valid == 16) load(v[r], w[r]);
    else load_some(v[r], w[r], valid * size, load);
  }
  for (int i = 0; i < 4; i++) {
    float32x4_t t[4] = {v[0][i], v[1][i], v[2][i], v[3][i]};
    tb_transpose4(t);
    for (int j = 0; j < 4; j++) vst1q_f32(out + (4 * i + j) * ROWS, t[j]);
  }
}

/* Rows past the last repeat it; their outputs are dropped. */
TB_INLINE void fill_panel(float *panel, const uint8_t *w, size_t row_bytes, size_t rows, size_t n, size_t size,
                          load16 *load) {
  for (size_t half = 0; half < ROWS; half += 4)
    for (size_t i = 0; i < n; i += 16) {
      const uint8_t *from[4];
      for (size_t r = 0; r < 4; r++) from[r] = w + (half + r < rows ? half + r : rows - 1) * row_bytes + i * size;
      fill16(panel + i * ROWS + half, from, n - i < 16 ? n - i : 16, size, load);
    }
}

static void fill_columns(float *columns, const float *x, size_t ldf, size_t n_cols, size_t n) {
  for (size_t c = 0; c < COLS; c++) {
    const float *from = x + (c < n_cols ? c : n_cols - 1) * ldf;
    float *to = columns + 4 * c;
    for (size_t i = 0; i < n; i += 4, to += 4 * COLS) {
      if (i + 4 <= n) vst1q_f32(to, vld1q_f32(from + i));
      else for (size_t j = 0; j < 4; j++) to[j] = i + j < n ? from[i + j] : 0.0f;
    }
  }
}

#define EACH_COLUMN(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define CLEAR(c) low##c = high##c = vdupq_n_f32(0);
#define LOAD(c) x##c = vld1q_f32(x + 4 * (c));
#define MULTIPLY(c, j)                                                                                                 \
  low##c = vfmaq_laneq_f32(low##c, w0, x##c, j);                                                                       \
  high##c = vfmaq_laneq_f32(high##c, w1, x##c, j);
#define ONE(j)                                                                                                         \
  w0 = vld1q_f32(w + ROWS * (j));                                                                                      \
  w1 = vld1q_f32(w + ROWS * (j) + 4);                                                                                  \
  MULTIPLY(0, j) MULTIPLY(1, j) MULTIPLY(2, j) MULTIPLY(3, j)                                                          \
  MULTIPLY(4, j) MULTIPLY(5, j) MULTIPLY(6, j) MULTIPLY(7, j)
#define ADD(c)                                                                                                         \
  vst1q_f32(out[c], vaddq_f32(vld1q_f32(out[c]), low##c));                                                             \
  vst1q_f32(out[c] + 4, vaddq_f32(vld1q_f32(out[c] + 4), high##c));

/* out[c][r] += one chain of n values of k (rounded up to a multiple of 4). */
static void micro(float out[COLS][ROWS], const float *w, const float *x, size_t n) {
  float32x4_t low0, low1, low2, low3, low4, low5, low6, low7, high0, high1, high2, high3, high4, high5, high6, high7;
  float32x4_t w0, w1, x0, x1, x2, x3, x4, x5, x6, x7;
  EACH_COLUMN(CLEAR)
  for (size_t i = 0; i < n; i += 4) {
    EACH_COLUMN(LOAD)
    ONE(0) ONE(1) ONE(2) ONE(3)
    w += 4 * ROWS;
    x += 4 * COLS;
  }
  EACH_COLUMN(ADD)
}

static inline size_t at_most(size_t a, size_t b) { return a < b ? a : b; }

/* One tile: all chains of a slice. */
static void tile(float *y, size_t ldy, size_t rows, size_t cols, const float *panel, const float *columns, size_t n,
                 bool first) {
  float out[COLS][ROWS] = {{0}};
  for (size_t c = 0; c < cols && !first; c++) memcpy(out[c], y + c * ldy, rows * sizeof *y);
  for (size_t i = 0; i < n; i += CHAIN) micro(out, panel + i * ROWS, columns + i * COLS, at_most(CHAIN, n - i));
  for (size_t c = 0; c < cols; c++) memcpy(y + c * ldy, out[c], rows * sizeof *y);
}

/* Up to ROW_GROUP rows whose panels are filled, over one slice of n values. */
static void multiply(float *y, size_t ldy, size_t rows, const struct tb_acts *x, size_t n_cols, struct workspace *s,
                     size_t k0, size_t n) {
  for (size_t c = 0; c < n_cols; c += COLS) {
    fill_columns(s->columns, x->f + c * x->ldf + k0, x->ldf, n_cols - c, n);
    for (size_t r = 0; r < rows; r += ROWS)
      tile(y + c * ldy + r, ldy, at_most(ROWS, rows - r), at_most(COLS, n_cols - c), s->panels[r / ROWS], s->columns, n,
           k0 == 0);
  }
}

TB_INLINE void gemm(float *y, size_t ldy, const uint8_t *w, size_t row_bytes, size_t rows, const struct tb_acts *x,
                    size_t n_cols, struct workspace *s, size_t size, load16 *load) {
  for (size_t k0 = 0; k0 < x->k; k0 += K_SLICE)
    for (size_t first = 0; first < rows; first += ROW_GROUP) {
      const size_t n = at_most(K_SLICE, x->k - k0), group = at_most(ROW_GROUP, rows - first);
      for (size_t r = 0; r < group; r += ROWS)
        fill_panel(s->panels[r / ROWS], w + (first + r) * row_bytes + k0 * size, row_bytes, group - r, n, size, load);
      multiply(y + first, ldy, group, x, n_cols, s, k0, n);
    }
}

#define FLOAT_GEMM(format, size)                                                                                       \
  void tb_gemm_##format##_neon TB_GEMM_ARGS {                                                                          \
    gemm(y, ldy, w, row_bytes, rows, x, n_cols, scratch, size, tb_load16_##format);                                    \
  }
FLOAT_GEMM(f32, 4)
FLOAT_GEMM(f16, 2)
FLOAT_GEMM(bf16, 2)
