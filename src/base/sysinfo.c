#define _GNU_SOURCE /* sched_getaffinity, CPU_ISSET_S */
#include "base/sysinfo.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>
#include "base/status.h"

/* The kernel's mask, and how many of its CPUs are looked at: lists of them are on stacks, which may be small. */
enum { MAX_CPUS = 8192, SET_BYTES = MAX_CPUS / 8, MAX_LIST = 1024 };

/* A kernel's mask may be larger than the 1024 bits of cpu_set_t. */
union mask {
  cpu_set_t set;
  unsigned char bytes[SET_BYTES];
};

/* Numbers of the CPUs of the affinity mask, at most cap of them. */
static size_t allowed_cpus(unsigned *cpus, size_t cap) {
  union mask mask;
  size_t n = 0;
  CPU_ZERO_S(SET_BYTES, &mask.set);
  if (sched_getaffinity(0, SET_BYTES, &mask.set) != 0) return 0;
  for (unsigned cpu = 0; cpu < MAX_CPUS && n < cap; cpu++)
    if (CPU_ISSET_S(cpu, SET_BYTES, &mask.set)) cpus[n++] = cpu;
  return n;
}

unsigned tb_cpu_count(void) {
  unsigned cpus[MAX_LIST];
  size_t n = allowed_cpus(cpus, MAX_LIST);
  if (n > 0) return (unsigned)n;
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (unsigned)online : 1;
}

unsigned tb_performance_cores(void) {
  unsigned cpus[MAX_LIST];
  size_t n = allowed_cpus(cpus, MAX_LIST);
  return n > 0 ? tb_performance_cores_at("", cpus, n) : tb_cpu_count();
}

/* ---------------------------------------------------------------------------------------------------- affinity */

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t tb_cpu_mask_parse(const char *mask, unsigned *cpus, size_t cap) {
  if (mask[0] == '0' && (mask[1] | 32) == 'x') mask += 2;
  const size_t digits = strlen(mask);
  size_t n = 0;
  for (size_t i = digits; i-- > 0;) {
    const int value = hex_digit(mask[i]);
    if (value < 0) return 0;
    for (unsigned bit = 0; bit < 4; bit++) {
      if (!(value >> bit & 1)) continue;
      if (n == cap) return 0;
      cpus[n++] = (unsigned)(digits - 1 - i) * 4 + bit;
    }
  }
  return n;
}

static enum tb_status check_mask(const char *mask, const unsigned *cpus, size_t n, const unsigned *allowed,
                                 size_t n_allowed, struct tb_error *err) {
  if (n == 0) return tb_fail(err, TB_E_ARG, "cpu mask: '%.40s' is not a hexadecimal mask like f0", mask);
  for (size_t i = 0, j = 0; i < n; i++) {
    while (j < n_allowed && allowed[j] < cpus[i]) j++;
    if (j == n_allowed || allowed[j] != cpus[i])
      return tb_fail(err, TB_E_ARG, "cpu mask: '%.40s' has CPU %u, which is not there or not for this process", mask,
                     cpus[i]);
  }
  return TB_OK;
}

enum tb_status tb_use_cpus(const char *mask, struct tb_error *err) {
  unsigned allowed[MAX_LIST], cpus[MAX_LIST];
  const size_t n_allowed = allowed_cpus(allowed, MAX_LIST);
  size_t n;
  if (mask) {
    n = tb_cpu_mask_parse(mask, cpus, MAX_LIST);
    enum tb_status status = check_mask(mask, cpus, n, allowed, n_allowed, err);
    if (status) return status;
  } else {
    n = tb_fast_cpus_at("", allowed, n_allowed, cpus);
    if (n == 0 || n == n_allowed) return TB_OK; /* all are alike */
  }
  union mask set;
  CPU_ZERO_S(SET_BYTES, &set.set);
  for (size_t i = 0; i < n; i++)
    CPU_SET_S(cpus[i], SET_BYTES, &set.set);
  if (sched_setaffinity(0, SET_BYTES, &set.set) != 0)
    return tb_fail(err, TB_E_IO, "cpu mask: the system refused it: %s", strerror(errno));
  return TB_OK;
}

size_t tb_page_size(void) {
  long n = sysconf(_SC_PAGESIZE);
  return n > 0 ? (size_t)n : 4096;
}
