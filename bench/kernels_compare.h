#ifndef BENCH_KERNELS_COMPARE_H
#define BENCH_KERNELS_COMPARE_H

/* Prints a line for every kernel that two saved outputs of kernels_bench have in common: both times, before / after and
 * a verdict. Returns the exit status: 0 when some were compared and none became slower beyond the noise. */
int kernels_compare(const char *before, const char *after);

#endif
