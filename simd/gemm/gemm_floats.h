/* gemm of one float format for x86, included once per format with FMT, FMT_BYTES and TIER defined: a panel of rows is
 * widened to floats once and multiplied with all columns. Sums start anew every FLOAT_KC values, so that the chains of
 * additions stay as short as the contract says, and are added to y. */
#define CAT4_(a, b, c, d) a##b##c##d
#define CAT4(a, b, c, d) CAT4_(a, b, c, d)
#define CAT2_(a, b) a##b
#define CAT2(a, b) CAT2_(a, b)
#define NAMED(what) CAT4(what, FMT, _, TIER)
#define WIDEN CAT2(v_widen_, FMT)

#ifndef TB_SIMD_GEMM_GEMM_FLOATS_H
#define TB_SIMD_GEMM_GEMM_FLOATS_H

enum { FLOAT_KC = 128, FLOAT_NR = TB_LANES == 16 ? 8 : 6 };
_Static_assert(4 * PANEL_ROWS * FLOAT_KC <= PANEL_BYTES, "the records of gemm_x86.h stay as they are");

/* Sixteen bytes of every row, transposed, to one vector per value: the number of values. */
V_INLINE int v_widen_f32(vflt *out, const vint *t) {
  for (int j = 0; j < 4; j++) out[j] = v_as_float(t[j]);
  return 4;
}
V_INLINE int v_widen_f16(vflt *out, const vint *t) {
  for (int j = 0; j < 4; j++) {
    out[2 * j] = v_half_low(t[j]);
    out[2 * j + 1] = v_half_high(t[j]);
  }
  return 8;
}
V_INLINE int v_widen_bf16(vflt *out, const vint *t) {
  for (int j = 0; j < 4; j++) {
    out[2 * j] = v_as_float(v_sll(t[j], 16));
    out[2 * j + 1] = v_as_float(v_and(t[j], v_set32((int)0xffff0000u)));
  }
  return 8;
}

struct float_job {
  float *y;
  size_t ldy;
  const unsigned char *w;
  size_t row_bytes, rows;
  const float *f; /* first column */
  size_t ldf, n_cols;
  float *panel; /* [value][m] vectors of rows */
};

typedef void open_floats_fn(const struct float_job *j, size_t row, size_t i, size_t n);

V_INLINE void float_tile(float *y, size_t ldy, size_t rows, bool first, const float *panel, size_t n, const float *f,
                         size_t ldf, int nr) {
  vflt sum[GEMM_MR][FLOAT_NR];
  V_UNROLL
  for (int c = 0; c < nr; c++) sum[0][c] = sum[1][c] = v_zero();
  for (size_t i = 0; i < n; i++, panel += PANEL_ROWS) {
    const vflt w0 = v_loadf(panel), w1 = v_loadf(panel + TB_LANES);
    V_UNROLL
    for (int c = 0; c < nr; c++) {
      const vflt x = v_setf(f[(size_t)c * ldf + i]);
      sum[0][c] = v_fma(w0, x, sum[0][c]);
      sum[1][c] = v_fma(w1, x, sum[1][c]);
    }
  }
  V_UNROLL
  for (int m = 0; m < GEMM_MR; m++) tile_put(y, ldy, rows, first, m, sum[m], nr);
}

typedef void float_tile_fn(float *y, size_t ldy, size_t rows, bool first, const float *panel, size_t n, const float *f,
                           size_t ldf);
#define FLOAT_TILE(nr)                                                                                                 \
  static void float_tile_##nr(float *y, size_t ldy, size_t rows, bool first, const float *panel, size_t n,             \
                              const float *f, size_t ldf) {                                                            \
    float_tile(y, ldy, rows, first, panel, n, f, ldf, nr);                                                             \
  }
FLOAT_TILE(1)
FLOAT_TILE(2)
FLOAT_TILE(3)
FLOAT_TILE(4)
FLOAT_TILE(5)
FLOAT_TILE(6)
#if TB_LANES_512
FLOAT_TILE(7)
FLOAT_TILE(8)
static float_tile_fn *const float_tiles[] = {NULL, float_tile_1, float_tile_2, float_tile_3, float_tile_4, float_tile_5,
                                             float_tile_6, float_tile_7, float_tile_8};
#else
static float_tile_fn *const float_tiles[] = {NULL, float_tile_1, float_tile_2, float_tile_3, float_tile_4, float_tile_5,
                                             float_tile_6};
#endif
#undef FLOAT_TILE

static void float_columns(const struct float_job *j, size_t row, size_t i, size_t n) {
  const size_t left = j->rows - row, rows = left < PANEL_ROWS ? left : PANEL_ROWS;
  for (size_t c = 0; c < j->n_cols; c += FLOAT_NR) {
    const size_t nc = j->n_cols - c < FLOAT_NR ? j->n_cols - c : FLOAT_NR;
    float_tiles[nc](j->y + c * j->ldy + row, j->ldy, rows, i == 0, j->panel, n, j->f + c * j->ldf + i, j->ldf);
  }
}

/* Few columns: all of k for one panel, in the order of memory. Many: FLOAT_KC values of all rows, so that this part of
 * the columns stays in the cache. */
static void gemm_floats(const struct float_job *j, size_t k, open_floats_fn *open) {
  const size_t at_once = j->n_cols <= 16 ? k : FLOAT_KC;
  for (size_t from = 0; from < k; from += at_once)
    for (size_t row = 0; row < j->rows; row += PANEL_ROWS)
      for (size_t i = from; i < k && i - from < at_once; i += FLOAT_KC) {
        const size_t n = k - i < FLOAT_KC ? k - i : FLOAT_KC;
        open(j, row, i, n);
        float_columns(j, row, i, n);
      }
}

#endif

/* Values [i, i + n) of the panel's rows. Missing rows and a ragged end are copied together first. */
static void NAMED(open_)(const struct float_job *j, size_t row, size_t i, size_t n) {
  enum { MOST = FLOAT_KC * FMT_BYTES };
  unsigned char copy[TB_LANES * MOST];
  for (int m = 0; m < GEMM_MR; m++) {
    const size_t r = row + (size_t)m * TB_LANES, left = r < j->rows ? j->rows - r : 0;
    const size_t rows = left < TB_LANES ? left : TB_LANES;
    const unsigned char *w = j->w + r * j->row_bytes + i * FMT_BYTES;
    const struct v_rows s = whole_rows(copy, MOST, w, j->row_bytes, rows, n * FMT_BYTES);
    const bool more = left > PANEL_ROWS + TB_LANES;
    float *at = j->panel + m * TB_LANES;
    for (size_t b = 0; b < n * FMT_BYTES; b += 16) {
      vint t[4];
      vflt out[8];
      v_load16(t, &s, b);
      const int values = WIDEN(out, t);
      for (int v = 0; v < values; v++, at += PANEL_ROWS) v_storef(at, out[v]);
      if (more && b % 64 == 0) fetch_rows(w + b, j->row_bytes);
    }
  }
}

void NAMED(tb_gemm_) TB_GEMM_ARGS {
  const struct float_job j = {y, ldy, w, row_bytes, rows, x->f, x->ldf, n_cols, (float *)scratch + TB_GEMM_KEPT / 4};
  gemm_floats(&j, x->k, NAMED(open_));
}

#undef CAT4_
#undef CAT4
#undef CAT2_
#undef CAT2
#undef NAMED
#undef WIDEN
#undef FMT
#undef FMT_BYTES
