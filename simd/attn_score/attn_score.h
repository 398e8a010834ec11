/* attn_score: queries times one packed block of keys (simd/kvblock.h, keys2), on the codes.
 *
 * A key is k[t][c] = mid[c] + step[c]·(u - centre), one step and midpoint per channel of the block, so
 *     q·k[t] = Σ_c q[c]·mid[c]  +  Σ_c (q[c]·step[c]) · (u[t][c] - centre).
 * attn_fold makes the block's two parts of it, once per block and query head, for all 160 tokens:
 *     v = q·step,  m = max |v|,  code = round-half-to-even(v · (127/m)),  a = m/127,  sum = Σ code,
 *     b = Σ q·mid in 16 interleaved partial sums (partial i: channels i, 16+i, …), then halves added: 8, 4, 2, 1.
 *   m == 0, or so small that 127/m overflows, gives zero codes and a = 0. step and mid are fp16.
 *   q: n_q columns, ldq apart; codes: n_q × planes; a, b, sum: n_q. Not finite input: unspecified, but no trap.
 * attn_score_keys2 is the integer dot product for all query heads of the KV head:
 *     dot = 2·Σ_c code[g][c]·u[t][c] - 3·sum[g]                      (twice the centred sum: an integer, below 2^24)
 *     s[g·lds + t] = (a[g]/2)·dot + b[g]                             (b NULL: added to s instead, for channels' second
 *                                                                     planes, whose a the caller scales)
 * Product and sum are rounded on their own. Contract EXACT, all. planes: a multiple of 32, at most TB_KV_PLANES_MAX;
 * block aligned to 64. */
#ifndef TB_SIMD_ATTN_SCORE_H
#define TB_SIMD_ATTN_SCORE_H

#include "simd/kvblock.h"

#define TB_ATTN_FOLD_ARGS                                                                                              \
  (int8_t *codes, float *a, float *b, int32_t *sum, const float *q, size_t ldq, size_t n_q, const uint16_t *step,      \
   const uint16_t *mid, size_t planes)
#define TB_ATTN_SCORE_KEYS2_ARGS                                                                                       \
  (float *s, size_t lds, const int8_t *codes, const float *a, const float *b, const int32_t *sum, size_t n_q,          \
   const void *block, size_t planes)

typedef void tb_attn_fold_t TB_ATTN_FOLD_ARGS;
typedef void tb_attn_score_keys2_t TB_ATTN_SCORE_KEYS2_ARGS;

#endif
