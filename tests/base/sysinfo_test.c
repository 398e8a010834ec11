/* Readers of /proc and /sys, shown other machines: each case writes the files of one into a scratch folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/sysinfo.h"

static char root[256];
static const uint64_t KiB = 1024, MiB = 1024 * 1024, none = UINT64_MAX;

static int enter_scratch(void **state) {
  (void)state;
  const char *tmp = getenv("TMPDIR");
  snprintf(root, sizeof root, "%s/tb-sysinfo-XXXXXX", tmp ? tmp : "/tmp");
  return mkdtemp(root) ? 0 : -1;
}

static int leave_scratch(void **state) {
  (void)state;
  char command[300];
  snprintf(command, sizeof command, "rm -rf '%s'", root);
  return system(command);
}

/* Writes a file below the scratch folder, with the folders that lead to it. */
static void put_bytes(const char *path, const char *text, size_t n) {
  char full[512];
  snprintf(full, sizeof full, "%s%s", root, path);
  for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
    *slash = 0;
    mkdir(full, 0777);
    *slash = '/';
  }
  FILE *f = fopen(full, "w");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

static void put(const char *path, const char *text) { put_bytes(path, text, strlen(text)); }

static void put_cpu(unsigned cpu, const char *file, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/%s", cpu, file);
  put(path, text);
}

static void assert_memory(uint64_t as, uint64_t data, uint64_t bytes, const char *word) {
  const char *source = NULL;
  assert_int_equal(tb_memory_available_at(root, as, data, &source), bytes);
  if (!strstr(source, word)) fail_msg("limited by '%s', expected '%s'", source, word);
}

/* ------------------------------------------------------------------------------------------------------ memory */

static void no_files_tell_nothing(void **state) {
  (void)state;
  assert_memory(none, none, 0, "nothing");
}

static void meminfo(void **state) {
  (void)state;
  put("/proc/meminfo", "MemTotal:       16000000 kB\nMemFree:          100 kB\nMemAvailable:    8000 kB\nBuffers: 5 kB\n");
  assert_memory(none, none, 8000 * KiB, "MemAvailable");
  put("/proc/meminfo", "MemFree:   100 kB\nBuffers:   20 kB\nCached:     3 kB\nSwapCached: 9 kB\n"); /* old kernel */
  assert_memory(none, none, 123 * KiB, "MemAvailable");
}

static void odd_meminfo(void **state) {
  (void)state;
  const char *const nothing[] = {"", "\n", "MemAvailable", "MemAvailable:", "MemAvailable: kB", "MemAvailable: -5 kB\n",
                                 "MemAvailableX: 5 kB\n", " MemAvailable: 5 kB\n"};
  for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
    put("/proc/meminfo", nothing[i]);
    assert_memory(none, none, 0, "nothing");
  }
  put("/proc/meminfo", "MemAvailable: 7"); /* no unit, no end of line */
  assert_memory(none, none, 7 * KiB, "MemAvailable");
  put("/proc/meminfo", "MemAvailable: 99999999999999999999999 kB\n"); /* more than 64 bits */
  assert_memory(none, none, UINT64_MAX, "MemAvailable");
  put("/proc/meminfo", "MemAvailable: 0 kB\n"); /* known, and exhausted: not "unknown" */
  assert_memory(none, none, 1, "MemAvailable");
  char line[20000];
  memset(line, 'x', sizeof line);
  memcpy(line + sizeof line - 24, "\nMemAvailable:   64 kB\n", 23);
  put_bytes("/proc/meminfo", line, sizeof line);
  assert_memory(none, none, 64 * KiB, "MemAvailable");
}

static const char v2_mount[] = "22 1 0:20 / /proc rw - proc proc rw\n30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";

static void cgroup_v2_with_ancestors(void **state) {
  (void)state;
  put("/proc/meminfo", "MemAvailable: 8000000 kB\n");
  put("/proc/self/cgroup", "0::/user.slice/app\n");
  put("/proc/self/mountinfo", v2_mount);
  put("/sys/fs/cgroup/user.slice/app/memory.max", "max\n");
  put("/sys/fs/cgroup/user.slice/app/memory.current", "1048576\n");
  assert_memory(none, none, 8000000 * KiB, "MemAvailable");
  put("/sys/fs/cgroup/user.slice/memory.max", "104857600\n");
  put("/sys/fs/cgroup/user.slice/memory.current", "41943040\n");
  assert_memory(none, none, 60 * MiB, "cgroup");
  /* File pages of the group can be dropped. */
  put("/sys/fs/cgroup/user.slice/memory.stat", "anon 1\nfile 30\ninactive_file 10485760\nactive_file 5242880\n");
  assert_memory(none, none, 75 * MiB, "cgroup");
  put("/sys/fs/cgroup/user.slice/app/memory.high", "20971520"); /* no end of line */
  assert_memory(none, none, 19 * MiB, "cgroup");
  put("/sys/fs/cgroup/user.slice/app/memory.max", "0\n");
  assert_memory(none, none, 1, "cgroup");
}

static void odd_cgroup_files(void **state) {
  (void)state;
  const char *const no_limit[] = {"", "\n", "max", "max\n", "99999999999999999999\n", "garbage", "-1\n"};
  put("/proc/meminfo", "MemAvailable: 1000 kB\n");
  put("/proc/self/cgroup", "0::/\n");
  put("/proc/self/mountinfo", v2_mount);
  for (size_t i = 0; i < sizeof no_limit / sizeof *no_limit; i++) {
    put("/sys/fs/cgroup/memory.max", no_limit[i]);
    put("/sys/fs/cgroup/memory.current", no_limit[i]);
    assert_memory(none, none, 1000 * KiB, "MemAvailable");
  }
  const char *const odd[] = {"", "\n", "0", "0:", "0::", "0::relative\n", ":::\n", "1:name=systemd:/\n",
                             "0::/../../..\n", "0::/a/../../b\n"};
  put("/sys/fs/cgroup/memory.current", "0");
  put("/sys/fs/cgroup/memory.max", "500000\n");
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    put("/proc/self/cgroup", odd[i]);
    bool outside = strstr(odd[i], "..") != NULL; /* then what is mounted stands for it */
    assert_memory(none, none, outside ? 500000 : 1000 * KiB, outside ? "cgroup" : "MemAvailable");
  }
  put("/proc/self/cgroup", "0::/\n");
  const char *const mounts[] = {"", "\n", " - cgroup2", "30 23 0:26 / /sys/fs/cgroup rw", "30 23 0:26 x y rw - cgroup2 c rw\n",
                                "1 2 3 - cgroup2 cgroup2 rw\n"};
  for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
    put("/proc/self/mountinfo", mounts[i]);
    assert_memory(none, none, 1000 * KiB, "MemAvailable");
  }
  char deep[4000] = "0::";
  for (size_t n = 3; n + 2 < sizeof deep; n += 2) memcpy(deep + n, "/a", 3);
  put("/proc/self/cgroup", deep);
  put("/proc/self/mountinfo", v2_mount);
  assert_memory(none, none, 500000, "cgroup"); /* of the top, after some two thousand ancestors */
}

static void cgroup_v1_in_a_container(void **state) {
  (void)state;
  put("/proc/meminfo", "MemAvailable: 8000000 kB\n");
  put("/proc/self/cgroup", "9:cpu,cpuacct:/docker/0815\n4:memory:/docker/0815\n0::/docker/0815\n");
  put("/proc/self/mountinfo", "7 6 0:30 /docker/0815 /sys/fs/cgroup/my\\040memory ro - cgroup cgroup rw,memory\n"
                              "8 6 0:31 /docker/0815 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n");
  put("/sys/fs/cgroup/my memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("/sys/fs/cgroup/my memory/memory.usage_in_bytes", "1000\n");
  assert_memory(none, none, 8000000 * KiB, "MemAvailable");
  put("/sys/fs/cgroup/my memory/memory.limit_in_bytes", "3000000\n");
  put("/sys/fs/cgroup/my memory/memory.usage_in_bytes", "2000000\n");
  assert_memory(none, none, 1000000, "cgroup");
  put("/sys/fs/cgroup/my memory/memory.stat", "inactive_file 7\ntotal_inactive_file 400000\ntotal_active_file 100000\n");
  assert_memory(none, none, 1500000, "cgroup");
  put("/sys/fs/cgroup/my memory/memory.stat", "total_inactive_file 999999999\n"); /* more than is used */
  assert_memory(none, none, 3000000, "cgroup");
  unsigned allowed[] = {0, 1, 2, 3};
  assert_int_equal(tb_performance_cores_at(root, allowed, 4), 4);
  put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  assert_int_equal(tb_performance_cores_at(root, allowed, 4), 4);
  put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
  assert_int_equal(tb_performance_cores_at(root, allowed, 4), 3);
}

static void process_limits(void **state) {
  (void)state;
  put("/proc/meminfo", "MemAvailable: 100000 kB\n");
  put("/proc/self/status", "Name:\tthimble\nVmSize:\t    1024 kB\nVmData:\t     512 kB\n");
  assert_memory(50 * MiB, none, 49 * MiB, "RLIMIT_AS");
  assert_memory(50 * MiB, 10 * MiB, 10 * MiB - 512 * KiB, "RLIMIT_DATA");
  assert_memory(1, none, 1, "RLIMIT_AS"); /* already over it */
  assert_memory(none, none, 100000 * KiB, "MemAvailable");
}

static void this_machine_has_memory(void **state) {
  (void)state;
  const char *source = NULL;
  assert_true(tb_memory_available(&source) > MiB);
  assert_non_null(source);
  assert_true(tb_page_size() >= 4096);
  assert_int_equal(tb_page_size() & (tb_page_size() - 1), 0);
}

/* -------------------------------------------------------------------------------------------------------- CPUs */

static unsigned cores_of(unsigned n) {
  unsigned allowed[256] = {0};
  for (unsigned i = 0; i < n; i++) allowed[i] = i;
  return tb_performance_cores_at(root, allowed, n);
}

static void unknown_topology_counts_cpus(void **state) {
  (void)state;
  assert_int_equal(cores_of(6), 6);
  assert_int_equal(cores_of(0), 1);
}

static void hardware_threads_count_once(void **state) {
  (void)state;
  const char *const siblings[] = {"0,4\n", "1,5\n", "2,6\n", "3,7\n", "0,4\n", "1,5\n", "2,6\n", "3,7\n"};
  for (unsigned i = 0; i < 8; i++) put_cpu(i, "topology/thread_siblings_list", siblings[i]);
  assert_int_equal(cores_of(8), 4);
  unsigned second_threads[] = {4, 5};
  assert_int_equal(tb_performance_cores_at(root, second_threads, 2), 2);
  for (unsigned i = 0; i < 8; i++) put_cpu(i, "topology/thread_siblings_list", i % 2 ? "6-7" : ""); /* odd content */
  assert_in_range(cores_of(8), 1, 8);
}

static void little_cores_are_left_out(void **state) {
  (void)state;
  for (unsigned i = 0; i < 8; i++) put_cpu(i, "cpu_capacity", i < 4 ? "414\n" : "1024\n"); /* RK3588 */
  assert_int_equal(cores_of(8), 4);
  const char *const phone[] = {"281", "281", "281", "281", "670", "670", "670", "1024"};
  for (unsigned i = 0; i < 8; i++) put_cpu(i, "cpu_capacity", phone[i]);
  assert_int_equal(cores_of(8), 4); /* three middle cores and the prime one */
  unsigned little[] = {0, 1, 2};
  assert_int_equal(tb_performance_cores_at(root, little, 3), 3); /* nothing faster is allowed */
}

static void clocks_tell_kinds_where_capacity_does_not(void **state) {
  (void)state;
  for (unsigned i = 0; i < 20; i++) { /* 6 P-cores of 2 threads, two favoured, and 8 E-cores */
    char siblings[16];
    snprintf(siblings, sizeof siblings, i < 12 ? "%u-%u\n" : "%u\n", i < 12 ? i & ~1u : i, i | 1);
    put_cpu(i, "topology/thread_siblings_list", siblings);
    put_cpu(i, "cpufreq/cpuinfo_max_freq", i < 4 ? "5000000\n" : i < 12 ? "4800000\n" : "3800000\n");
  }
  assert_int_equal(cores_of(20), 6);
  put_cpu(7, "cpufreq/cpuinfo_max_freq", "99999999999999999999");
  put_cpu(8, "cpufreq/cpuinfo_max_freq", "");
  put_cpu(9, "cpufreq/cpuinfo_max_freq", "fast");
  assert_in_range(cores_of(20), 1, 6);
}

static void quota_limits_threads(void **state) {
  (void)state;
  put("/proc/self/cgroup", "0::/a/b\n");
  put("/proc/self/mountinfo", v2_mount);
  put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  assert_int_equal(cores_of(8), 8);
  put("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  assert_int_equal(cores_of(8), 2);
  const char *const odd[] = {"", "max", "0 100000", "5", "100000 0", "100000 max"};
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    put("/sys/fs/cgroup/a/cpu.max", odd[i]);
    assert_int_equal(cores_of(8), 8);
  }
}

static void this_machine_has_cpus(void **state) {
  (void)state;
  assert_in_range(tb_cpu_count(), 1, 8192);
  assert_in_range(tb_performance_cores(), 1, tb_cpu_count());
}

static void masks_are_hexadecimal(void **state) {
  (void)state;
  unsigned cpus[8];
  assert_int_equal(tb_cpu_mask_parse("f0", cpus, 8), 4);
  for (unsigned i = 0; i < 4; i++) assert_int_equal(cpus[i], 4 + i);
  assert_int_equal(tb_cpu_mask_parse("0x100000000000000000001", cpus, 8), 2); /* more CPUs than a word has bits */
  assert_int_equal(cpus[0], 0);
  assert_int_equal(cpus[1], 80);
  const char *const none_of_these[] = {"", "0x", "0", "g", "1,2", "-1", " 1", "1 ", "fff"};
  for (size_t i = 0; i < sizeof none_of_these / sizeof *none_of_these; i++)
    assert_int_equal(tb_cpu_mask_parse(none_of_these[i], cpus, 8), 0);
}

static void fast_cpus_keep_their_hardware_threads(void **state) {
  (void)state;
  unsigned allowed[8] = {0, 1, 2, 3, 4, 5, 6, 7}, fast[8];
  assert_int_equal(tb_fast_cpus_at(root, allowed, 8, fast), 8); /* nothing known: all alike */
  for (unsigned i = 0; i < 8; i++) {
    put_cpu(i, "cpu_capacity", i < 4 ? "414\n" : "1024\n");
    put_cpu(i, "topology/thread_siblings_list", i < 4 ? "0-3\n" : "4-7\n");
  }
  assert_int_equal(tb_fast_cpus_at(root, allowed, 8, fast), 4);
  for (unsigned i = 0; i < 4; i++) assert_int_equal(fast[i], 4 + i);
  assert_int_equal(cores_of(8), 1);
}

/* --------------------------------------------------------------------------------------------------- temperature */

static void put_zone(unsigned zone, const char *file, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%u/%s", zone, file);
  put(path, text);
}

static void the_zone_nearest_to_its_limit_counts(void **state) {
  (void)state;
  struct tb_temperature t;
  assert_false(tb_temperature_at(root, 0, &t));
  put_zone(0, "type", "battery\n"); /* no trip points, a tenth of a degree as its unit */
  put_zone(0, "temp", "310\n");
  assert_false(tb_temperature_at(root, 0, &t));
  assert_false(tb_temperature_at(root, 60, &t));
  put_zone(1, "type", "cpu-thermal\n");
  put_zone(1, "temp", "62500\n");
  assert_false(tb_temperature_at(root, 0, &t)); /* no limit of its own */
  assert_true(tb_temperature_at(root, 60, &t));
  assert_string_equal(t.zone, "cpu-thermal");
  assert_true(t.celsius == 62.5f && t.limit == 60);
  put_zone(1, "trip_point_0_type", "active\n");
  put_zone(1, "trip_point_0_temp", "50000\n");
  put_zone(1, "trip_point_1_type", "critical\n");
  put_zone(1, "trip_point_1_temp", "110000\n");
  assert_true(tb_temperature_at(root, 0, &t));
  assert_true(t.celsius == 62.5f && t.limit == 100);
  put_zone(4, "type", "skin\n"); /* after numbers that are not there */
  put_zone(4, "temp", "41000\n");
  put_zone(4, "trip_point_0_type", "hot\n");
  put_zone(4, "trip_point_0_temp", "55000\n");
  assert_true(tb_temperature_at(root, 0, &t));
  assert_string_equal(t.zone, "skin"); /* 14 degrees left, the other has 37.5 */
  assert_true(t.limit == 55);
  put_zone(1, "temp", "104000\n");
  assert_true(tb_temperature_at(root, 0, &t));
  assert_string_equal(t.zone, "cpu-thermal");
  assert_true(t.celsius > t.limit);
}

static void odd_thermal_zones_are_passed_over(void **state) {
  (void)state;
  struct tb_temperature t;
  const char *const odd[] = {"", "-5000\n", "hot\n", "99999999999999999999\n", "0\n"};
  put_zone(0, "type", "a name that is much longer than thirty-one characters\n");
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    put_zone(0, "temp", odd[i]);
    assert_false(tb_temperature_at(root, 60, &t));
  }
  put_zone(0, "temp", "50000");
  put_zone(0, "trip_point_0_type", "critical");
  put_zone(0, "trip_point_0_temp", "0");
  assert_false(tb_temperature_at(root, 0, &t));
  assert_true(tb_temperature_at(root, 60, &t));
  assert_int_equal(strlen(t.zone), 31);
}

/* ------------------------------------------------------------------------------------------------------- names */

static void assert_name(const char *expected) {
  char name[128];
  tb_cpu_name_at(root, name, sizeof name);
  assert_string_equal(name, expected);
}

static void names(void **state) {
  (void)state;
  assert_name("unknown CPU");
  put("/proc/cpuinfo", "processor\t: 0\nmodel\t\t: 97\nmodel name\t: AMD Ryzen 9 7945HX\nflags\t\t: fpu\n\nprocessor\t: 1\n"
                       "model name\t: other\n");
  assert_name("AMD Ryzen 9 7945HX");
  const char *pi5 = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0b\n"
                    "CPU revision\t: 1\n\nprocessor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n";
  char text[1024];
  snprintf(text, sizeof text, "%sModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n", pi5);
  put("/proc/cpuinfo", text);
  assert_name("Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)");
  put("/proc/cpuinfo", pi5);
  assert_name("Cortex-A76");
  put_bytes("/proc/device-tree/model", "Radxa ROCK 5B\0", 14);
  assert_name("Radxa ROCK 5B (Cortex-A76)");
  snprintf(text, sizeof text, "CPU implementer\t: 0x41\nCPU part\t: 0xd05\n%sCPU implementer : 0x7f\nCPU part : 0xfff\n", pi5);
  put("/proc/cpuinfo", text);
  put("/proc/device-tree/model", "");
  assert_name("ARM part 0x7f/0xfff + Cortex-A76 + Cortex-A55");
}

static void odd_names(void **state) {
  (void)state;
  put("/proc/cpuinfo", "model name\t: evil\033[2Jname");
  assert_name("evil?[2Jname");
  char text[6000];
  memset(text, 'x', sizeof text);
  memcpy(text, "model name : ", 13);
  put_bytes("/proc/cpuinfo", text, sizeof text);
  char name[16];
  tb_cpu_name_at(root, name, sizeof name);
  assert_string_equal(name, "xxxxxxxxxxxxxxx");
  put("/proc/cpuinfo", "model name\t: \nCPU part\t: zzz\nCPU part\t: 0xffffffffffffffffffff\nCPU part :");
  tb_cpu_name_at(root, name, sizeof name);
  assert_true(strlen(name) > 0);
  size_t n = 0;
  for (unsigned i = 1; i <= 100; i++) n += (size_t)snprintf(text + n, sizeof text - n, "CPU part\t: 0x%x\n", i);
  put("/proc/cpuinfo", text); /* a hundred kinds of core */
  tb_cpu_name_at(root, name, sizeof name);
  assert_int_equal(strlen(name), 15);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, enter_scratch, leave_scratch)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(no_files_tell_nothing),
      CASE(meminfo),
      CASE(odd_meminfo),
      CASE(cgroup_v2_with_ancestors),
      CASE(odd_cgroup_files),
      CASE(cgroup_v1_in_a_container),
      CASE(process_limits),
      CASE(this_machine_has_memory),
      CASE(unknown_topology_counts_cpus),
      CASE(hardware_threads_count_once),
      CASE(little_cores_are_left_out),
      CASE(clocks_tell_kinds_where_capacity_does_not),
      CASE(quota_limits_threads),
      CASE(this_machine_has_cpus),
      CASE(masks_are_hexadecimal),
      CASE(fast_cpus_keep_their_hardware_threads),
      CASE(the_zone_nearest_to_its_limit_counts),
      CASE(odd_thermal_zones_are_passed_over),
      CASE(names),
      CASE(odd_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
