/* What the machine offers. Every reader tolerates a missing or odd /proc and /sys. */
#ifndef TB_BASE_SYSINFO_H
#define TB_BASE_SYSINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "thimble.h"

/* CPUs this process may run on (affinity mask), at least 1. */
unsigned tb_cpu_count(void);

/* Default thread count: allowed CPUs, one per physical core, of the fast kind only (sysfs cpu_capacity or the maximum
 * frequency tells big from LITTLE), no more than a container's CPU quota; at least 1. */
unsigned tb_performance_cores(void);

/* RAM in bytes that can be taken without swapping: the smallest of MemAvailable, the cgroup limits (v1, v2, with
 * ancestors) less what is used there and cannot be dropped, and RLIMIT_AS / RLIMIT_DATA less what this process has.
 * `source` names the limit that was smallest. 0, and "nothing", when the system tells nothing; never 0 otherwise. */
uint64_t tb_memory_available(const char **source);

/* What one limit lets this process have in total, what it has already included. */
struct tb_memory_limit {
  enum tb_memory_limit_kind {
    TB_LIMIT_RESIDENT, /* of pages in RAM */
    TB_LIMIT_ADDRESS,  /* of address space */
    TB_LIMIT_DATA,     /* of writable private address space */
  } kind;
  const char *source;
  uint64_t bytes;
  bool estimate; /* the system does not promise it: MemAvailable */
};
enum { TB_MEMORY_LIMITS = 4 };

/* The limits that there are: MemAvailable, the narrowest cgroup, RLIMIT_AS, RLIMIT_DATA. Returns how many. */
size_t tb_memory_limits(struct tb_memory_limit limits[TB_MEMORY_LIMITS]);

/* Bytes of a page. */
size_t tb_page_size(void);

/* The processor's name as the system tells it, into buf: "AMD Ryzen 7 …", "Raspberry Pi 5 Model B (Cortex-A76)";
 * "unknown CPU" when it does not. One printable line. */
void tb_cpu_name(char *buf, size_t cap);

/* The same for a machine whose /proc and /sys lie below `root` ("" is this one), for tests. */
size_t tb_memory_limits_at(const char *root, uint64_t limit_as, uint64_t limit_data,
                           struct tb_memory_limit limits[TB_MEMORY_LIMITS]);
uint64_t tb_memory_available_at(const char *root, uint64_t limit_as, uint64_t limit_data, const char **source);
void tb_cpu_name_at(const char *root, char *buf, size_t cap);
/* `allowed` has n_allowed CPU numbers, ascending; at most the first 1024 are looked at. */
unsigned tb_performance_cores_at(const char *root, const unsigned *allowed, size_t n_allowed);
/* Those of them that are of the fast kind, with all their hardware threads, into `fast` (room for n_allowed); how many. */
size_t tb_fast_cpus_at(const char *root, const unsigned *allowed, size_t n_allowed, unsigned *fast);
bool tb_temperature_at(const char *root, float limit, struct tb_temperature *out);
/* Bits of a CPU mask in hexadecimal ("f0", "0xF0") as numbers, ascending, at most cap; 0 for anything else. */
size_t tb_cpu_mask_parse(const char *mask, unsigned *cpus, size_t cap);

#endif
