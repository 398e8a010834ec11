/* cluster: grouping keys and choosing groups (ClusterKV, arXiv 2412.03213; cache/policy/recall.h says what for).
 *
 * Rows of d values (a multiple of 16, at most 512) as signed 8-bit codes, -127 … 127, with one scale each: value i of a
 * row is scale · code. Two arrangements:
 *   rows    row r is d consecutive codes at x + r·d
 *   lanes   tiles of 16 rows: code c of row 16·t + i is byte t·16·d + c/4·64 + i·4 + c%4, so that a 32-bit lane is one
 *           row and no sum crosses lanes. Whole tiles are read; what stands for rows that do not exist is ignored.
 *
 * cluster_code    rows of floats, less a common vector `centre` of d, to codes:
 *                     m = max |x[c] - centre[c]|,  scale = m/127,  code = round-half-to-even((x - centre) · (127/m))
 *                 m < 2^-100: zero codes, scale 0.
 * cluster_score   n_q rows of codes against n rows in lanes, one KV head's queries against its centroids:
 *                     s[g·lds + i] = fma(dq[g]·dx[i], Σ_c q[g][c]·x[i][c], eq[g]·bx[i])
 *                 for i up to n rounded up to 16: dx, bx and s have room for that.
 * cluster_assign  label[g] = the i < n with the greatest such score, the lowest of equals. This is a matrix product whose
 *                 results are never stored: k-means puts n_q keys to n centroids.
 * cluster_sum     sum[label[r]·d + c] = fma(scale[r], code[r][c], sum[label[r]·d + c]), r rising: centroids are means.
 * cluster_hist    sorts without sorting, by how near a row is to the best one of each query:
 *                     p = 1/n_q · Σ_g (1/(1 + best[g] - s[g·lds + i]))², g rising, an fma each
 *                     bin[i] = clamp((bits of the float p >> 20) - 761, 0, 255);  hist[bin[i]] += size[i]
 *                 Eight bins to a factor of two: 255 holds 1, 0 all below 2^-31. best[g] ≥ s[g·lds + i].
 *
 * Contract EXACT, all of them; scores are finite. No argument is aligned, but x in lanes is (to 64). */
#ifndef TB_SIMD_CLUSTER_H
#define TB_SIMD_CLUSTER_H

#include <stddef.h>
#include <stdint.h>

enum { TB_CLUSTER_TILE = 16, TB_CLUSTER_D_MAX = 512, TB_CLUSTER_BINS = 256 };

static inline size_t tb_cluster_tiles(size_t n) { return (n + TB_CLUSTER_TILE - 1) / TB_CLUSTER_TILE; }

/* Byte of code c of row i in lanes. */
static inline size_t tb_cluster_place(size_t i, size_t c, size_t d) {
  return i / TB_CLUSTER_TILE * TB_CLUSTER_TILE * d + c / 4 * 64 + i % TB_CLUSTER_TILE * 4 + c % 4;
}

#define TB_CLUSTER_CODE_ARGS                                                                                           \
  (int8_t *code, float *scale, const float *x, size_t ldx, const float *centre, size_t n, size_t d)
#define TB_CLUSTER_SCORE_ARGS                                                                                          \
  (float *s, size_t lds, const int8_t *q, const float *dq, const float *eq, size_t n_q, const int8_t *x,               \
   const float *dx, const float *bx, size_t n, size_t d)
#define TB_CLUSTER_ASSIGN_ARGS                                                                                         \
  (uint16_t *label, const int8_t *q, const float *dq, const float *eq, size_t n_q, const int8_t *x, const float *dx,   \
   const float *bx, size_t n, size_t d)
#define TB_CLUSTER_SUM_ARGS                                                                                            \
  (float *sum, const uint16_t *label, const int8_t *code, const float *scale, size_t n, size_t d)
#define TB_CLUSTER_HIST_ARGS                                                                                           \
  (uint32_t *hist, uint8_t *bin, const float *s, size_t lds, const float *best, size_t n_q, const uint16_t *size,      \
   size_t n)

typedef void tb_cluster_code_t TB_CLUSTER_CODE_ARGS;
typedef void tb_cluster_score_t TB_CLUSTER_SCORE_ARGS;
typedef void tb_cluster_assign_t TB_CLUSTER_ASSIGN_ARGS;
typedef void tb_cluster_sum_t TB_CLUSTER_SUM_ARGS;
typedef void tb_cluster_hist_t TB_CLUSTER_HIST_ARGS;

#endif
