/* attn_score: queries times a packed block of keys (simd/kvblock.h, keys2), on the codes.
 *
 * A key is k[t][c] = mid[c] + step[c]·(u - 3/2), one step and midpoint per channel of the block, so
 *     q·k[t] = Σ_c (q[c]·step[c])·u[t][c]  +  Σ_c q[c]·mid[c] - 3/2·Σ_c q[c]·step[c].
 *
 * attn_fold makes what belongs to a block as a whole, once for its 160 tokens and each query head:
 *     v = q·step,  m = max |v|,  code = round-half-to-even(v · (127/m)),  a = m/127,
 *     b = Σ q·mid - (3/2·a)·Σ code
 *   The codes are centred with their own sum, so that the rounding of q meets u - 3/2, not u. m < 2^-100: zero codes,
 *   a = 0. Σ q·mid: 16 interleaved chains of fma (chain i: channels i, 16+i, …), then added i + (i+8), i + (i+4),
 *   (0 + 1) + (2 + 3); mid NULL: 0. step and mid are fp16.
 *   q: n_q columns, ldq apart; codes: n_q × planes; a, b: n_q. Input that is not finite: unspecified result, no trap.
 *
 * attn_score_keys2 is the integer dot product for all query heads of a KV head, for the whole block or n of its tokens:
 *     s[g·lds + t] = fma(a[g], Σ_c codes[g][c]·u[first + t][c], b[g])      t < n
 *   first and n are multiples of TB_KV_PART, n > 0. Nothing else of the block is read.
 *   add: (s + b[g]) instead of b[g], for the second planes of channels, whose a and b the caller scales.
 *
 * Contract EXACT, both. planes: a multiple of 32, at most TB_KV_PLANES_MAX; block aligned to 64. */
#ifndef TB_SIMD_ATTN_SCORE_H
#define TB_SIMD_ATTN_SCORE_H

#include <stdbool.h>
#include "simd/kvblock.h"

#define TB_ATTN_FOLD_ARGS                                                                                              \
  (int8_t *codes, float *a, float *b, const float *q, size_t ldq, size_t n_q, const uint16_t *step,                    \
   const uint16_t *mid, size_t planes)
#define TB_ATTN_SCORE_KEYS2_ARGS                                                                                       \
  (float *s, size_t lds, const int8_t *codes, const float *a, const float *b, bool add, size_t n_q, const void *block, \
   size_t planes, size_t first, size_t n)

typedef void tb_attn_fold_t TB_ATTN_FOLD_ARGS;
typedef void tb_attn_score_keys2_t TB_ATTN_SCORE_KEYS2_ARGS;

#endif
