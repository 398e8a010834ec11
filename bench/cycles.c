/* Calls one kernel once, for cycles.py to follow instruction by instruction under emulation.
 * usage: cycles FUNCTION FORMAT TIER HEADS     FORMAT "-": none; HEADS: query heads that share the KV head
 * Shapes are those of decoding: vectors of WIDTH values, head size HEAD, one block of TOKENS tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "simd/kernels.h"

enum { WIDTH = 1024, ROWS = 32, COLUMNS = 16, HEAD = 128, TOKENS = TB_KV_BLOCK, MAX_HEADS = 16 };

enum { PATTERN = 4096 }; /* bytes; what follows repeats them, since every instruction of this program is watched */

static void *repeat(const void *pattern, size_t bytes) {
  unsigned char *p = aligned_alloc(64, (bytes + PATTERN - 1) / PATTERN * PATTERN);
  if (!p) exit(1);
  for (size_t i = 0; i < bytes; i += PATTERN) memcpy(p + i, pattern, PATTERN);
  return p;
}

/* Memory of ordinary numbers, whatever format they are read in: no exponent is all ones or near zero. */
static void *numbers(size_t bytes) {
  struct tb_rng rng = {7};
  unsigned char pattern[PATTERN];
  for (size_t i = 0; i < PATTERN; i++) pattern[i] = (unsigned char)((tb_rng_next(&rng) >> 11 & 0xbf) | 0x10);
  return repeat(pattern, bytes);
}

static float *some_floats(size_t n, bool positive) {
  struct tb_rng rng = {9};
  float pattern[PATTERN / sizeof(float)];
  for (size_t i = 0; i < PATTERN / sizeof(float); i++) {
    const float f = tb_rng_normal(&rng);
    pattern[i] = positive ? f * f + 0.01f : f;
  }
  return repeat(pattern, n * sizeof(float));
}

static float *floats(size_t n) { return some_floats(n, false); }
static float *weights(size_t n) { return some_floats(n, true); } /* as of a softmax */

struct operands {
  size_t heads;
  struct tb_acts wide, head; /* COLUMNS columns of WIDTH; MAX_HEADS of HEAD */
  float *x, *y, *p, *cosine, *sine;
  unsigned char *stored, *scratch;
  int8_t *codes;
  int16_t *sums;
  uint16_t *labels;
};

static struct tb_acts acts(size_t k, size_t columns) {
  return (struct tb_acts){k, floats(k * columns), k, numbers(k * columns), weights(k * columns / 32), numbers(k * columns / 8)};
}

static size_t stride(enum tb_format f) { return tb_row_bytes(f, HEAD); }

#define CALL_dequant(f, i) tb_dequant_##f##_##i(o->y, o->stored, WIDTH)
#define CALL_gemv(f, i) tb_gemv_##f##_##i(o->y, o->stored, tb_row_bytes(TB_FMT_##f, WIDTH), ROWS, &o->wide)
#define CALL_gemm(f, i)                                                                                                \
  tb_gemm_##f##_##i(o->y, ROWS, o->stored, tb_row_bytes(TB_FMT_##f, WIDTH), ROWS, &o->wide, COLUMNS, o->scratch)
#define CALL_attn_score(f, i)                                                                                          \
  tb_attn_score_##f##_##i(o->y, TOKENS, &o->head, o->heads, o->stored, stride(TB_FMT_##f), TOKENS, HEAD)
#define CALL_attn_accum(f, i)                                                                                          \
  tb_attn_accum_##f##_##i(o->y, o->p, TOKENS, o->heads, o->stored, stride(TB_FMT_##f), TOKENS, HEAD)
#define CALL_kvpack(f, i) tb_kvpack_##f##_##i(o->scratch, o->x, HEAD)
#define CALL_kvdequant(f, i) tb_kvdequant_##f##_##i(o->y, o->stored, HEAD)
#define CALL_attn_max(i) (void)tb_attn_max_##i(o->x, TOKENS)
#define CALL_attn_exp(i) (void)tb_attn_exp_##i(o->x, TOKENS, 4)
#define CALL_tile_qk(i) tb_tile_qk_##i(o->y, 64, o->x, HEAD, 16, o->p, HEAD, 64, HEAD)
#define CALL_tile_pv(i) tb_tile_pv_##i(o->y, HEAD, o->p, 64, 16, o->x, HEAD, 64, HEAD)
#define CALL_attn_fold(i)                                                                                              \
  tb_attn_fold_##i(o->codes, o->y, o->y + MAX_HEADS, o->x, HEAD, o->heads, (const uint16_t *)(const void *)o->stored,  \
                   (const uint16_t *)(const void *)o->stored, HEAD)
#define CALL_attn_score_keys2(i)                                                                                       \
  tb_attn_score_keys2_##i(o->y, TOKENS, o->codes, o->x, o->x, false, o->heads, o->stored, HEAD)
#define CALL_attn_weights(i)                                                                                           \
  tb_attn_weights_##i(o->codes, o->y, o->y + MAX_HEADS, o->p, TOKENS, o->heads, o->stored, tb_scale8_base_bits(-8), 1.5f)
#define CALL_attn_accum_values2(i) tb_attn_accum_values2_##i(o->y, HEAD, o->codes, o->x, o->x, o->heads, o->stored, HEAD)
#define CALL_attn_accum_ternary(i) tb_attn_accum_ternary_##i(o->y, HEAD, o->codes, o->x, o->x, o->heads, o->stored, HEAD)
#define CALL_quant_q8(i) tb_quant_q8_##i(o->codes, o->y, o->sums, o->x, WIDTH)
#define CALL_norm_rms(i) tb_norm_rms_##i(o->y, o->x, o->p, WIDTH, 1e-5f)
#define CALL_norm_rms_q8(i) tb_norm_rms_q8_##i(o->y, o->codes, o->y + WIDTH, o->sums, o->x, o->p, WIDTH, 1e-5f)
#define CALL_rope_norm(i) tb_rope_norm_##i(o->x, o->cosine, o->sine, HEAD)
#define CALL_rope_neox(i) tb_rope_neox_##i(o->x, o->cosine, o->sine, HEAD)
#define CALL_silu_mul(i) tb_silu_mul_##i(o->y, o->x, o->p, WIDTH)
#define CALL_gelu_mul(i) tb_gelu_mul_##i(o->y, o->x, o->p, WIDTH)
#define CALL_silu_mul_q8(i) tb_silu_mul_q8_##i(o->y, o->codes, o->y + WIDTH, o->sums, o->x, o->p, WIDTH)
#define CALL_gelu_mul_q8(i) tb_gelu_mul_q8_##i(o->y, o->codes, o->y + WIDTH, o->sums, o->x, o->p, WIDTH)
#define CALL_hadamard(i) tb_hadamard_##i(o->x, HEAD)
/* A block of keys or values on its way into the cache, and out of it as floats. */
#define BYTES(p) ((uint8_t *)(void *)(p))
#define HALVES(p) ((uint16_t *)(void *)(p))
#define CALL_kvpack_keys2(i) tb_kvpack_keys2_##i(o->stored, BYTES(o->codes), HEAD)
#define CALL_kvpack_values2(i) tb_kvpack_values2_##i(o->stored, BYTES(o->codes), HEAD)
#define CALL_kvpack_ternary(i) tb_kvpack_ternary_##i(o->stored, BYTES(o->codes), HEAD)
#define CALL_kvdequant_keys2(i) tb_kvdequant_keys2_##i(o->y, HEAD, o->stored, o->p, o->x, HEAD)
#define CALL_kvdequant_values2(i) tb_kvdequant_values2_##i(o->y, HEAD, o->stored, o->p, false, HEAD)
#define CALL_kvdequant_ternary(i) tb_kvdequant_ternary_##i(o->y, HEAD, o->stored, o->p, false, HEAD)
#define CALL_kvquant_fit(i) tb_kvquant_fit_##i(HALVES(o->scratch), HALVES(o->sums), o->x, HEAD, 1.0f, 2, 4, HEAD)
#define CALL_kvquant_keys(i)                                                                                           \
  tb_kvquant_keys_##i(o->scratch, NULL, o->x, HEAD, HALVES(o->stored), HALVES(o->stored), HEAD)
#define CALL_kvquant_values(i) tb_kvquant_values_##i(o->scratch, NULL, o->y, o->x, HEAD, 2, 4, HEAD)
#define CALL_kvrow_pack(i) tb_kvrow_pack_##i(o->stored, tb_kvrow_bytes(&kvrow), &kvrow, o->x, WIDTH, TOKENS)
#define CALL_kvrow_expand(i) tb_kvrow_expand_##i(o->y, HEAD, &kvrow, o->stored, tb_kvrow_bytes(&kvrow), TOKENS, 0, HEAD)
#define CALL_cluster_code(i) tb_cluster_code_##i(o->codes, o->y, o->x, HEAD, o->p, TOKENS, HEAD)
#define CALL_cluster_score(i)                                                                                          \
  tb_cluster_score_##i(o->y, TOKENS, o->codes, o->x, o->x, o->heads, (int8_t *)o->stored, o->p, o->x, TOKENS, HEAD)
#define CALL_cluster_assign(i)                                                                                         \
  tb_cluster_assign_##i(HALVES(o->scratch), o->codes, o->x, o->x, COLUMNS, (int8_t *)o->stored, o->p, o->x, TOKENS, HEAD)
#define CALL_cluster_sum(i) tb_cluster_sum_##i(o->y, HALVES(o->labels), (int8_t *)o->stored, o->p, TOKENS, HEAD)
#define CALL_cluster_hist(i) tb_cluster_hist_##i((uint32_t *)(void *)o->scratch, o->stored, o->p, HALVES(o->labels), TOKENS)
#define CALL_merge_scale(i) tb_merge_scale_##i(o->y, TOKENS, o->x, TOKENS, o->heads, HALVES(o->stored), TOKENS)

/* Rows of eight groups, as of a model with eight KV heads. */
static const uint16_t ends[] = {128, 256, 384, 512, 640, 768, 896, WIDTH};
static const float clips[] = {1, 1, 1, 1, 1, 1, 1, 1};
static const struct tb_kvrow kvrow = {.levels = 4, .width = WIDTH, .n_groups = 8, .ends = ends, .clip = clips, .f8 = true};

static int is(char **argv, const char *function, const char *format, const char *tier) {
  return !strcmp(argv[1], function) && !strcmp(argv[2], format) && !strcmp(argv[3], tier);
}

static int call(char **argv, struct operands *o) {
#define TB_ROW(fn, isa)                                                                                                \
  if (is(argv, #fn, "-", #isa)) {                                                                                      \
    CALL_##fn(isa);                                                                                                    \
    return 0;                                                                                                          \
  }
#define TB_ROW_FMT(fn, fmt, isa)                                                                                       \
  if (is(argv, #fn, #fmt, #isa)) {                                                                                     \
    CALL_##fn(fmt, isa);                                                                                               \
    return 0;                                                                                                          \
  }
#include "simd/activation/activation.def"
#include "simd/attn/attn.def"
#include "simd/attn_accum/attn_accum.def"
#include "simd/attn_score/attn_score.def"
#include "simd/cluster/cluster.def"
#include "simd/gemm/gemm.def"
#include "simd/gemv/gemv.def"
#include "simd/hadamard/hadamard.def"
#include "simd/kvdequant/kvdequant.def"
#include "simd/kvpack/kvpack.def"
#include "simd/kvquant/kvquant.def"
#include "simd/kvrow/kvrow.def"
#include "simd/merge/merge.def"
#include "simd/norm/norm.def"
#include "simd/quant/quant.def"
#include "simd/rope/rope.def"
  return 3;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  struct operands o = {.heads = (size_t)strtoul(argv[4], NULL, 10), .wide = acts(WIDTH, COLUMNS), .head = acts(HEAD, MAX_HEADS)};
  if (o.heads < 1 || o.heads > MAX_HEADS) return 2;
  const size_t most = (size_t)MAX_HEADS * TOKENS * HEAD; /* no operand has more elements */
  o.x = floats(most);
  o.p = weights(most);
  o.y = floats(most);
  o.stored = numbers(most);
  o.scratch = numbers(TB_GEMM_SCRATCH + most);
  o.codes = numbers(most);
  o.sums = numbers(most);
  o.cosine = floats(HEAD);
  o.sine = floats(HEAD);
  o.labels = numbers(TOKENS * sizeof *o.labels);
  for (size_t i = 0; i < TOKENS; i++) o.labels[i] = (uint16_t)(i * 7 % COLUMNS);
  for (size_t i = 0; i < (size_t)TOKENS * HEAD; i++) o.codes[i] = (int8_t)(i * 7 % 3); /* of two bits, or three levels */
  return call(argv, &o);
}
