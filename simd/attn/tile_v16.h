/* tile_qk and tile_pv for every ISA (simd/attn/attn.h): include after the ISA's vec header and the choice of TB_WIDE
 * (simd/attn/rows_v16.h).
 *
 * Both are C += A · B over steps of TB_TILE_STEP terms. B (keys transposed, or values) is copied to a zero-padded panel
 * of COLUMNS columns that stays in L1: 16 KiB with AVX-512, 4 KiB elsewhere. A register block holds 6 rows of C × one
 * panel: 24 of 32 registers, or 12 of 16 with AVX2. */
#include "simd/kernels.h"

#include <string.h>

enum { BLOCK_ROWS = 6, PANEL_WIDTH = TB_WIDE ? 4 : 1, COLUMNS = 16 * PANEL_WIDTH };

struct panel {
  _Alignas(64) float b[TB_TILE_STEP * COLUMNS]; /* term k of column j: b[k · COLUMNS + j] */
  size_t terms;
  size_t columns; /* that exist; the others are zero */
};

/* n ≤ 16 values, written or added. */
TB_INLINE void put(float *out, size_t n, v16 x, int add) {
  if (n == 16) v16_store(out, add ? v16_add(v16_load(out), x) : x);
  else v16_store_n(out, add ? v16_add(v16_load_n(out, n), x) : x, n);
}

/* c[i·ldc + j] = or += Σ_k a[i·lda + k] · panel[k][j] for `rows` rows and `width` v16 of columns. */
TB_INLINE void block(int rows, int width, float *c, size_t ldc, const float *a, size_t lda, const struct panel *p,
                     int add) {
  v16 sum[BLOCK_ROWS * PANEL_WIDTH];
  TB_UNROLL for (int i = 0; i < rows; i++)
    TB_UNROLL for (int j = 0; j < width; j++) sum[i * width + j] = v16_zero();
  for (size_t k = 0; k < p->terms; k++) {
    v16 b[PANEL_WIDTH];
    TB_UNROLL for (int j = 0; j < width; j++) b[j] = v16_load(p->b + k * COLUMNS + (size_t)j * 16);
    TB_UNROLL for (int i = 0; i < rows; i++) {
      const v16 x = v16_set1(a[(size_t)i * lda + k]);
      TB_UNROLL for (int j = 0; j < width; j++) sum[i * width + j] = v16_fma(x, b[j], sum[i * width + j]);
    }
  }
  const size_t last = p->columns - (size_t)(width - 1) * 16;
  TB_UNROLL for (int i = 0; i < rows; i++)
    TB_UNROLL for (int j = 0; j < width; j++)
      put(c + (size_t)i * ldc + (size_t)j * 16, j + 1 < width ? 16 : last, sum[i * width + j], add);
}

/* All rows of C for one panel. */
TB_INLINE void multiply(int width, float *c, size_t ldc, const float *a, size_t lda, size_t n, const struct panel *p,
                        int add) {
  size_t i = 0;
  for (; i + BLOCK_ROWS <= n; i += BLOCK_ROWS) block(BLOCK_ROWS, width, c + i * ldc, ldc, a + i * lda, lda, p, add);
  if (n - i >= 4) {
    block(4, width, c + i * ldc, ldc, a + i * lda, lda, p, add);
    i += 4;
  }
  if (n - i >= 2) {
    block(2, width, c + i * ldc, ldc, a + i * lda, lda, p, add);
    i += 2;
  }
  if (i < n) block(1, width, c + i * ldc, ldc, a + i * lda, lda, p, add);
}

static void panel_multiply(float *c, size_t ldc, const float *a, size_t lda, size_t n, const struct panel *p, int add) {
#if TB_WIDE
  if (p->columns > 48) multiply(4, c, ldc, a, lda, n, p, add);
  else if (p->columns > 32) multiply(3, c, ldc, a, lda, n, p, add);
  else if (p->columns > 16) multiply(2, c, ldc, a, lda, n, p, add);
  else
#endif
    multiply(1, c, ldc, a, lda, n, p, add);
}

/* A 16 × 16 corner with fewer rows or columns, padded with zeros. */
static void transpose_edge(float *dst, const float *src, size_t lds, size_t rows, size_t columns) {
  float t[16 * 16] = {0};
  for (size_t i = 0; i < rows; i++) memcpy(t + 16 * i, src + i * lds, columns * sizeof *t);
  v16_transpose16(dst, COLUMNS, t, 16);
}

/* Rows of `terms` values each become columns. */
static void panel_transposed(struct panel *p, const float *rows, size_t ld) {
  for (size_t j = 0; j < p->columns; j += 16)
    for (size_t k = 0; k < p->terms; k += 16) {
      const float *src = rows + j * ld + k;
      float *dst = p->b + k * COLUMNS + j;
      const size_t n = p->columns - j, m = p->terms - k;
      if (n >= 16 && m >= 16) v16_transpose16(dst, COLUMNS, src, ld);
      else transpose_edge(dst, src, ld, n < 16 ? n : 16, m < 16 ? m : 16);
    }
}

static void panel_copied(struct panel *p, const float *rows, size_t ld) {
  for (size_t k = 0; k < p->terms; k++)
    for (size_t j = 0; j < p->columns; j += 16) {
      const float *src = rows + k * ld + j;
      const size_t n = p->columns - j;
      v16_store(p->b + k * COLUMNS + j, n >= 16 ? v16_load(src) : v16_load_n(src, n));
    }
}

void TB_FN(tile_qk)(float *s, size_t lds, const float *q, size_t ldq, size_t nq, const float *k, size_t ldk, size_t nk,
                    size_t d) {
  struct panel p;
  for (size_t t = 0; t < nk; t += COLUMNS) {
    p.columns = nk - t < COLUMNS ? nk - t : COLUMNS;
    for (size_t c = 0; c < d; c += TB_TILE_STEP) {
      p.terms = d - c < TB_TILE_STEP ? d - c : TB_TILE_STEP;
      panel_transposed(&p, k + t * ldk + c, ldk);
      panel_multiply(s + t, lds, q + c, ldq, nq, &p, c > 0);
    }
  }
}

void TB_FN(tile_pv)(float *o, size_t ldo, const float *p, size_t ldp, size_t nq, const float *v, size_t ldv, size_t nk,
                    size_t d) {
  struct panel b;
  for (size_t c = 0; c < d; c += COLUMNS) {
    b.columns = d - c < COLUMNS ? d - c : COLUMNS;
    for (size_t t = 0; t < nk; t += TB_TILE_STEP) {
      b.terms = nk - t < TB_TILE_STEP ? nk - t : TB_TILE_STEP;
      panel_copied(&b, v + t * ldv + c, ldv);
      panel_multiply(o + c, ldo, p + t, ldp, nq, &b, 1);
    }
  }
}
