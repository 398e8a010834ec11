#define _GNU_SOURCE /* sched_getaffinity, CPU_ISSET_S */
#include "base/sysinfo.h"

#include <sched.h>
#include <unistd.h>

enum { MAX_CPUS = 8192, SET_BYTES = MAX_CPUS / 8 };

/* Numbers of the CPUs of the affinity mask, at most cap of them. The mask is a kernel's, which may be larger than the
 * 1024 bits of cpu_set_t. */
static size_t allowed_cpus(unsigned *cpus, size_t cap) {
  union {
    cpu_set_t set;
    unsigned char bytes[SET_BYTES];
  } mask;
  size_t n = 0;
  CPU_ZERO_S(SET_BYTES, &mask.set);
  if (sched_getaffinity(0, SET_BYTES, &mask.set) != 0) return 0;
  for (unsigned cpu = 0; cpu < MAX_CPUS && n < cap; cpu++)
    if (CPU_ISSET_S(cpu, SET_BYTES, &mask.set)) cpus[n++] = cpu;
  return n;
}

unsigned tb_cpu_count(void) {
  unsigned cpus[MAX_CPUS];
  size_t n = allowed_cpus(cpus, MAX_CPUS);
  if (n > 0) return (unsigned)n;
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (unsigned)online : 1;
}

unsigned tb_performance_cores(void) {
  unsigned cpus[MAX_CPUS];
  size_t n = allowed_cpus(cpus, MAX_CPUS);
  return n > 0 ? tb_performance_cores_at("", cpus, n) : tb_cpu_count();
}

size_t tb_page_size(void) {
  long n = sysconf(_SC_PAGESIZE);
  return n > 0 ? (size_t)n : 4096;
}
