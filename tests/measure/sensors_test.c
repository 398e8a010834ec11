/* Temperature, clock and throttling as different machines tell them. */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "cli/bench.h"
#include "support/tmpdir.h"

/* Writes a file of a made-up /sys or /proc; makes the folders above it. */
static void put(const char *root, const char *path, const char *text) {
  char full[512];
  snprintf(full, sizeof full, "%.200s%.300s", root, path);
  for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
    *p = '\0';
    mkdir(full, 0700);
  }
  FILE *f = fopen(full, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

/* A folder below the test's own one, which the next run of the build may reuse. */
static void make(char root[300], const char *name) {
  struct tmpdir d;
  tmpdir_make(&d);
  snprintf(root, 300, "%s-%s", d.path, name);
  tmpdir_remove(&d);
  mkdir(root, 0700);
}

static void remove_all(const char *root) {
  char command[400];
  snprintf(command, sizeof command, "rm -rf '%s'", root);
  assert_int_equal(system(command), 0);
}

static void nothing_told(void **state) {
  (void)state;
  struct bench_sensors s;
  bench_read_sensors("/no/such/root", &s);
  assert_true(s.celsius == 0 && s.mhz == 0);
  assert_int_equal(s.throttled, -1);
}

static void raspberry_pi(void **state) {
  (void)state;
  char root[300];
  struct bench_sensors s;
  make(root, "pi");
  put(root, "/sys/class/thermal/thermal_zone0/temp", "61350\n");
  put(root, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2400000\n");
  put(root, "/sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "1500000\n");
  put(root, "/sys/devices/platform/soc/soc:firmware/get_throttled", "0\n");
  bench_read_sensors(root, &s);
  assert_true(s.celsius > 61.3 && s.celsius < 61.4 && s.mhz == 2400);
  assert_int_equal(s.throttled, 0);
  put(root, "/sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n"); /* it was, since the start */
  bench_read_sensors(root, &s);
  assert_int_equal(s.throttled, 0);
  put(root, "/sys/devices/platform/soc/soc:firmware/get_throttled", "50004\n"); /* it is now */
  bench_read_sensors(root, &s);
  assert_int_equal(s.throttled, 1);
  remove_all(root);
}

static void phone(void **state) {
  (void)state;
  char root[300];
  struct bench_sensors s;
  make(root, "phone");
  put(root, "/sys/class/thermal/thermal_zone0/temp", "-40000\n"); /* not connected */
  put(root, "/sys/class/thermal/thermal_zone1/temp", "43000\n");
  put(root, "/sys/class/thermal/thermal_zone2/temp", "2147483647\n"); /* nor this */
  put(root, "/sys/class/thermal/thermal_zone3/temp", "nonsense\n");
  put(root, "/sys/class/thermal/cooling_device0/type", "thermal-cpufreq-0\n");
  put(root, "/sys/class/thermal/cooling_device0/cur_state", "0\n");
  put(root, "/sys/class/thermal/cooling_device1/type", "backlight\n");
  put(root, "/sys/class/thermal/cooling_device1/cur_state", "3\n");
  bench_read_sensors(root, &s);
  assert_true(s.celsius == 43 && s.mhz == 0);
  assert_int_equal(s.throttled, 0);
  put(root, "/sys/class/thermal/cooling_device0/cur_state", "2\n");
  bench_read_sensors(root, &s);
  assert_int_equal(s.throttled, 1);
  remove_all(root);
}

static void virtual_machine(void **state) {
  (void)state;
  char root[300];
  struct bench_sensors s;
  make(root, "vm");
  put(root, "/proc/cpuinfo", "processor\t: 0\ncpu MHz\t\t: 2000.1\nprocessor\t: 1\ncpu MHz\t\t: 2595.124\n");
  bench_read_sensors(root, &s);
  assert_true(s.mhz > 2595 && s.mhz < 2596);
  assert_int_equal(s.throttled, -1);
  remove_all(root);
}

static void lists(void **state) {
  (void)state;
  struct bench_values v = {0};
  assert_true(bench_parse_values("-p", "1-4,10-20+5,3-30*3", 0, 100, &v));
  const uint32_t expected[] = {1, 2, 3, 4, 10, 15, 20, 3, 9, 27};
  assert_int_equal(v.n, 10);
  assert_memory_equal(v.v, expected, sizeof expected);
  assert_true(bench_parse_seconds("10m") == 600 && bench_parse_seconds("1.5h") == 5400 &&
              bench_parse_seconds("7") == 7);
  assert_true(bench_parse_seconds("") == 0 && bench_parse_seconds("-1s") == 0 && bench_parse_seconds("3d") == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_told),    cmocka_unit_test(raspberry_pi), cmocka_unit_test(phone),
      cmocka_unit_test(virtual_machine), cmocka_unit_test(lists),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
