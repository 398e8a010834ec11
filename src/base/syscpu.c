/* Which CPUs are worth a thread, and what they are called. */
#include "base/sysinfo.h"

#include <stdio.h>
#include <string.h>
#include "base/cgroup.h"

enum { MAX_CORES = 1024, MAX_KINDS = 8 };

/* ------------------------------------------------------------------------------------------------- fast cores */

static bool cpu_number(const char *root, unsigned cpu, const char *file, uint64_t *value) {
  char path[128];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/%s", cpu, file);
  return tb_sys_read_number(root, path, value);
}

/* Speed of each CPU in the system's own unit, 0 where it tells none, and the share of the fastest one's (in percent)
 * that still counts as fast.
 *   cpu_capacity (ARM, newer x86 hybrids): work per time, 1024 for the fastest. LITTLE cores have up to 50 % (Cortex-A53
 *   beside A73), the middle cores of phones 60 % and more.
 *   cpuinfo_max_freq: E-cores of x86 hybrids and LITTLE cores reach up to 76 % of the fast ones' clock, favoured cores
 *   of one kind differ by less than 10 %. */
static unsigned read_speeds(const char *root, const unsigned *cpus, size_t n, uint64_t *speed) {
  bool capacity = true;
  for (size_t i = 0; i < n && capacity; i++) capacity = cpu_number(root, cpus[i], "cpu_capacity", &speed[i]);
  if (capacity) return 55;
  for (size_t i = 0; i < n; i++)
    if (!cpu_number(root, cpus[i], "cpufreq/cpuinfo_max_freq", &speed[i])) speed[i] = 0; /* kHz */
  return 80;
}

/* The lowest CPU of the core that this CPU is a hardware thread of; the CPU itself when nothing is known. */
static unsigned core_of(const char *root, unsigned cpu) {
  uint64_t first;
  return cpu_number(root, cpu, "topology/thread_siblings_list", &first) && first <= cpu ? (unsigned)first : cpu;
}

/* CPUs' worth of time that the control groups grant, rounded up; UINT64_MAX: no quota. */
static uint64_t quota_of(const struct tb_cgroup *g) {
  char text[64];
  const char *rest = text;
  uint64_t quota, period;
  if (g->v2) { /* "200000 100000" or "max 100000" */
    if (!tb_cgroup_read(g, "cpu.max", text, sizeof text) || !tb_sys_number(text, &quota, &rest) ||
        !tb_sys_number(rest, &period, NULL))
      return UINT64_MAX;
  } else if (!tb_cgroup_number(g, "cpu.cfs_quota_us", &quota) || !tb_cgroup_number(g, "cpu.cfs_period_us", &period)) {
    return UINT64_MAX; /* -1: none */
  }
  if (period == 0 || quota == 0) return UINT64_MAX;
  return quota / period + (quota % period != 0);
}

static uint64_t granted_cpus(const char *root) {
  uint64_t least = UINT64_MAX;
  for (int v2 = 0; v2 < 2; v2++) {
    struct tb_cgroup g;
    if (!tb_cgroup_find(&g, root, v2, "cpu")) continue;
    do {
      uint64_t quota = quota_of(&g);
      if (quota < least) least = quota;
    } while (tb_cgroup_up(&g));
  }
  return least;
}

size_t tb_fast_cpus_at(const char *root, const unsigned *allowed, size_t n_allowed, unsigned *fast) {
  uint64_t speed[MAX_CORES], fastest = 0;
  size_t n = n_allowed < MAX_CORES ? n_allowed : MAX_CORES, n_fast = 0;
  unsigned percent = read_speeds(root, allowed, n, speed);
  for (size_t i = 0; i < n; i++) {
    if (speed[i] > UINT32_MAX) speed[i] = 0; /* no unit has such values */
    if (speed[i] > fastest) fastest = speed[i];
  }
  for (size_t i = 0; i < n; i++)
    if (speed[i] * 100 >= fastest * percent) fast[n_fast++] = allowed[i];
  return n_fast;
}

unsigned tb_performance_cores_at(const char *root, const unsigned *allowed, size_t n_allowed) {
  unsigned fast[MAX_CORES], cores[MAX_CORES], n_cores = 0;
  size_t n = tb_fast_cpus_at(root, allowed, n_allowed < MAX_CORES ? n_allowed : MAX_CORES, fast);
  for (size_t i = 0; i < n; i++) {
    unsigned core = core_of(root, fast[i]);
    bool seen = false;
    for (unsigned j = 0; j < n_cores && !seen; j++) seen = cores[j] == core;
    if (!seen) cores[n_cores++] = core;
  }
  uint64_t granted = granted_cpus(root);
  if (granted < n_cores) n_cores = (unsigned)granted;
  return n_cores ? n_cores : 1;
}

/* ------------------------------------------------------------------------------------------------------- names */

struct part {
  unsigned implementer, number;
  const char *name;
};

/* MIDR_EL1 numbers, as the vendors' manuals and the kernel's asm/cputype.h give them. */
static const struct part parts[] = {
    {0x41, 0xd03, "Cortex-A53"},   {0x41, 0xd04, "Cortex-A35"},  {0x41, 0xd05, "Cortex-A55"},
    {0x41, 0xd07, "Cortex-A57"},   {0x41, 0xd08, "Cortex-A72"},  {0x41, 0xd09, "Cortex-A73"},
    {0x41, 0xd0a, "Cortex-A75"},   {0x41, 0xd0b, "Cortex-A76"},  {0x41, 0xd0c, "Neoverse-N1"},
    {0x41, 0xd0d, "Cortex-A77"},   {0x41, 0xd0e, "Cortex-A76AE"},{0x41, 0xd40, "Neoverse-V1"},
    {0x41, 0xd41, "Cortex-A78"},   {0x41, 0xd42, "Cortex-A78AE"},{0x41, 0xd44, "Cortex-X1"},
    {0x41, 0xd46, "Cortex-A510"},  {0x41, 0xd47, "Cortex-A710"}, {0x41, 0xd48, "Cortex-X2"},
    {0x41, 0xd49, "Neoverse-N2"},  {0x41, 0xd4b, "Cortex-A78C"}, {0x41, 0xd4d, "Cortex-A715"},
    {0x41, 0xd4e, "Cortex-X3"},    {0x41, 0xd4f, "Neoverse-V2"}, {0x41, 0xd80, "Cortex-A520"},
    {0x41, 0xd81, "Cortex-A720"},  {0x41, 0xd82, "Cortex-X4"},   {0x41, 0xd85, "Cortex-X925"},
    {0x41, 0xd87, "Cortex-A725"},  {0x46, 0x001, "A64FX"},       {0x51, 0x001, "Oryon"},
    {0x51, 0x802, "Kryo 385 Gold"},{0x51, 0x803, "Kryo 385 Silver"},
    {0x51, 0x804, "Kryo 485 Gold"},{0x51, 0x805, "Kryo 485 Silver"},
    {0x61, 0x022, "Apple M1 Icestorm"}, {0x61, 0x023, "Apple M1 Firestorm"},
};

/* "0xd0b"; 0 when it is something else. */
static unsigned hexadecimal(const char *s) {
  unsigned v = 0;
  if (s[0] != '0' || s[1] != 'x') return 0;
  for (s += 2; *s && v < 1u << 24; s++) {
    unsigned c = (unsigned char)*s | 0x20;
    if (*s >= '0' && *s <= '9') v = v * 16 + (unsigned)(*s - '0');
    else if (c >= 'a' && c <= 'f') v = v * 16 + c - 'a' + 10;
    else break;
  }
  return v;
}

/* Appends to the string in buf; cuts at its end. */
static void append(char *buf, size_t cap, const char *text) {
  size_t len = strlen(buf);
  if (len + 1 < cap) snprintf(buf + len, cap - len, "%s", text);
}

struct kinds {
  unsigned implementer, n;
  struct part seen[MAX_KINDS];
};

static void add_kind(struct kinds *k, unsigned number) {
  for (unsigned i = 0; i < k->n; i++)
    if (k->seen[i].implementer == k->implementer && k->seen[i].number == number) return;
  if (k->n < MAX_KINDS) k->seen[k->n++] = (struct part){.implementer = k->implementer, .number = number};
}

/* "Cortex-A76 + Cortex-A55", the fast kind first: systems number LITTLE cores before big ones. */
static void name_kinds(const struct kinds *k, char *buf, size_t cap) {
  for (unsigned i = k->n; i-- > 0;) {
    char number[48];
    const char *name = number;
    snprintf(number, sizeof number, "ARM part 0x%x/0x%x", k->seen[i].implementer, k->seen[i].number);
    for (size_t j = 0; j < sizeof parts / sizeof *parts; j++)
      if (parts[j].implementer == k->seen[i].implementer && parts[j].number == k->seen[i].number) name = parts[j].name;
    append(buf, cap, name);
    if (i) append(buf, cap, " + ");
  }
}

/* Reads /proc/cpuinfo: x86 has a "model name"; ARM has part numbers for each CPU and at most a "Model" of the board. */
static void read_cpuinfo(const char *root, char *model, size_t cap, struct kinds *k) {
  struct tb_sys_lines l;
  if (!tb_sys_open(&l, root, "/proc/cpuinfo")) return;
  for (char *line; (line = tb_sys_next(&l));) {
    const char *field;
    if ((field = tb_sys_field(line, "CPU implementer"))) k->implementer = hexadecimal(field);
    else if ((field = tb_sys_field(line, "CPU part"))) add_kind(k, hexadecimal(field));
    else if (!model[0] && ((field = tb_sys_field(line, "model name")) || (field = tb_sys_field(line, "Model"))))
      snprintf(model, cap, "%s", field);
  }
  tb_sys_close(&l);
}

/* Control bytes from the system's files have no place in a line of output. */
static void make_printable(char *s) {
  for (; *s; s++)
    if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
}

void tb_cpu_name_at(const char *root, char *buf, size_t cap) {
  char model[256] = "";
  struct kinds kinds = {0};
  buf[0] = 0;
  read_cpuinfo(root, model, sizeof model, &kinds);
  if (!model[0]) tb_sys_read(root, "/proc/device-tree/model", model, sizeof model);
  append(buf, cap, model);
  if (kinds.n) {
    if (model[0]) append(buf, cap, " (");
    name_kinds(&kinds, buf, cap);
    if (model[0]) append(buf, cap, ")");
  }
  if (!buf[0]) append(buf, cap, "unknown CPU");
  make_printable(buf);
}

void tb_cpu_name(char *buf, size_t cap) { tb_cpu_name_at("", buf, cap); }
