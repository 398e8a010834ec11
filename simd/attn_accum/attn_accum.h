/* attn_accum: a packed block of values (simd/kvblock.h, values2 or ternary) weighted and summed, on the codes.
 *
 * A value is v[t][c] = scale[t]·(u - centre), centre = (levels - 1)/2, so
 *     Σ_t p[t]·v[t][c] = Σ_t (p[t]·scale[t])·u[t][c]  -  centre·Σ_t p[t]·scale[t].
 *
 * attn_weights quantises p·scale, once per block and query head:
 *     x = p·scale,  m = max x,  w = round-half-to-even(x · (127/m)),  a = m/127,  b = -(centre·a)·Σ w
 *   The zero point uses the same rounded weights, so that their error meets u - centre, not u. m < 2^-100: w = 0, a = 0.
 *   A weight below m/254 is lost; the error of the sum is at most 160·m/254 times the largest |v/scale|, and about
 *   2^-5·m (rms), far below the noise of the codes.
 *   p ≥ 0: n_q rows of n, ldp apart; scale: n 8-bit token scales; w: n_q rows of n, TB_KV_BLOCK apart; a, b: n_q.
 *   n: a multiple of TB_KV_PART, at most TB_KV_BLOCK, > 0.
 *
 * attn_accum_values2, attn_accum_ternary, for all query heads of a KV head, the whole block or n of its tokens:
 *     o[g·ldo + c] += fma(a[g], Σ_t w[g][t]·u[first + t][c], b[g])         c < planes, t < n
 *   first and n are multiples of 16 (values2) or 20 (ternary), n > 0. Nothing else of the block is read.
 *
 * Contract EXACT, all. planes: a multiple of 32, at most TB_KV_PLANES_MAX; block aligned to 64, w to 4. */
#ifndef TB_SIMD_ATTN_ACCUM_H
#define TB_SIMD_ATTN_ACCUM_H

#include "simd/kvblock.h"

#define TB_ATTN_WEIGHTS_ARGS                                                                                           \
  (int8_t *w, float *a, float *b, const float *p, size_t ldp, size_t n_q, const uint8_t *scale, uint32_t base_bits,    \
   float centre, size_t n)
#define TB_ATTN_ACCUM_BLOCK_ARGS                                                                                       \
  (float *o, size_t ldo, const int8_t *w, const float *a, const float *b, size_t n_q, const void *block, size_t planes, \
   size_t first, size_t n)

typedef void tb_attn_weights_t TB_ATTN_WEIGHTS_ARGS;
typedef void tb_attn_accum_values2_t TB_ATTN_ACCUM_BLOCK_ARGS;
typedef void tb_attn_accum_ternary_t TB_ATTN_ACCUM_BLOCK_ARGS;

#endif
