/* attn_accum: one packed block of values (simd/kvblock.h, values2 or ternary) weighted and summed, on the codes.
 *
 * A value is v[t][c] = scale[t]·(u - centre), centre (levels - 1)/2, so
 *     Σ_t p[t]·v[t][c] = Σ_t (p[t]·scale[t]) · (u[t][c] - centre).
 * attn_weights quantises the parenthesis, once per block and query head:
 *     x = p·scale,  m = max x,  w = round-half-to-even(x · (127/m)),  a = m/127,  sum = Σ w
 *   p ≥ 0: n_q rows of TB_KV_BLOCK, ldp apart; w: n_q × TB_KV_BLOCK; scale: 8-bit token scales (simd/kvblock.h). m == 0,
 *   or so small that 127/m overflows, gives w = 0 and a = 0. A weight below m/254 is lost: at most 160·m/254 in all,
 *   typically 2^-5 of the largest term (rms), far below the noise of the codes.
 * attn_accum_values2, attn_accum_ternary: for all query heads of the KV head
 *     dot = 2·Σ_t w[g][t]·u[t][c] - (levels - 1)·sum[g]              (twice the centred sum: an integer, below 2^24)
 *     o[g·ldo + c] += (a[g]/2)·dot
 * Product and sum are rounded on their own. Contract EXACT, all. planes: a multiple of 32, at most TB_KV_PLANES_MAX;
 * block aligned to 64, w to 4. */
#ifndef TB_SIMD_ATTN_ACCUM_H
#define TB_SIMD_ATTN_ACCUM_H

#include "simd/kvblock.h"

#define TB_ATTN_WEIGHTS_ARGS                                                                                           \
  (int8_t *w, float *a, int32_t *sum, const float *p, size_t ldp, size_t n_q, const uint8_t *scale, uint32_t base_bits)
#define TB_ATTN_ACCUM_BLOCK_ARGS                                                                                       \
  (float *o, size_t ldo, const int8_t *w, const float *a, const int32_t *sum, size_t n_q, const void *block,           \
   size_t planes)

typedef void tb_attn_weights_t TB_ATTN_WEIGHTS_ARGS;
typedef void tb_attn_accum_values2_t TB_ATTN_ACCUM_BLOCK_ARGS;
typedef void tb_attn_accum_ternary_t TB_ATTN_ACCUM_BLOCK_ARGS;

#endif
