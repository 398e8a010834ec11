/* How every kernel is called, on what, and how much work that is: timed by kernels_time.c, followed instruction by
 * instruction by cycles.c. */
#ifndef TB_BENCH_KERNELS_CALLS_H
#define TB_BENCH_KERNELS_CALLS_H

#include <stdbool.h>

#include "simd/isa.h"
#include "simd/kernels.h"

/* Shapes are those of decoding; CALL_KEYS are the keys that one call puts into clusters. */
struct call_shape {
  size_t width, rows, gemm_rows, columns; /* of weights, and of the activations they meet */
  size_t head, heads;                     /* head size; query heads that share a KV head, at most CALL_HEADS */
  size_t stored;                          /* bytes of weights; what the calls need when that is more */
};

enum { CALL_TOKENS = TB_KV_BLOCK, CALL_KEYS = 16, CALL_HEADS = 16, CALL_GROUPS = 8, CALL_PEAK_ROUNDS = 100000 };

struct call_operands {
  struct call_shape shape;
  struct tb_acts wide, queries; /* columns of weights; CALL_HEADS of a head's size */
  float *x, *y, *p, *z;         /* p: positive, y: results, z: for what works in place */
  float *cosine, *sine;
  unsigned char *stored, *packed, *scratch;
  int8_t *codes, *folded;
  int16_t *sums;
  uint16_t *labels;
  uint16_t ends[CALL_GROUPS];
  float clip[CALL_GROUPS];
  struct tb_kvrow rows; /* of CALL_GROUPS heads */
  double peak_macs;     /* of the last call of dot_peak */
};

struct kernel_call {
  const char *function, *format, *tier; /* format "-": none */
  unsigned isa;
  enum tb_format weights;
  void (*call)(struct call_operands *o);
};

/* Every row of simd/kernels.def. */
extern const struct kernel_call kernel_calls[];
extern const size_t n_kernel_calls;

/* False: out of memory. Zeroed before; freed in either case. */
bool call_operands_new(struct call_operands *o, const struct call_shape *shape);
void call_operands_free(struct call_operands *o);

/* What one call does: bytes of weights or of the cache, else of the vectors it reads; multiply-accumulates. */
struct call_work {
  double bytes, macs;
  bool integer; /* the multiplications are of bytes */
};
struct call_work call_work_of(const struct kernel_call *k, const struct call_operands *o);

#endif
