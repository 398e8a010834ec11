/* attn: attention of one token over row-wise stored keys and values, and the tiles of prefill.
 *
 * All query heads that share a KV head (n_q of them) are served in one pass. `d` is the head size; a stored row is
 * d values of the format (f32, f16, q8_0, q4_0), rows are `stride` bytes apart, n rows.
 *
 * attn_score:  s[g·lds + t] = Σ_c q_g[c] · K[t][c]              (q: n_q columns of simd/act.h with k = d; f32 and f16
 *                                                                rows read q->f, block formats q->q, q->d, q->s)
 * attn_accum:  acc[g·d + c] += Σ_t p[g·ldp + t] · V[t][c]
 *     Contracts BOUND, both: |error| ≤ (m/8 + 24) · 2^-24 · Σ |terms|, m = d for score, n for accum.
 *
 * attn_max:    the largest of n floats (n ≥ 1). EXACT.
 * attn_exp:    s_i = exp(s_i - m) in place, returns their sum. Each within 2^-12 relative; results below 2^-60 may be 0;
 *              the sum within n/8 + 8 roundings of the sum of what was stored.
 *
 * tile_qk:     s[i·lds + t]  = Σ_c q[i·ldq + c] · k[t·ldk + c]      i < nq, t < nk, all float
 * tile_pv:     o[i·ldo + c] += Σ_t p[i·ldp + t] · v[t·ldv + c]
 *     BOUND as above. An output's bits do not depend on nq (how many queries share the tile).
 *
 * kvpack:      d floats to one stored row. kvdequant: one stored row to d floats. EXACT.
 *     q8_0 and q4_0 have ggml's block layout (32 values, fp16 scale); the rounding rule is written in attn_ref.c.
 *     d is a multiple of 32 for them, at most 512 for all. */
#ifndef TB_SIMD_ATTN_H
#define TB_SIMD_ATTN_H

#include "simd/act.h"

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
