/* How much memory can be taken: system, control groups, process limits. */
#include "base/sysinfo.h"

#include <sys/resource.h>
#include "base/cgroup.h"

struct room {
  bool known;
  uint64_t bytes;
  uint64_t limit; /* of which `bytes` are left */
  const char *source;
};

/* limit - used bytes are left. */
static void narrow(struct room *r, uint64_t limit, uint64_t used, const char *source) {
  uint64_t left = limit > used ? limit - used : 0;
  if (r->known && r->bytes <= left) return;
  *r = (struct room){.known = true, .bytes = left, .limit = limit, .source = source};
}

static uint64_t from_kib(uint64_t kib) {
  return kib > UINT64_MAX / 1024 ? UINT64_MAX : kib * 1024;
}

/* The sum of lines "key:   123 kB" of a file, in bytes; false when none is there. */
static bool sum_kib(const char *root, const char *path, const char *const *keys, uint64_t *bytes) {
  struct tb_sys_lines l;
  bool any = false;
  *bytes = 0;
  if (!tb_sys_open(&l, root, path)) return false;
  for (char *line; (line = tb_sys_next(&l));) {
    for (const char *const *key = keys; *key; key++) {
      const char *field = tb_sys_field(line, *key);
      uint64_t kib;
      if (!field || !tb_sys_number(field, &kib, NULL)) continue;
      uint64_t add = from_kib(kib);
      *bytes = add > UINT64_MAX - *bytes ? UINT64_MAX : *bytes + add;
      any = true;
    }
  }
  tb_sys_close(&l);
  return any;
}

static void narrow_by_system(struct room *r, const char *root) {
  static const char *const available[] = {"MemAvailable", NULL};
  static const char *const parts[] = {"MemFree", "Buffers", "Cached", NULL}; /* kernels before 3.14 */
  uint64_t bytes;
  if (sum_kib(root, "/proc/meminfo", available, &bytes) || sum_kib(root, "/proc/meminfo", parts, &bytes))
    narrow(r, bytes, 0, "MemAvailable");
}

/* A group's use includes file pages, which the kernel drops when memory is wanted (as MemAvailable counts them): a
 * model that was mapped by an earlier run must not look like memory that is gone. */
static void narrow_by_group(struct room *r, const struct tb_cgroup *g) {
  uint64_t limit = UINT64_MAX, soft, used = 0, files;
  if (g->v2) {
    if (!tb_cgroup_number(g, "memory.max", &limit)) limit = UINT64_MAX; /* "max", or the root group, which has none */
    if (tb_cgroup_number(g, "memory.high", &soft) && soft < limit) limit = soft; /* beyond it everything slows down */
    tb_cgroup_number(g, "memory.current", &used);
    files = tb_cgroup_stat(g, "memory.stat", "inactive_file") + tb_cgroup_stat(g, "memory.stat", "active_file");
  } else {
    tb_cgroup_number(g, "memory.limit_in_bytes", &limit);
    tb_cgroup_number(g, "memory.usage_in_bytes", &used);
    files =
        tb_cgroup_stat(g, "memory.stat", "total_inactive_file") + tb_cgroup_stat(g, "memory.stat", "total_active_file");
  }
  /* Version 1 writes "no limit" as the largest whole number of pages that fits in 63 bits. */
  if (limit >= (uint64_t)1 << 62) return;
  narrow(r, limit, used > files ? used - files : 0, "the cgroup's memory limit");
}

static void narrow_by_groups(struct room *r, const char *root, bool v2) {
  struct tb_cgroup g;
  if (!tb_cgroup_find(&g, root, v2, "memory")) return;
  do
    narrow_by_group(r, &g);
  while (tb_cgroup_up(&g));
}

static void narrow_by_rlimit(struct room *r, const char *root, uint64_t limit, const char *key, const char *source) {
  const char *const keys[] = {key, NULL};
  uint64_t used;
  if (limit == UINT64_MAX) return;
  if (!sum_kib(root, "/proc/self/status", keys, &used)) used = 0;
  narrow(r, limit, used, source);
}

uint64_t tb_memory_available_at(const char *root, uint64_t limit_as, uint64_t limit_data, const char **source) {
  struct room r = {.source = "nothing"};
  narrow_by_system(&r, root);
  narrow_by_groups(&r, root, true);
  narrow_by_groups(&r, root, false);
  narrow_by_rlimit(&r, root, limit_as, "VmSize", "RLIMIT_AS");
  narrow_by_rlimit(&r, root, limit_data, "VmData", "RLIMIT_DATA");
  *source = r.source;
  return r.known && r.bytes == 0 ? 1 : r.bytes;
}

static uint64_t soft_limit(int resource) {
  struct rlimit l;
  return getrlimit(resource, &l) != 0 || l.rlim_cur == RLIM_INFINITY ? UINT64_MAX : (uint64_t)l.rlim_cur;
}

uint64_t tb_memory_available(const char **source) {
  return tb_memory_available_at("", soft_limit(RLIMIT_AS), soft_limit(RLIMIT_DATA), source);
}

/* ----------------------------------------------------------------------------------------------- limits of a process
 */

/* What this process holds of that which counts against its group: anonymous pages, page tables and kernel stack. */
static uint64_t own_use(const char *root) {
  static const char *const keys[] = {"RssAnon", "RssShmem", "VmPTE", NULL};
  uint64_t bytes;
  return sum_kib(root, "/proc/self/status", keys, &bytes) ? bytes : 0;
}

/* What a group's counter shows beyond pages: the structures that describe a process, and charges that each CPU took in
 * advance (64 pages, MEMCG_CHARGE_BATCH of the kernel's mm/memcontrol.c) and gives back when the limit is near. */
static uint64_t group_slack(void) {
  enum { OBJECTS = 384 << 10, BATCH = 256 << 10, MOST_CPUS = 8 };
  const unsigned cpus = tb_cpu_count();
  return OBJECTS + (uint64_t)BATCH * (cpus < MOST_CPUS ? cpus : MOST_CPUS);
}

static void add_limit(struct tb_memory_limit *limits, size_t *n, enum tb_memory_limit_kind kind, const char *source,
                      uint64_t bytes, bool estimate) {
  limits[(*n)++] = (struct tb_memory_limit){.kind = kind, .source = source, .bytes = bytes, .estimate = estimate};
}

static uint64_t plus(uint64_t a, uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

size_t tb_memory_limits_at(const char *root, uint64_t limit_as, uint64_t limit_data,
                           struct tb_memory_limit limits[TB_MEMORY_LIMITS]) {
  size_t n = 0;
  const uint64_t own = own_use(root);
  struct room r = {0};
  narrow_by_system(&r, root);
  if (r.known) add_limit(limits, &n, TB_LIMIT_RESIDENT, r.source, plus(r.bytes, own), true);
  r = (struct room){0};
  narrow_by_groups(&r, root, true);
  narrow_by_groups(&r, root, false);
  if (r.known) {
    const uint64_t bytes = plus(r.bytes, own + group_slack());
    add_limit(limits, &n, TB_LIMIT_RESIDENT, r.source, bytes < r.limit ? bytes : r.limit, false);
  }
  if (limit_as != UINT64_MAX) add_limit(limits, &n, TB_LIMIT_ADDRESS, "RLIMIT_AS", limit_as, false);
  if (limit_data != UINT64_MAX) add_limit(limits, &n, TB_LIMIT_DATA, "RLIMIT_DATA", limit_data, false);
  return n;
}

size_t tb_memory_limits(struct tb_memory_limit limits[TB_MEMORY_LIMITS]) {
  return tb_memory_limits_at("", soft_limit(RLIMIT_AS), soft_limit(RLIMIT_DATA), limits);
}
