/* Whole steps of attention over packed keys and values that no cache holds. */
#ifndef TB_BENCH_KERNELS_ATTENTION_H
#define TB_BENCH_KERNELS_ATTENTION_H

#include "base/thread.h"
#include "bench/kernels.h"

/* Results "kv_attention/values2" and "/ternary" of the tiers in `isa`: a call is a token of one KV head, every thread
 * works on a part of the blocks; best of several passes in processor time. False when out of memory. */
bool kernels_attention(const struct kernels_options *o, unsigned isa, struct tb_team *team,
                       bool each(void *user, const struct kernels_result *r), void *user);

#endif
