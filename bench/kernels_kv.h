/* The rows of kernels_bench that work on packed key-value blocks (simd/kvblock.h). */
#ifndef TB_BENCH_KERNELS_KV_H
#define TB_BENCH_KERNELS_KV_H

#include "base/thread.h"

struct kv_options {
  const char *filter;      /* NULL: all */
  unsigned isa;            /* tiers of this run */
  size_t planes, heads;    /* head size; query heads per KV head */
  struct tb_team *team;    /* of this many threads */
  unsigned threads;
  size_t mib;              /* packed keys and values that the attention rows stream */
};

/* Prints a line per kernel: ns per token and KV head on one core, blocks in the cache; ratio to the reference. Then
 * kv_attention/2 and /ternary: whole steps of attention over blocks that no cache holds, every thread a part of them. */
void kernels_kv(const struct kv_options *o);

#endif
