/* cluster_score and cluster_assign for every ISA (simd/cluster/cluster.h): include after TB_FN and
 *   sums16      sixteen sums of 32 bits, one a row      lanes_zero
 *   codes64     64 bytes: four codes of sixteen rows    line_load(p)
 *   LANES_STEP(acc, x, q)                               acc + the products of x with the four codes at q
 *   lanes_scores(acc, sum, scale, dx, offset, bx, s)    the sixteen scores; `sum` is the sum of the query's codes, for
 *                                                       tiers that make x unsigned
 * Four queries share each load; a tile of 16 rows of 64 or 128 codes stays in L1 for all queries. */
#include "simd/kernels.h"

enum { QUERIES = 4 };

/* Score of 16 rows for n ≤ QUERIES queries; everything but the pointers is constant after inlining. */
TB_INLINE void score_tile(float s[][TB_CLUSTER_TILE], size_t n, const int8_t *q, const float *dq, const float *eq,
                          const int32_t *sums, const int8_t *tile, const float *dx, const float *bx, size_t d) {
  sums16 acc[QUERIES];
  for (size_t g = 0; g < n; g++) acc[g] = lanes_zero();
  for (size_t c = 0; c < d; c += 4, tile += 64) {
    const codes64 x = line_load(tile);
    for (size_t g = 0; g < n; g++) acc[g] = LANES_STEP(acc[g], x, q + g * d + c);
  }
  for (size_t g = 0; g < n; g++) lanes_scores(acc[g], sums[g], dq[g], dx, eq[g], bx, s[g]);
}

TB_INLINE void code_sums(int32_t *sums, const int8_t *q, size_t n, size_t d) {
  for (size_t g = 0; g < n; g++) {
    int32_t sum = 0;
    for (size_t c = 0; c < d; c++) sum += q[g * d + c];
    sums[g] = sum;
  }
}

TB_INLINE void score_all(float *s, size_t lds, size_t m, const int8_t *q, const float *dq, const float *eq,
                         const int8_t *x, const float *dx, const float *bx, size_t n, size_t d) {
  int32_t sums[QUERIES];
  code_sums(sums, q, m, d);
  for (size_t t = 0; t < n; t += TB_CLUSTER_TILE) {
    float part[QUERIES][TB_CLUSTER_TILE];
    score_tile(part, m, q, dq, eq, sums, x + t * d, dx + t, bx + t, d);
    for (size_t g = 0; g < m; g++) memcpy(s + g * lds + t, part[g], sizeof part[g]);
  }
}

TB_INLINE void assign_all(uint16_t *label, size_t m, const int8_t *q, const float *dq, const float *eq, const int8_t *x,
                          const float *dx, const float *bx, size_t n, size_t d) {
  int32_t sums[QUERIES];
  float best[QUERIES][TB_CLUSTER_TILE];
  int32_t at[QUERIES][TB_CLUSTER_TILE];
  code_sums(sums, q, m, d);
  for (size_t t = 0; t < n; t += TB_CLUSTER_TILE) {
    float part[QUERIES][TB_CLUSTER_TILE];
    score_tile(part, m, q, dq, eq, sums, x + t * d, dx + t, bx + t, d);
    const size_t rows = n - t < TB_CLUSTER_TILE ? n - t : TB_CLUSTER_TILE;
    for (size_t g = 0; g < m; g++)
      for (size_t i = 0; i < TB_CLUSTER_TILE; i++) {
        const float now = i < rows ? part[g][i] : -INFINITY;
        const bool better = t == 0 || now > best[g][i];
        at[g][i] = better ? (int32_t)(t + i) : at[g][i];
        best[g][i] = better ? now : best[g][i];
      }
  }
  for (size_t g = 0; g < m; g++) {
    float most = best[g][0];
    int32_t where = at[g][0];
    for (size_t i = 1; i < TB_CLUSTER_TILE; i++) {
      const bool better = best[g][i] > most || (best[g][i] == most && at[g][i] < where);
      most = better ? best[g][i] : most;
      where = better ? at[g][i] : where;
    }
    label[g] = (uint16_t)where;
  }
}

void TB_FN(cluster_score) TB_CLUSTER_SCORE_ARGS {
  for (size_t g = 0; g < n_q; g += QUERIES) {
    float *sg = s + g * lds;
    const int8_t *qg = q + g * d;
    const size_t m = n_q - g < QUERIES ? n_q - g : QUERIES;
    if (m == 4) score_all(sg, lds, 4, qg, dq + g, eq + g, x, dx, bx, n, d);
    else if (m == 3) score_all(sg, lds, 3, qg, dq + g, eq + g, x, dx, bx, n, d);
    else if (m == 2) score_all(sg, lds, 2, qg, dq + g, eq + g, x, dx, bx, n, d);
    else score_all(sg, lds, 1, qg, dq + g, eq + g, x, dx, bx, n, d);
  }
}

void TB_FN(cluster_assign) TB_CLUSTER_ASSIGN_ARGS {
  for (size_t g = 0; g < n_q; g += QUERIES) {
    const int8_t *qg = q + g * d;
    const size_t m = n_q - g < QUERIES ? n_q - g : QUERIES;
    if (m == 4) assign_all(label + g, 4, qg, dq + g, eq + g, x, dx, bx, n, d);
    else
      for (size_t i = g; i < n_q; i++) assign_all(label + i, 1, q + i * d, dq + i, eq + i, x, dx, bx, n, d);
  }
}
