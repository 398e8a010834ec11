/* thimble bench --kernels: times of kernels, and two lists of them side by side. */
#ifndef TB_CLI_BENCH_KERNELS_H
#define TB_CLI_BENCH_KERNELS_H

#include "cli/cli.h"

enum { KERNEL_TIMES = 1024, KERNEL_NAME = 64 };

/* By name; of a kernel that was timed more than once the best time counts. */
struct kernel_times {
  size_t n;
  struct kernel_time {
    char name[KERNEL_NAME];
    double ns;
  } at[KERNEL_TIMES];
};

void kernel_times_add(struct kernel_times *t, const char *name, double ns);
/* From what the verb printed, as a table or as JSON. False (and a message) when there are none. */
bool kernel_times_read(struct kernel_times *t, const char *path);
/* Prints both times of every kernel in both, their ratio and a verdict. Returns an exit code: CLI_OK when some were
 * compared and none became slower beyond the noise. */
int kernel_times_compare(FILE *to, const struct kernel_times *before, const struct kernel_times *after);

#endif
