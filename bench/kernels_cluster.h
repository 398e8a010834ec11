/* The rows of kernels_bench that group keys and choose groups (simd/cluster). */
#ifndef TB_BENCH_KERNELS_CLUSTER_H
#define TB_BENCH_KERNELS_CLUSTER_H

/* Prints a line per kernel of the tiers in `isa` whose name holds `filter` (NULL: all): ns per call on 320 keys of 128
 * values and 32 clusters, four queries to score; ratio to the reference. */
void kernels_cluster(const char *filter, unsigned isa);

#endif
