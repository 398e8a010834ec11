/* gemm on ARM for the block formats: the blocking, shared by three tiers. gemm_<tier>.c includes panel_arm.h, defines
 *
 *   interleave()    codes of PANEL_ROWS rows in the order in which its microkernel reads them
 *   pack_columns()  codes of COLS activation columns, likewise
 *   MICRO(fit, scales, minima)   the name of the microkernel of a kind (simd/gemm/unpack_arm.h)
 *   TB_TIER         neon, dotprod or i8mm
 *
 * and then includes this file, which defines the kernels.
 *
 * Loops: slices of K_SLICE values of k; groups of ROW_GROUP rows, unpacked once into scratch (64 KiB of codes: they
 * stay in the second-level cache); tiles of COLS columns (4 KiB: first-level cache); panels. The sums of a slice start
 * at zero and are added to y, so an output never depends on its neighbours. */
#include "simd/gemm/gemm.h"

#include <arm_neon.h>
#include <stdbool.h>

#include "simd/formats.h"
#include "simd/gemm/panel_arm.h"
#include "simd/gemm/unpack_arm.h"
#include "simd/kernels.h"
#include "simd/vec/arm_floats.h"

enum { ROW_GROUP = 64, PANELS = ROW_GROUP / PANEL_ROWS };

struct unpacked_rows {
  int8_t codes[PANEL_ROWS][K_SLICE];
  float scales[2 * SLICE_GROUPS], minima[2 * SLICE_GROUPS];
};

struct workspace {
  struct panel panels[PANELS];
  struct columns columns;
  struct unpacked_rows rows;
};
_Static_assert(sizeof(struct workspace) <= TB_GEMM_SCRATCH, "the caller's scratch holds the workspace");

struct kind {
  tb_unpack_t *unpack;
  micro *run;
  size_t scales, minima; /* per 32 weights */
  enum tb_format format;
};

static void spread(float *panel, const float *row, size_t n, size_t r) {
  for (size_t i = 0; i < n; i++)
    for (size_t copy = 0; copy < SCALE_COPIES; copy++) panel[(i * PANEL_ROWS + r) * SCALE_COPIES + copy] = row[i];
}

/* Rows past the last repeat it; their outputs are dropped. */
static void fill_panel(struct panel *p, struct unpacked_rows *u, const struct kind *kind, const uint8_t *w,
                       size_t row_bytes, size_t rows, size_t groups) {
  for (size_t r = 0; r < PANEL_ROWS; r++) {
    kind->unpack(u->codes[r], u->scales, u->minima, w + (r < rows ? r : rows - 1) * row_bytes, groups);
    spread(p->scales, u->scales, groups * kind->scales, r);
    spread(p->minima, u->minima, groups * kind->minima, r);
  }
  interleave(p->codes, u->codes, groups);
}

/* The scales of one item in all columns. */
TB_INLINE void put_item(float *to, float32x4_t v) {
  if (SCALE_COPIES == 1) {
    vst1q_f32(to, v);
  } else {
    vst1q_f32(to, vcombine_f32(vget_low_f32(v), vget_low_f32(v)));
    vst1q_f32(to + 4, vcombine_f32(vget_high_f32(v), vget_high_f32(v)));
  }
}

/* n scales of every column to [item][column]. */
static void put_items(float *to, const float *const from[COLS], size_t n) {
  const size_t step = COLS * SCALE_COPIES;
  size_t i = 0;
  for (; i + 4 <= n; i += 4, to += 4 * step) {
    float32x4_t v[4];
    for (int c = 0; c < COLS; c++) v[c] = vld1q_f32(from[c] + i);
    tb_transpose4(v);
    for (size_t j = 0; j < 4; j++) put_item(to + j * step, v[j]);
  }
  for (; i < n; i++, to += step) {
    const float v[COLS] = {from[0][i], from[1][i], from[2][i], from[3][i]};
    put_item(to, vld1q_f32(v));
  }
}

static void scaled_sums(float *ds, const float *d, const int16_t *s, size_t groups, size_t minima) {
  if (minima == 1)
    for (size_t g = 0; g < groups; g++) ds[g] = d[g] * (float)(s[2 * g] + s[2 * g + 1]);
  else
    for (size_t i = 0; i < 2 * groups; i++) ds[i] = d[i / 2] * (float)s[i];
}

/* Columns past the last repeat it; their outputs are dropped. */
static void fill_columns(struct columns *t, const struct tb_acts *x, size_t col, size_t n_cols, size_t k0, size_t groups,
                         size_t minima) {
  const int8_t *q[COLS];
  const float *d[COLS], *ds[COLS];
  float sums[COLS][2 * SLICE_GROUPS];
  for (size_t c = 0; c < COLS; c++) {
    const size_t from = col + (c < n_cols ? c : n_cols - 1);
    q[c] = x->q + from * x->k + k0;
    d[c] = x->d + from * (x->k / 32) + k0 / 32;
    ds[c] = sums[c];
    if (minima) scaled_sums(sums[c], d[c], x->s + from * (x->k / 16) + k0 / 16, groups, minima);
  }
  pack_columns(t->codes, q, groups);
  put_items(t->d, d, groups);
  if (minima) put_items(t->ds, ds, groups * minima);
}

static void merge(float *y, size_t ldy, const float out[COLS][PANEL_ROWS], size_t rows, size_t cols, bool first) {
  for (size_t c = 0; c < cols; c++, y += ldy) {
    if (rows >= PANEL_ROWS) {
      for (size_t r = 0; r < PANEL_ROWS; r += 4) {
        float32x4_t v = vld1q_f32(&out[c][r]);
        vst1q_f32(y + r, first ? v : vaddq_f32(vld1q_f32(y + r), v));
      }
    } else {
      for (size_t r = 0; r < rows; r++) y[r] = first ? out[c][r] : y[r] + out[c][r];
    }
  }
}

static inline size_t at_most(size_t a, size_t b) { return a < b ? a : b; }

/* Rows row … row + rows - 1 (at most ROW_GROUP) over one slice of k. */
static void row_group(float *y, size_t ldy, const uint8_t *w, size_t row_bytes, size_t rows, const struct tb_acts *x,
                      size_t n_cols, struct workspace *s, const struct kind *kind, size_t k0) {
  const size_t groups = at_most(K_SLICE, x->k - k0) / 32;
  w += tb_row_bytes(kind->format, k0);
  for (size_t r = 0; r < rows; r += PANEL_ROWS)
    fill_panel(&s->panels[r / PANEL_ROWS], &s->rows, kind, w + r * row_bytes, row_bytes, rows - r, groups);
  for (size_t c = 0; c < n_cols; c += COLS) {
    fill_columns(&s->columns, x, c, n_cols - c, k0, groups, kind->minima);
    for (size_t r = 0; r < rows; r += PANEL_ROWS) {
      float out[COLS][PANEL_ROWS];
      kind->run(out, &s->panels[r / PANEL_ROWS], &s->columns, groups);
      merge(y + c * ldy + r, ldy, out, rows - r, at_most(COLS, n_cols - c), k0 == 0);
    }
  }
}

static void gemm(float *y, size_t ldy, const uint8_t *w, size_t row_bytes, size_t rows, const struct tb_acts *x,
                 size_t n_cols, void *scratch, const struct kind *kind) {
  for (size_t k0 = 0; k0 < x->k; k0 += K_SLICE)
    for (size_t r = 0; r < rows; r += ROW_GROUP)
      row_group(y + r, ldy, w + r * row_bytes, row_bytes, at_most(ROW_GROUP, rows - r), x, n_cols, scratch, kind, k0);
}

#define TB_NAME3(format, tier) tb_gemm_##format##_##tier
#define TB_NAME2(format, tier) TB_NAME3(format, tier)
#define BLOCK_GEMM(format, fit, scales, minima)                                                                        \
  void TB_NAME2(format, TB_TIER) TB_GEMM_ARGS {                                                                        \
    static const struct kind kind = {tb_unpack_##format##_neon, MICRO(fit, scales, minima), scales, minima,     \
                                     TB_FMT_##format};                                                                 \
    gemm(y, ldy, w, row_bytes, rows, x, n_cols, scratch, &kind);                                                       \
  }
TB_UNPACK_KINDS(BLOCK_GEMM)
