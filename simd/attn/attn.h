/* attn: attention of one token over row-wise stored keys and values, and the tiles of prefill.
 *
 * All query heads that share a KV head (n_q of them) are served in one pass. `d` is the head size, 1 … 512; a stored
 * row is d values of the format (f32, f16, q8_0, q4_0: then d is a multiple of 32), rows are `stride` bytes apart, n
 * rows. Nothing needs alignment, nothing is read past a row's last byte. All values are finite, except where -inf is
 * allowed below. fma(x, y, z) is x·y + z rounded once.
 *
 * attn_score:  s[g·lds + t] = Σ_c q_g[c] · K[t][c]             (q: n_q columns of simd/act.h with k = d; f32 and f16
 *                                                               rows read q->f, block formats q->q, q->d, q->s)
 *     f32, f16:    sixteen chains sum_j = fma(K[t][c], q_g[c], sum_j), c = j, j + 16 …, c rising, as if rows were
 *                  padded with zeros to a multiple of 16; then i + (i+8), i + (i+4), (0 + 1) + (2 + 3).
 *     q8_0, q4_0:  per block of 32 the integer dot product; s = s + (dK·dq)·dot over the blocks in order.
 * attn_accum:  acc[g·d + c] += Σ_t p[g·ldp + t] · V[t][c]
 *     per 32 rows (t = 0 … 31, 32 … 63, …) a chain sum = fma(w, V, sum) from 0, then acc = acc + sum.
 *     f32, f16:    w = p, V the stored value.      q8_0, q4_0:  w = p · scale of the block, V the whole-number code.
 * attn_max:    the largest of n floats (n ≥ 1, -inf allowed). A zero result may have either sign.
 * attn_exp:    s_i = exp(s_i - m) in place, returns their sum. s_i may be -inf, giving 0; s_i - m ≤ 88, m finite.
 *     The steps of exp are written in simd/vec/exp_fast.h: relative error < 2^-17, 0 where s_i - m < -80. The sum runs
 *     in sixteen chains (i mod 16), then i + (i+8), i + (i+4), (0 + 1) + (2 + 3).
 *
 * tile_qk:     s[i·lds + t]  = Σ_c q[i·ldq + c] · k[t·ldk + c]     i < nq, t < nk, all float
 * tile_pv:     o[i·ldo + c] += Σ_t p[i·ldp + t] · v[t·ldv + c]
 *     per TB_TILE_STEP terms a chain sum = fma(…, …, sum) from 0; the sums are added in order, tile_qk's to the first,
 *     tile_pv's to o. Outputs do not overlap inputs.
 *
 * kvpack:      d floats to one stored row. kvdequant: one stored row to d floats.
 *     q8_0 and q4_0 have ggml's block layout (32 values, fp16 scale); the rounding rule is written in attn_ref.c.
 *
 * Contract EXACT, all of them. So an output's bits depend on its own row, query and weights alone: not on n_q or nq,
 * nor on where a range of rows is cut (accum: at multiples of 32). Against real arithmetic on the stored values, with
 * m = d for score and qk, n or nk for accum and pv, the error is at most
 *     score f32, f16 (m/16 + 6) · 2^-24 · Σ|terms|                   score q8_0, q4_0 (m/32 + 3) · 2^-24 · Σ|terms|
 *     accum (min(m, 32) + m/32 + 3) · 2^-24 · (|acc| + Σ|terms|)     tiles (min(m, 64) + m/64 + 2) · 2^-24 · (|o| + Σ|terms|)
 * (additions on the longest path of a term, one more for a rounded weight; Higham, Accuracy and Stability, §3.1), as
 * long as no product underflows. */
#ifndef TB_SIMD_ATTN_H
#define TB_SIMD_ATTN_H

#include "simd/act.h"

enum { TB_TILE_STEP = 64 };

#define TB_ATTN_SCORE_ARGS                                                                                             \
  (float *s, size_t lds, const struct tb_acts *q, size_t n_q, const void *k, size_t stride, size_t n, size_t d)
#define TB_ATTN_ACCUM_ARGS                                                                                             \
  (float *acc, const float *p, size_t ldp, size_t n_q, const void *v, size_t stride, size_t n, size_t d)
#define TB_ATTN_MAX_ARGS (const float *s, size_t n)
#define TB_ATTN_EXP_ARGS (float *s, size_t n, float m)
#define TB_TILE_QK_ARGS                                                                                                \
  (float *s, size_t lds, const float *q, size_t ldq, size_t nq, const float *k, size_t ldk, size_t nk, size_t d)
#define TB_TILE_PV_ARGS                                                                                                \
  (float *o, size_t ldo, const float *p, size_t ldp, size_t nq, const float *v, size_t ldv, size_t nk, size_t d)
#define TB_KVPACK_ARGS (void *row, const float *x, size_t d)
#define TB_KVDEQUANT_ARGS (float *x, const void *row, size_t d)

typedef void tb_attn_score_t TB_ATTN_SCORE_ARGS;
typedef void tb_attn_accum_t TB_ATTN_ACCUM_ARGS;
typedef float tb_attn_max_t TB_ATTN_MAX_ARGS;
typedef float tb_attn_exp_t TB_ATTN_EXP_ARGS;
typedef void tb_tile_qk_t TB_TILE_QK_ARGS;
typedef void tb_tile_pv_t TB_TILE_PV_ARGS;
typedef void tb_kvpack_t TB_KVPACK_ARGS;
typedef void tb_kvdequant_t TB_KVDEQUANT_ARGS;

#endif
