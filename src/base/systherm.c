/* How warm the device is, from the kernel's thermal zones (Documentation/driver-api/thermal/sysfs-api.rst): temp and
 * trip_point_N_temp are in thousandths of a degree Celsius; the trip points "hot" and "critical" are where the kernel
 * tells user space, and where it switches the machine off. */
#include "base/sysinfo.h"

#include <stdio.h>
#include <string.h>
#include "base/sysfile.h"

enum {
  MAX_ZONES = 128, /* phones have up to about ninety */
  MAX_TRIPS = 16,
  MARGIN = 10000,  /* below critical: a pause must come well before the switch-off */
  /* Zones of batteries and chargers may use other units, sensors that are off report nonsense. */
  LEAST = 1000,
  MOST = 200000,
};

static bool zone_file(const char *root, unsigned zone, const char *file, char *buf, size_t cap) {
  char path[96];
  snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%u/%s", zone, file);
  return tb_sys_read(root, path, buf, cap);
}

static bool zone_number(const char *root, unsigned zone, const char *file, uint64_t *value) {
  char text[32];
  return zone_file(root, zone, file, text, sizeof text) && tb_sys_number(text, value, NULL) && *value >= LEAST &&
         *value <= MOST;
}

/* The zone's own limit in thousandths, 0: it has none. */
static uint64_t zone_limit(const char *root, unsigned zone) {
  uint64_t least = 0;
  for (unsigned i = 0; i < MAX_TRIPS; i++) {
    char file[32], type[16];
    uint64_t t;
    snprintf(file, sizeof file, "trip_point_%u_type", i);
    if (!zone_file(root, zone, file, type, sizeof type)) break;
    const bool critical = strcmp(type, "critical") == 0;
    snprintf(file, sizeof file, "trip_point_%u_temp", i);
    if ((!critical && strcmp(type, "hot") != 0) || !zone_number(root, zone, file, &t)) continue;
    if (critical) t = t > MARGIN ? t - MARGIN : 0;
    if (t && (least == 0 || t < least)) least = t;
  }
  return least;
}

bool tb_temperature_at(const char *root, float limit, struct tb_temperature *out) {
  bool found = false;
  for (unsigned zone = 0; zone < MAX_ZONES; zone++) {
    struct tb_temperature here;
    uint64_t t, own;
    /* Numbers have gaps where drivers went, and Android hides some zones from programs. */
    if (!zone_file(root, zone, "type", here.zone, sizeof here.zone)) continue;
    if (!zone_number(root, zone, "temp", &t) || (!(limit > 0) && (own = zone_limit(root, zone)) == 0)) continue;
    here.celsius = (float)t / 1000;
    here.limit = limit > 0 ? limit : (float)own / 1000;
    if (!found || here.celsius - here.limit > out->celsius - out->limit) *out = here;
    found = true;
  }
  return found;
}

bool tb_temperature_read(float limit, struct tb_temperature *out) {
  return tb_temperature_at("", limit, out);
}
