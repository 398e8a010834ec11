/* Statistics of vectors that come by in batches: what a profile is made of. Sums run in double; the products of a batch
 * are float, by the kernels of attention's tiles (simd/attn/attn.h: error at most (64 + n/64 + 2) · 2^-24 · Σ|terms|
 * for n vectors), so that second moments of a thousand dimensions cost seconds. Pure data: no threads in here, a caller
 * cuts the work by its rows of tiles. */
#ifndef TB_CACHE_STATS_H
#define TB_CACHE_STATS_H

#include <stdint.h>
#include "simd/kernels.h"

/* ------------------------------------------------------------------------------------------------------ second moment
 */

/* Σ x xᵀ of vectors of d values: the tiles on and below the diagonal, row by row, TB_STATS_TILE² sums each. */
enum { TB_STATS_TILE = 64 };
struct tb_moment {
  uint32_t d;
  double *tiles; /* tb_moment_values(d), zeroed at first; the caller owns it */
};
uint32_t tb_moment_rows(uint32_t d); /* rows of tiles */
size_t tb_moment_values(uint32_t d);
/* Floats that tb_moment_add needs for n vectors. */
size_t tb_moment_scratch(size_t n);
/* Adds n vectors, vector i at x + i·ldx, to one row of tiles. */
void tb_moment_add(struct tb_moment *m, const struct tb_kernels *k, uint32_t row, const float *x, size_t ldx, size_t n,
                   float *scratch);
/* The whole matrix, d × d, divided by `count`. */
void tb_moment_get(const struct tb_moment *m, double count, float *out);

/* ------------------------------------------------------------------------------------------------------- per channel
 */

struct tb_range {
  float *min, *max; /* +inf and -inf at first; NULL: not wanted */
  double *sum;      /* 0 at first */
};
/* Channels first … end-1 of n vectors. */
void tb_range_add(struct tb_range *r, uint32_t first, uint32_t end, const float *x, size_t ldx, size_t n);
/* sum[c] += Σ |x[c]|. */
void tb_abs_add(double *sum, uint32_t first, uint32_t end, const float *x, size_t ldx, size_t n);

/* ---------------------------------------------------------------------------------------------------------------- gram
 */

/* One row of tiles of W·Wᵀ, W: rows × k, into out (rows × rows), and its mirror image. */
void tb_gram_row(const struct tb_kernels *kernels, uint32_t row, const float *w, uint32_t rows, size_t k, float *out);

#endif
