#define _GNU_SOURCE /* sched_getaffinity, CPU_COUNT */
#include "base/sysinfo.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

unsigned tb_cpu_count(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return (unsigned)CPU_COUNT(&set);
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (unsigned)n : 1;
}

unsigned tb_performance_cores(void) { return tb_cpu_count(); }

uint64_t tb_memory_available(const char **source) {
  uint64_t kib = 0;
  char line[128];
  FILE *f = fopen("/proc/meminfo", "r");
  while (f && fgets(line, sizeof line, f)) {
    unsigned long long v;
    if (sscanf(line, "MemAvailable: %llu kB", &v) == 1) kib = v;
  }
  if (f) fclose(f);
  *source = "MemAvailable";
  return kib * 1024;
}

size_t tb_page_size(void) {
  long n = sysconf(_SC_PAGESIZE);
  return n > 0 ? (size_t)n : 4096;
}

void tb_cpu_name(char *buf, size_t cap) { snprintf(buf, cap, "unknown CPU"); }
