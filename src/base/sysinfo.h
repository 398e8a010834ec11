/* What the machine offers. Every reader tolerates a missing or odd /proc and /sys. */
#ifndef TB_BASE_SYSINFO_H
#define TB_BASE_SYSINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* CPUs this process may run on (affinity mask), at least 1. */
unsigned tb_cpu_count(void);

/* Default thread count: allowed CPUs, one per physical core, of the fastest kind only (sysfs cpu_capacity or the
 * maximum frequency tells big from LITTLE), at least 1. */
unsigned tb_performance_cores(void);

/* RAM in bytes that a new process can take without swapping: the smallest of MemAvailable, the cgroup limits (v1, v2,
 * with ancestors) less what is used there, and RLIMIT_AS / RLIMIT_DATA. `source` names the limit that was smallest. */
uint64_t tb_memory_available(const char **source);

/* Bytes of a page. */
size_t tb_page_size(void);

/* The processor's name as the system tells it, into buf; "unknown CPU" when it does not. */
void tb_cpu_name(char *buf, size_t cap);

#endif
