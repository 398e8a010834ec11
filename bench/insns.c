/* Runs one ARM weight kernel a given number of times, for insns.sh to count its instructions under emulation.
 * usage: insns KIND FORMAT TIER CALLS COLUMNS     KIND: gemv, gemm, or with a peer linked dot, repacked-gemv, -gemm
 * All data are zero: no kernel branches on values. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simd/kernels.h"

enum { K = 1024, ROWS = 64, MAX_COLUMNS = 512 };

struct operands {
  float *y;
  unsigned char *w, *x, *scratch;
  size_t columns;
};

static int is(const char *const *argv, const char *kind, const char *format, const char *tier) {
  return !strcmp(argv[1], kind) && !strcmp(argv[2], format) && !strcmp(argv[3], tier);
}

static int run_ours(const char *const *argv, const struct operands *o, int calls) {
  struct tb_acts x = {.k = K, .f = (float *)o->x, .ldf = K, .q = (int8_t *)o->x, .d = (float *)o->x, .s = (int16_t *)o->x};
#define CALL_gemv(fmt, isa) tb_gemv_##fmt##_##isa(o->y, o->w, tb_row_bytes(TB_FMT_##fmt, K), ROWS, &x)
#define CALL_gemm(fmt, isa) tb_gemm_##fmt##_##isa(o->y, ROWS, o->w, tb_row_bytes(TB_FMT_##fmt, K), ROWS, &x, o->columns, o->scratch)
#define TB_ROW_FMT(fn, fmt, isa)                                                                                       \
  if (is(argv, #fn, #fmt, #isa)) {                                                                                     \
    for (int i = 0; i < calls; i++) CALL_##fn(fmt, isa);                                                               \
    return 1;                                                                                                          \
  }
#include "simd/gemv/gemv.def"
#include "simd/gemm/gemm.def"
  return 0;
}

#ifdef WITH_PEER
/* llama.cpp's kernels: one row with one column, and those on rows that were interleaved beforehand. */
typedef void dot(int n, float *s, size_t bs, const void *x, size_t bx, const void *y, size_t by, int nrc);
typedef void repacked(int n, float *s, size_t bs, const void *x, const void *y, int nr, int nc);
#define DOTS(DO)                                                                                                       \
  DO(q8_0, q8_0_q8_0) DO(q4_0, q4_0_q8_0) DO(q4_1, q4_1_q8_1) DO(q5_0, q5_0_q8_0) DO(q5_1, q5_1_q8_1)                  \
  DO(iq4_nl, iq4_nl_q8_0) DO(q2_k, q2_K_q8_K) DO(q3_k, q3_K_q8_K) DO(q4_k, q4_K_q8_K) DO(q5_k, q5_K_q8_K)              \
  DO(q6_k, q6_K_q8_K) DO(iq4_xs, iq4_xs_q8_K) DO(f32, f32) DO(f16, f16) DO(bf16, bf16)
#define REPACKED(DO)                                                                                                   \
  DO(q8_0, dotprod, q8_0_4x4_q8_0) DO(q4_0, dotprod, q4_0_4x4_q8_0) DO(iq4_nl, dotprod, iq4_nl_4x4_q8_0)               \
  DO(q4_k, dotprod, q4_K_8x4_q8_K) DO(q5_k, dotprod, q5_K_8x4_q8_K) DO(q6_k, dotprod, q6_K_8x4_q8_K)                   \
  DO(q8_0, i8mm, q8_0_4x8_q8_0) DO(q4_0, i8mm, q4_0_4x8_q8_0) DO(q4_k, i8mm, q4_K_8x8_q8_K)                            \
  DO(q5_k, i8mm, q5_K_8x8_q8_K) DO(q6_k, i8mm, q6_K_8x8_q8_K)
#define DECLARE_DOT(fmt, name) dot ggml_vec_dot_##name;
#define DECLARE_REPACKED(fmt, tier, name) repacked ggml_gemv_##name, ggml_gemm_##name;
DOTS(DECLARE_DOT)
REPACKED(DECLARE_REPACKED)

static int run_peer(const char *const *argv, const struct operands *o, int calls) {
#define RUN_DOT(fmt, name)                                                                                             \
  if (is(argv, "dot", #fmt, argv[3])) {                                                                                \
    for (int i = 0; i < calls * ROWS; i++) ggml_vec_dot_##name(K, o->y, 0, o->w, 0, o->x, 0, 1);                       \
    return 1;                                                                                                          \
  }
#define RUN_REPACKED(fmt, tier, name)                                                                                  \
  if (is(argv, "repacked-gemv", #fmt, #tier)) {                                                                        \
    for (int i = 0; i < calls; i++) ggml_gemv_##name(K, o->y, ROWS, o->w, o->x, 1, ROWS);                              \
    return 1;                                                                                                          \
  }                                                                                                                    \
  if (is(argv, "repacked-gemm", #fmt, #tier)) {                                                                        \
    for (int i = 0; i < calls; i++) ggml_gemm_##name(K, o->y, ROWS, o->w, o->x, (int)o->columns, ROWS);                \
    return 1;                                                                                                          \
  }
  DOTS(RUN_DOT)
  REPACKED(RUN_REPACKED)
  return 0;
}
#else
static int run_peer(const char *const *argv, const struct operands *o, int calls) {
  (void)argv, (void)o, (void)calls;
  return 0;
}
#endif

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  struct operands o = {calloc(ROWS * MAX_COLUMNS, sizeof *o.y), calloc(ROWS * K, 4), calloc(MAX_COLUMNS * K, 4),
                       aligned_alloc(64, TB_GEMM_SCRATCH), strtoul(argv[5], NULL, 10)};
  if (!o.y || !o.w || !o.x || !o.scratch || o.columns > MAX_COLUMNS) return 2;
  const char *const *args = (const char *const *)argv;
  const int calls = (int)strtol(argv[4], NULL, 10);
  return run_ours(args, &o, calls) || run_peer(args, &o, calls) ? 0 : 3;
}
