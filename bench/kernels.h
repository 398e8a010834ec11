/* Times every row of the kernels' lists (simd/kernels.def), for `thimble bench --kernels`. */
#ifndef TB_BENCH_KERNELS_H
#define TB_BENCH_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

struct kernels_options {
  const char *filter; /* only kernels whose name holds it; NULL: all */
  const char *isa;    /* the highest tier, as tb_isa_select takes it */
  unsigned threads;   /* that read and multiply what no cache holds */
  size_t mib;         /* of it */
  size_t width;       /* values of a row of weights or of a vector: a multiple of 256 */
  size_t columns;     /* of gemm */
  size_t head;        /* values of a key: a multiple of 32, at most 512 */
  size_t heads;       /* query heads that share a KV head: at most KERNELS_HEADS */
};

enum { KERNELS_HEADS = 8, KERNELS_NAME = 64 };

/* One kernel, operands in the cache, one thread: best of several rounds in processor time. What does not apply is NAN. */
struct kernels_result {
  char name[KERNELS_NAME]; /* family/format/tier */
  double seconds;          /* of a call */
  double bytes;            /* of weights or of the cache that a call goes through, else of its vectors */
  double macs;             /* multiply-accumulates of a call; 0: it is about something else */
  double reference;        /* seconds of the reference for as much, in the same moment */
  double peak;             /* multiply-accumulates per second that the tier does on registers alone, for those of bytes */
  double memory, roof;     /* bytes per second on memory that no cache holds, and of a plain read of it, all threads */
};

/* Calls `each` for every kernel of the CPU that the filter lets through, in the order of the lists, until it returns
 * false. Returns NULL, or why it could not (one line). */
const char *kernels_run(const struct kernels_options *o, bool each(void *user, const struct kernels_result *r), void *user);

#endif
