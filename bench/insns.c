/* Runs one ARM weight kernel a given number of times, for insns.sh to count its instructions under emulation.
 * usage: insns KIND FORMAT TIER CALLS COLUMNS     KIND: gemv, gemm
 * VALUES: values per row, from the command line of the compiler. All data are zero: no kernel branches on values. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simd/kernels.h"

enum { K = VALUES, ROWS = 64, MAX_COLUMNS = 512 };

struct operands {
  float *y;
  unsigned char *w, *x, *scratch;
  size_t columns;
};

static int is(const char *const *argv, const char *kind, const char *format, const char *tier) {
  return !strcmp(argv[1], kind) && !strcmp(argv[2], format) && !strcmp(argv[3], tier);
}

static int run(const char *const *argv, const struct operands *o, int calls) {
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

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  struct operands o = {calloc(ROWS * MAX_COLUMNS, sizeof *o.y), calloc(ROWS * K, 4), calloc(MAX_COLUMNS * K, 4),
                       aligned_alloc(64, TB_GEMM_SCRATCH), strtoul(argv[5], NULL, 10)};
  if (!o.y || !o.w || !o.x || !o.scratch || o.columns > MAX_COLUMNS) return 2;
  const char *const *args = (const char *const *)argv;
  const int calls = (int)strtol(argv[4], NULL, 10);
  return run(args, &o, calls) ? 0 : 3;
}
