/* Temperature, clock and throttling, from sysfs where it has them. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include "cli/bench.h"

#ifndef TB_COMMIT
#define TB_COMMIT "unknown"
#endif
#ifndef TB_COMPILER
#define TB_COMPILER "unknown"
#endif
const char bench_commit[] = TB_COMMIT, bench_compiler[] = TB_COMPILER;

static bool read_line(const char *root, const char *path, char *buf, size_t cap) {
  char full[512];
  snprintf(full, sizeof full, "%.200s%.300s", root, path);
  FILE *f = fopen(full, "r");
  bool ok = f && fgets(buf, (int)cap, f);
  if (f) fclose(f);
  if (ok) buf[strcspn(buf, "\n")] = '\0';
  return ok;
}

static bool read_number(const char *root, const char *path, int base, double *out) {
  char text[64], *end;
  if (!read_line(root, path, text, sizeof text)) return false;
  long long v = strtoll(text, &end, base);
  if (end == text) return false;
  *out = (double)v;
  return true;
}

/* Calls each(root, "<folder>/<entry>", user) for the entries whose names begin with `prefix`. */
static void for_each(const char *root, const char *folder, const char *prefix,
                     void (*each)(const char *root, const char *path, void *user), void *user) {
  char path[512];
  snprintf(path, sizeof path, "%.200s%.100s", root, folder);
  DIR *d = opendir(path);
  for (const struct dirent *e; d && (e = readdir(d));)
    if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 && strlen(e->d_name) < 64) {
      snprintf(path, sizeof path, "%.100s/%.64s", folder, e->d_name);
      each(root, path, user);
    }
  if (d) closedir(d);
}

/* Millidegrees. What is not between the freezing point and 150 degrees is a sensor that is not there. */
static void zone(const char *root, const char *path, void *user) {
  struct bench_sensors *s = user;
  char file[256];
  double v;
  snprintf(file, sizeof file, "%.200s/temp", path);
  if (read_number(root, file, 10, &v) && v > 0 && v < 150000 && v / 1000 > s->celsius) s->celsius = v / 1000;
}

static void clock_of(const char *root, const char *path, void *user) {
  struct bench_sensors *s = user;
  char file[256];
  double v;
  snprintf(file, sizeof file, "%.200s/cpufreq/scaling_cur_freq", path); /* kHz */
  if (read_number(root, file, 10, &v) && v / 1000 > s->mhz) s->mhz = v / 1000;
}

/* A device that cools by slowing the processor down: its state is above 0 while it does. */
static void cooler(const char *root, const char *path, void *user) {
  struct bench_sensors *s = user;
  char file[256], type[64];
  double v;
  snprintf(file, sizeof file, "%.200s/type", path);
  if (!read_line(root, file, type, sizeof type) || (!strstr(type, "cpufreq") && strcmp(type, "Processor") != 0)) return;
  snprintf(file, sizeof file, "%.200s/cur_state", path);
  if (!read_number(root, file, 10, &v)) return;
  if (s->throttled < 0) s->throttled = 0;
  if (v > 0) s->throttled = 1;
}

/* The fastest "cpu MHz" line of /proc/cpuinfo. */
static void clock_of_cpuinfo(const char *root, struct bench_sensors *s) {
  char full[512], line[256];
  snprintf(full, sizeof full, "%s/proc/cpuinfo", root);
  FILE *f = fopen(full, "r");
  while (f && fgets(line, sizeof line, f)) {
    const char *colon = strncmp(line, "cpu MHz", 7) == 0 ? strchr(line, ':') : NULL;
    double v = colon ? strtod(colon + 1, NULL) : 0;
    if (v > s->mhz && v < 1e5) s->mhz = v;
  }
  if (f) fclose(f);
}

void bench_read_sensors(const char *root, struct bench_sensors *out) {
  *out = (struct bench_sensors){.throttled = -1};
  double v;
  for_each(root, "/sys/class/thermal", "thermal_zone", zone, out);
  for_each(root, "/sys/class/thermal", "cooling_device", cooler, out);
  for_each(root, "/sys/devices/system/cpu", "cpu", clock_of, out);
  if (out->mhz == 0) clock_of_cpuinfo(root, out);
  /* Raspberry Pi: bits 0-3 are undervoltage, capped clock, throttling, soft temperature limit, at this moment. */
  if (read_number(root, "/sys/devices/platform/soc/soc:firmware/get_throttled", 16, &v))
    out->throttled = ((unsigned)v & 0xf) != 0 || out->throttled == 1;
}
