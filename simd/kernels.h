/* The kernels of one ISA mask: a slot per function and format. Pure data; no globals, no NULL among the slots that a
 * format can have. */
#ifndef TB_SIMD_KERNELS_H
#define TB_SIMD_KERNELS_H

#include "simd/formats.h"
#include "simd/dequant/dequant.h"
#include "simd/quant/quant.h"
#include "simd/gemv/gemv.h"
#include "simd/gemm/gemm.h"
#include "simd/norm/norm.h"
#include "simd/rope/rope.h"
#include "simd/activation/activation.h"
#include "simd/attn/attn.h"

struct tb_kernels {
  /* weights, by format */
  tb_dequant_t *dequant[TB_FMT_COUNT];
  tb_gemv_t *gemv[TB_FMT_COUNT];
  tb_gemm_t *gemm[TB_FMT_COUNT];
  /* vectors */
  tb_quant_q8_t *quant_q8;
  tb_norm_rms_t *norm_rms;
  tb_rope_norm_t *rope_norm;
  tb_rope_neox_t *rope_neox;
  tb_silu_mul_t *silu_mul;
  tb_gelu_mul_t *gelu_mul;
  /* attention over row-wise stores: f32, f16, q8_0, q4_0 (other formats are NULL) */
  tb_attn_score_t *attn_score[TB_FMT_COUNT];
  tb_attn_accum_t *attn_accum[TB_FMT_COUNT];
  tb_kvpack_t *kvpack[TB_FMT_COUNT];
  tb_kvdequant_t *kvdequant[TB_FMT_COUNT];
  tb_attn_max_t *attn_max;
  tb_attn_exp_t *attn_exp;
  tb_tile_qk_t *tile_qk;
  tb_tile_pv_t *tile_pv;
};

/* Fills every slot with the reference, then with the kernels of each tier in `isa_mask` (simd/isa.h), in order. */
void tb_kernels_init(struct tb_kernels *k, unsigned isa_mask);

/* Declarations of every kernel of this architecture. */
#define TB_ROW(fn, isa) tb_##fn##_t tb_##fn##_##isa;
#define TB_ROW_FMT(fn, fmt, isa) tb_##fn##_t tb_##fn##_##fmt##_##isa;
#include "simd/kernels.def"
#undef TB_ROW
#undef TB_ROW_FMT

#endif
