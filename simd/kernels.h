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
#include "simd/hadamard/hadamard.h"
#include "simd/kvquant/kvquant.h"
#include "simd/cluster/cluster.h"
#include "simd/merge/merge.h"
#include "simd/kvpack/kvpack.h"
#include "simd/kvdequant/kvdequant.h"
#include "simd/kvrow/kvrow.h"
#include "simd/attn_score/attn_score.h"
#include "simd/attn_accum/attn_accum.h"
#include "simd/peak/peak.h"

struct tb_kernels {
  /* weights, by format */
  tb_dequant_t *dequant[TB_FMT_COUNT];
  tb_gemv_t *gemv[TB_FMT_COUNT];
  tb_gemv_runs_t *gemv_runs[TB_FMT_COUNT]; /* NULL: the tier has none */
  tb_gemm_t *gemm[TB_FMT_COUNT];
  /* vectors */
  tb_quant_q8_t *quant_q8;
  tb_norm_rms_t *norm_rms;
  tb_norm_rms_q8_t *norm_rms_q8;
  tb_rope_norm_t *rope_norm;
  tb_rope_neox_t *rope_neox;
  tb_silu_mul_t *silu_mul;
  tb_gelu_mul_t *gelu_mul;
  tb_silu_mul_q8_t *silu_mul_q8;
  tb_gelu_mul_q8_t *gelu_mul_q8;
  tb_hadamard_t *hadamard;
  /* clusters of keys */
  tb_cluster_code_t *cluster_code;
  tb_cluster_score_t *cluster_score;
  tb_cluster_assign_t *cluster_assign;
  tb_cluster_sum_t *cluster_sum;
  tb_cluster_hist_t *cluster_hist;
  tb_merge_scale_t *merge_scale;
  /* attention over row-wise stores: f32, f16, q8_0, q4_0 (other formats are NULL) */
  tb_attn_score_t *attn_score[TB_FMT_COUNT];
  tb_attn_accum_t *attn_accum[TB_FMT_COUNT];
  tb_kvpack_t *kvpack[TB_FMT_COUNT];
  tb_kvdequant_t *kvdequant[TB_FMT_COUNT];
  tb_attn_max_t *attn_max;
  tb_attn_exp_t *attn_exp;
  tb_tile_qk_t *tile_qk;
  tb_tile_pv_t *tile_pv;
  /* attention over packed blocks (simd/kvblock.h) */
  tb_kvquant_fit_t *kvquant_fit;
  tb_kvquant_keys_t *kvquant_keys;
  tb_kvquant_values_t *kvquant_values;
  tb_kvpack_keys2_t *kvpack_keys2;
  tb_kvpack_values2_t *kvpack_values2;
  tb_kvpack_ternary_t *kvpack_ternary;
  tb_kvdequant_keys2_t *kvdequant_keys2;
  tb_kvdequant_values2_t *kvdequant_values2;
  tb_kvdequant_ternary_t *kvdequant_ternary;
  tb_attn_fold_t *attn_fold;
  tb_attn_score_keys2_t *attn_score_keys2;
  tb_attn_weights_t *attn_weights;
  tb_attn_accum_values2_t *attn_accum_values2;
  tb_attn_accum_ternary_t *attn_accum_ternary;
  /* rows in groups of channels (simd/kvrow/kvrow.h) */
  tb_kvrow_pack_t *kvrow_pack;
  tb_kvrow_expand_t *kvrow_expand;
  tb_dot_peak_t *dot_peak; /* for measuring */
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
