#include "cache/stats.h"

#include <string.h>

enum { TILE = TB_STATS_TILE };

static uint32_t width(uint32_t d, uint32_t tile) {
  const uint32_t left = d - tile * TILE;
  return left < TILE ? left : TILE;
}

uint32_t tb_moment_rows(uint32_t d) {
  return (d + TILE - 1) / TILE;
}

size_t tb_moment_values(uint32_t d) {
  const size_t rows = tb_moment_rows(d);
  return rows * (rows + 1) / 2 * TILE * TILE;
}

size_t tb_moment_scratch(size_t n) {
  return TILE * n + TILE * TILE;
}

static double *tile_at(const struct tb_moment *m, uint32_t row, uint32_t column) {
  return m->tiles + ((size_t)row * (row + 1) / 2 + column) * TILE * TILE;
}

void tb_moment_add(struct tb_moment *m, const struct tb_kernels *k, uint32_t row, const float *x, size_t ldx, size_t n,
                   float *scratch) {
  float *turned = scratch, *product = scratch + TILE * n; /* channels × vectors; channels × channels */
  const uint32_t height = width(m->d, row);
  for (size_t i = 0; i < n; i++)
    for (uint32_t c = 0; c < height; c++)
      turned[c * n + i] = x[i * ldx + row * TILE + c];
  for (uint32_t column = 0; column <= row; column++) {
    double *sum = tile_at(m, row, column);
    memset(product, 0, TILE * TILE * sizeof *product);
    k->tile_pv(product, TILE, turned, n, height, x + column * TILE, ldx, n, width(m->d, column));
    for (size_t i = 0; i < TILE * TILE; i++)
      sum[i] += product[i];
  }
}

void tb_moment_get(const struct tb_moment *m, double count, float *out) {
  for (uint32_t i = 0; i < m->d; i++)
    for (uint32_t j = 0; j <= i; j++) {
      const double sum = tile_at(m, i / TILE, j / TILE)[i % TILE * TILE + j % TILE];
      out[(size_t)i * m->d + j] = out[(size_t)j * m->d + i] = (float)(sum / count);
    }
}

void tb_range_add(struct tb_range *r, uint32_t first, uint32_t end, const float *x, size_t ldx, size_t n) {
  for (size_t i = 0; i < n; i++, x += ldx)
    for (uint32_t c = first; c < end; c++) {
      r->sum[c] += x[c];
      if (r->min && x[c] < r->min[c]) r->min[c] = x[c];
      if (r->max && x[c] > r->max[c]) r->max[c] = x[c];
    }
}

void tb_abs_add(double *sum, uint32_t first, uint32_t end, const float *x, size_t ldx, size_t n) {
  for (size_t i = 0; i < n; i++, x += ldx)
    for (uint32_t c = first; c < end; c++)
      sum[c] += x[c] < 0 ? -x[c] : x[c];
}

void tb_gram_row(const struct tb_kernels *kernels, uint32_t row, const float *w, uint32_t rows, size_t k, float *out) {
  enum { CHUNK = 512 }; /* values a tile kernel takes at a time */
  const uint32_t height = width(rows, row);
  for (uint32_t column = 0; column <= row; column++) {
    const uint32_t n = width(rows, column);
    double sum[TILE * TILE] = {0};
    for (size_t at = 0; at < k; at += CHUNK) {
      float part[TILE * TILE];
      kernels->tile_qk(part, TILE, w + (size_t)row * TILE * k + at, k, height, w + (size_t)column * TILE * k + at, k, n,
                       k - at < CHUNK ? k - at : CHUNK);
      for (uint32_t i = 0; i < height; i++)
        for (uint32_t j = 0; j < n; j++)
          sum[i * TILE + j] += part[i * TILE + j];
    }
    for (uint32_t i = 0; i < height; i++)
      for (uint32_t j = 0; j < n; j++) {
        const size_t a = (size_t)row * TILE + i, b = (size_t)column * TILE + j;
        out[a * rows + b] = out[b * rows + a] = (float)sum[i * TILE + j];
      }
  }
}
