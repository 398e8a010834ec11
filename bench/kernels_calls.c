#include "bench/kernels_calls.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

/* ------------------------------------------------------------------------------------------------------------ calls */

#define SIZE_HEAD (o->shape.head)
#define SIZE_WIDE (o->shape.width)
#define SHARED (o->shape.heads)
#define ROW_BYTES(f, n) tb_row_bytes(TB_FMT_##f, n)
#define BYTES(p) ((uint8_t *)(void *)(p))
#define SIGNED(p) ((int8_t *)(void *)(p))
#define HALVES(p) ((uint16_t *)(void *)(p))

/* Weights. */
#define CALL_dequant(f, i) tb_dequant_##f##_##i(o->y, o->stored, SIZE_WIDE)
#define CALL_gemv(f, i) tb_gemv_##f##_##i(o->y, o->stored, ROW_BYTES(f, SIZE_WIDE), o->shape.rows, &o->wide)
#define RUN_ROWS (o->shape.rows / TB_GEMV_RUNS)
#define CALL_gemv_runs(f, i)                                                                                           \
  tb_gemv_runs_##f##_##i(o->y, RUN_ROWS, o->stored, ROW_BYTES(f, SIZE_WIDE), RUN_ROWS, RUN_ROWS, &o->wide)
#define CALL_gemm(f, i)                                                                                                \
  tb_gemm_##f##_##i(o->y, o->shape.gemm_rows, o->stored, ROW_BYTES(f, SIZE_WIDE), o->shape.gemm_rows, &o->wide,        \
                    o->shape.columns, o->scratch)
/* Vectors. */
#define CALL_quant_q8(i) tb_quant_q8_##i(o->codes, o->y, o->sums, o->x, SIZE_WIDE)
#define CALL_norm_rms(i) tb_norm_rms_##i(o->y, o->x, o->p, SIZE_WIDE, 1e-5f)
#define CALL_norm_rms_q8(i) tb_norm_rms_q8_##i(o->y, o->codes, o->y + SIZE_WIDE, o->sums, o->x, o->p, SIZE_WIDE, 1e-5f)
#define CALL_rope_norm(i) tb_rope_norm_##i(o->z, o->cosine, o->sine, SIZE_HEAD)
#define CALL_rope_neox(i) tb_rope_neox_##i(o->z, o->cosine, o->sine, SIZE_HEAD)
#define CALL_silu_mul(i) tb_silu_mul_##i(o->y, o->x, o->p, SIZE_WIDE)
#define CALL_gelu_mul(i) tb_gelu_mul_##i(o->y, o->x, o->p, SIZE_WIDE)
#define CALL_silu_mul_q8(i) tb_silu_mul_q8_##i(o->y, o->codes, o->y + SIZE_WIDE, o->sums, o->x, o->p, SIZE_WIDE)
#define CALL_gelu_mul_q8(i) tb_gelu_mul_q8_##i(o->y, o->codes, o->y + SIZE_WIDE, o->sums, o->x, o->p, SIZE_WIDE)
#define CALL_hadamard(i) tb_hadamard_##i(o->z, SIZE_HEAD)
/* Attention over rows. */
#define CALL_attn_score(f, i)                                                                                          \
  tb_attn_score_##f##_##i(o->y, CALL_TOKENS, &o->queries, SHARED, o->stored, ROW_BYTES(f, SIZE_HEAD), CALL_TOKENS,     \
                          SIZE_HEAD)
#define CALL_attn_accum(f, i)                                                                                          \
  tb_attn_accum_##f##_##i(o->y, o->p, CALL_TOKENS, SHARED, o->stored, ROW_BYTES(f, SIZE_HEAD), CALL_TOKENS, SIZE_HEAD)
#define CALL_kvpack(f, i) tb_kvpack_##f##_##i(o->packed, o->x, SIZE_HEAD)
#define CALL_kvdequant(f, i) tb_kvdequant_##f##_##i(o->y, o->stored, SIZE_HEAD)
#define CALL_attn_max(i) o->y[0] = tb_attn_max_##i(o->x, CALL_TOKENS)
#define CALL_attn_exp(i) o->y[0] = tb_attn_exp_##i(o->z, CALL_TOKENS, 4)
#define CALL_tile_qk(i) tb_tile_qk_##i(o->y, 64, o->x, SIZE_HEAD, 16, o->p, SIZE_HEAD, 64, SIZE_HEAD)
#define CALL_tile_pv(i) tb_tile_pv_##i(o->y, SIZE_HEAD, o->p, 64, 16, o->x, SIZE_HEAD, 64, SIZE_HEAD)
/* Attention over packed blocks. */
#define CALL_attn_fold(i)                                                                                              \
  tb_attn_fold_##i(o->folded, o->y, o->y + CALL_HEADS, o->x, SIZE_HEAD, SHARED, HALVES(o->stored), HALVES(o->stored),  \
                   SIZE_HEAD)
#define CALL_attn_score_keys2(i)                                                                                       \
  tb_attn_score_keys2_##i(o->y, CALL_TOKENS, o->folded, o->x, o->x, false, SHARED, o->stored, SIZE_HEAD, 0, CALL_TOKENS)
#define CALL_attn_weights(i)                                                                                           \
  tb_attn_weights_##i(o->folded, o->y, o->y + CALL_HEADS, o->p, CALL_TOKENS, SHARED, o->stored, tb_scale8_base_bits(-8), 1.5f, \
                        CALL_TOKENS)
#define CALL_attn_accum_values2(i)                                                                                     \
  tb_attn_accum_values2_##i(o->y, SIZE_HEAD, o->folded, o->x, o->x, SHARED, o->stored, SIZE_HEAD, 0, CALL_TOKENS)
#define CALL_attn_accum_ternary(i)                                                                                     \
  tb_attn_accum_ternary_##i(o->y, SIZE_HEAD, o->folded, o->x, o->x, SHARED, o->stored, SIZE_HEAD, 0, CALL_TOKENS)
/* A block of keys or values on its way into the cache, and out of it as floats. */
#define CALL_kvquant_fit(i) tb_kvquant_fit_##i(HALVES(o->packed), HALVES(o->sums), o->x, SIZE_HEAD, 1.0f, 2, 4, SIZE_HEAD)
#define CALL_kvquant_keys(i)                                                                                           \
  tb_kvquant_keys_##i(o->packed, NULL, o->x, SIZE_HEAD, HALVES(o->stored), HALVES(o->stored), SIZE_HEAD)
#define CALL_kvquant_values(i) tb_kvquant_values_##i(o->packed, NULL, o->y, o->x, SIZE_HEAD, 2, 4, SIZE_HEAD)
#define CALL_kvpack_keys2(i) tb_kvpack_keys2_##i(o->packed, BYTES(o->codes), SIZE_HEAD)
#define CALL_kvpack_values2(i) tb_kvpack_values2_##i(o->packed, BYTES(o->codes), SIZE_HEAD)
#define CALL_kvpack_ternary(i) tb_kvpack_ternary_##i(o->packed, BYTES(o->codes), SIZE_HEAD)
#define CALL_kvdequant_keys2(i) tb_kvdequant_keys2_##i(o->y, SIZE_HEAD, o->stored, o->p, o->x, SIZE_HEAD)
#define CALL_kvdequant_values2(i) tb_kvdequant_values2_##i(o->y, SIZE_HEAD, o->stored, o->p, false, SIZE_HEAD)
#define CALL_kvdequant_ternary(i) tb_kvdequant_ternary_##i(o->y, SIZE_HEAD, o->stored, o->p, false, SIZE_HEAD)
#define CALL_kvrow_pack(i) tb_kvrow_pack_##i(o->packed, tb_kvrow_bytes(&o->rows), &o->rows, o->x, o->rows.width, CALL_TOKENS)
#define CALL_kvrow_expand(i)                                                                                           \
  tb_kvrow_expand_##i(o->y, SIZE_HEAD, &o->rows, o->stored, tb_kvrow_bytes(&o->rows), CALL_TOKENS, 0, SIZE_HEAD)
/* Clusters of keys, merged layers, the peak of a tier. */
#define CALL_cluster_code(i) tb_cluster_code_##i(SIGNED(o->packed), o->y, o->x, SIZE_HEAD, o->p, CALL_TOKENS, SIZE_HEAD)
#define CALL_cluster_score(i)                                                                                          \
  tb_cluster_score_##i(o->y, CALL_TOKENS, o->codes, o->x, o->x, SHARED, SIGNED(o->stored), o->p, o->x, CALL_TOKENS, SIZE_HEAD)
#define CALL_cluster_assign(i)                                                                                         \
  tb_cluster_assign_##i(HALVES(o->packed), o->codes, o->x, o->x, CALL_KEYS, SIGNED(o->stored), o->p, o->x, CALL_TOKENS, SIZE_HEAD)
#define CALL_cluster_sum(i) tb_cluster_sum_##i(o->y, o->labels, SIGNED(o->stored), o->p, CALL_TOKENS, SIZE_HEAD)
#define CALL_cluster_hist(i)                                                                                           \
  tb_cluster_hist_##i((uint32_t *)(void *)o->scratch, o->packed, o->x, CALL_TOKENS, o->p, SHARED, o->labels, CALL_TOKENS)
#define CALL_merge_scale(i) tb_merge_scale_##i(o->y, CALL_TOKENS, o->x, CALL_TOKENS, SHARED, HALVES(o->stored), CALL_TOKENS)
#define CALL_dot_peak(i) o->peak_macs = (double)tb_dot_peak_##i((uint32_t *)(void *)o->y, CALL_PEAK_ROUNDS)

#define TB_ROW(fn, isa)                                                                                                \
  static void call_##fn##_##isa(struct call_operands *o) { CALL_##fn(isa); }
#define TB_ROW_FMT(fn, fmt, isa)                                                                                       \
  static void call_##fn##_##fmt##_##isa(struct call_operands *o) { CALL_##fn(fmt, isa); }
#include "simd/kernels.def"
#undef TB_ROW
#undef TB_ROW_FMT

const struct kernel_call kernel_calls[] = {
#define TB_ROW(fn, isa) {#fn, "-", #isa, TB_ISA_##isa, TB_FMT_f32, call_##fn##_##isa},
#define TB_ROW_FMT(fn, fmt, isa) {#fn, #fmt, #isa, TB_ISA_##isa, TB_FMT_##fmt, call_##fn##_##fmt##_##isa},
#include "simd/kernels.def"
#undef TB_ROW
#undef TB_ROW_FMT
};
const size_t n_kernel_calls = sizeof kernel_calls / sizeof *kernel_calls;

/* ------------------------------------------------------------------------------------------------------------- work */

enum measure { WEIGHTS, PRODUCTS, WIDE, GATED, CACHE_ROWS, ROW, KEYS2, VALUES2, TERNARY, BLOCK, GROUPED, FOLD, WEIGH, SOFTMAX,
               TILE, CENTRES, ASSIGN, LABELS, SCALE, PEAK };

static const struct {
  const char *function; /* or how its name begins */
  enum measure measure;
} measures[] = {
    {"dequant", WIDE},         {"gemv", WEIGHTS},        {"gemm", PRODUCTS},         {"quant_q8", WIDE},
    {"norm_rms", WIDE},        {"rope", ROW},            {"silu", GATED},            {"gelu", GATED},
    {"hadamard", ROW},         {"attn_score_keys2", KEYS2}, {"attn_score", CACHE_ROWS}, {"attn_accum_values2", VALUES2},
    {"attn_accum_ternary", TERNARY}, {"attn_accum", CACHE_ROWS}, {"attn_fold", FOLD}, {"attn_weights", WEIGH},
    {"attn_max", SOFTMAX},     {"attn_exp", SOFTMAX},    {"tile", TILE},             {"kvpack_", BLOCK},
    {"kvdequant_", BLOCK},     {"kvpack", ROW},          {"kvdequant", ROW},         {"kvquant", BLOCK},
    {"kvrow_pack", GROUPED},   {"kvrow_expand", BLOCK},  {"cluster_score", CENTRES}, {"cluster_assign", ASSIGN},
    {"cluster_hist", LABELS},  {"cluster", BLOCK},       {"merge_scale", SCALE},     {"dot_peak", PEAK},
};

struct call_work call_work_of(const struct kernel_call *k, const struct call_operands *o) {
  const struct call_shape *s = &o->shape;
  const double block = (double)CALL_TOKENS * (double)s->head, all = block * (double)s->heads, f = sizeof(float);
  const double wide = (double)s->width, row = (double)tb_row_bytes(k->weights, s->width);
  const bool integer = tb_formats[k->weights].block_values > 1;
  size_t i = 0;
  while (strncmp(k->function, measures[i].function, strlen(measures[i].function)) != 0) i++;
  switch (measures[i].measure) {
  case WEIGHTS: return (struct call_work){(double)s->rows * row, (double)s->rows * wide, integer};
  case PRODUCTS:
    return (struct call_work){(double)s->gemm_rows * row, (double)s->gemm_rows * wide * (double)s->columns, integer};
  case WIDE: return (struct call_work){k->weights == TB_FMT_f32 ? wide * f : row, 0, false};
  case GATED: return (struct call_work){2 * wide * f, 0, false};
  case CACHE_ROWS: /* sums multiply floats: the weights of a softmax are no bytes */
    return (struct call_work){CALL_TOKENS * (double)tb_row_bytes(k->weights, s->head), all,
                              integer && !strcmp(k->function, "attn_score")};
  case ROW: return (struct call_work){(double)s->head * f, 0, false};
  case KEYS2: return (struct call_work){(double)tb_keys2_bytes(s->head), all, true};
  case VALUES2: return (struct call_work){(double)tb_values2_bytes(s->head), all, true};
  case TERNARY: return (struct call_work){(double)tb_ternary_bytes(s->head), all, true};
  case BLOCK: return (struct call_work){block * f, 0, false};
  case GROUPED: return (struct call_work){CALL_TOKENS * (double)o->rows.width * f, 0, false};
  case FOLD: return (struct call_work){(double)(s->heads * s->head) * f, 0, false};
  case WEIGH: case SCALE: return (struct call_work){(double)s->heads * CALL_TOKENS * f, 0, false};
  case SOFTMAX: return (struct call_work){CALL_TOKENS * f, 0, false};
  case TILE: return (struct call_work){64 * (double)s->head * f, 16 * 64 * (double)s->head, false};
  case CENTRES: return (struct call_work){block, all, true};
  case ASSIGN: return (struct call_work){block, CALL_KEYS * block, true};
  case LABELS: return (struct call_work){CALL_TOKENS * ((double)s->heads * f + sizeof(uint16_t)), 0, false};
  case PEAK: return (struct call_work){0, o->peak_macs, true};
  }
  return (struct call_work){0, 0, false};
}

/* --------------------------------------------------------------------------------------------------------- operands */

enum { PATTERN = 4096 }; /* bytes; what follows repeats them: cycles.c is emulated, and the caches do not mind */

static void *repeat(const void *pattern, size_t bytes) {
  unsigned char *p = tb_alloc(&tb_system_allocator, tb_round_up(bytes, PATTERN), 1);
  for (size_t i = 0; p && i < bytes; i += PATTERN) memcpy(p + i, pattern, PATTERN);
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

static bool acts_new(struct tb_acts *a, size_t k, size_t columns) {
  *a = (struct tb_acts){.k = k, .f = floats(k * columns), .ldf = k, .q = numbers(k * columns), .d = weights(k * columns / 32),
                         .s = numbers(k * columns / 8)};
  return a->f && a->q && a->d && a->s;
}

static void acts_free(struct tb_acts *a) {
  void *all[] = {(void *)(uintptr_t)a->f, (void *)(uintptr_t)a->q, (void *)(uintptr_t)a->d, (void *)(uintptr_t)a->s};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tb_free(&tb_system_allocator, all[i]);
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Codes of two bits or three levels, keys to clusters, rows of CALL_GROUPS heads, a rotation that keeps lengths. */
static void set_values(struct call_operands *o) {
  const size_t head = o->shape.head;
  for (size_t i = 0; i < CALL_TOKENS; i++) o->labels[i] = (uint16_t)(i * 7 % CALL_KEYS);
  for (size_t i = 0; i < CALL_TOKENS * head; i++) o->codes[i] = (int8_t)(i * 7 % 3);
  for (size_t i = 0; i < head; i++) {
    o->cosine[i] = 0.6f;
    o->sine[i] = 0.8f;
  }
  for (size_t g = 0; g < CALL_GROUPS; g++) {
    o->ends[g] = (uint16_t)((g + 1) * head);
    o->clip[g] = 0.92f;
  }
  o->rows = (struct tb_kvrow){4, CALL_GROUPS * head, CALL_GROUPS, o->ends, o->clip, NULL, NULL, false, true};
}

bool call_operands_new(struct call_operands *o, const struct call_shape *shape) {
  o->shape = *shape;
  const size_t vectors = CALL_HEADS * CALL_TOKENS * shape->head; /* the most elements of attention's operands */
  const size_t results = larger(vectors, larger(shape->gemm_rows * shape->columns, 2 * shape->width));
  o->x = floats(larger(vectors, shape->width));
  o->p = weights(larger(vectors, shape->width));
  o->y = floats(results);
  o->z = floats(larger(CALL_TOKENS, shape->head));
  o->cosine = floats(shape->head);
  o->sine = floats(shape->head);
  o->shape.stored = larger(shape->stored, larger(vectors, 4 * larger(shape->rows, shape->gemm_rows) * shape->width));
  o->stored = numbers(o->shape.stored);
  o->packed = numbers(vectors);
  o->scratch = numbers(larger(TB_GEMM_SCRATCH, 4 * TB_CLUSTER_BINS));
  o->codes = numbers(larger(vectors, shape->width));
  o->folded = numbers(CALL_HEADS * larger(CALL_TOKENS, shape->head));
  o->sums = numbers(2 * larger(shape->head, shape->width));
  o->labels = numbers(CALL_TOKENS * sizeof *o->labels);
  if (!acts_new(&o->wide, shape->width, shape->columns) || !acts_new(&o->queries, shape->head, CALL_HEADS) || !o->x || !o->p ||
      !o->y || !o->z || !o->cosine || !o->sine || !o->stored || !o->packed || !o->scratch || !o->codes || !o->folded || !o->sums ||
      !o->labels)
    return false;
  set_values(o);
  return true;
}

void call_operands_free(struct call_operands *o) {
  void *all[] = {o->x, o->y, o->p, o->z, o->cosine, o->sine, o->stored, o->packed, o->scratch, o->codes, o->folded, o->sums, o->labels};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tb_free(&tb_system_allocator, all[i]);
  acts_free(&o->wide);
  acts_free(&o->queries);
}
