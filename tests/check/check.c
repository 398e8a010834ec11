#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned run_mask;
static char current[256];

/* Whether this run includes the tier called `name` (len bytes of it), with all lower ones that the CPU has. */
static bool has_tier(const char *name, size_t len) {
  char tier[16];
  const char *reason = "no such tier in this build";
  unsigned mask;
  snprintf(tier, sizeof tier, "%.*s", (int)len, name);
  if (len >= sizeof tier || !tb_isa_select(tier, &mask, &reason)) {
    fprintf(stderr, "TB_REQUIRE_ISA: %s: %s\n", tier, reason);
    return false;
  }
  if ((run_mask & mask) == mask) return true;
  fprintf(stderr, "TB_REQUIRE_ISA: TB_ISA leaves %s out\n", tier);
  return false;
}

static bool prepare(void) {
  const char *reason = NULL, *wanted = getenv("TB_ISA"), *required = getenv("TB_REQUIRE_ISA");
  if (!tb_isa_select(wanted, &run_mask, &reason)) {
    fprintf(stderr, "TB_ISA=%s: %s\n", wanted, reason);
    return false;
  }
  printf("tiers: ref");
  for (const char *const *name = tb_isa_list(); *name; name++) {
    unsigned upto;
    if (!tb_isa_select(*name, &upto, &reason)) continue;
    if (strcmp(tb_isa_name(upto & run_mask), *name) == 0 && strcmp(*name, "ref") != 0) printf(" %s", *name);
  }
  printf("%s\n", tb_check_short() ? " (short lists of sizes)" : "");
  while (required && *required) {
    size_t len = strcspn(required, ",");
    if (len && !has_tier(required, len)) return false;
    required += len + (required[len] == ',');
  }
  return true;
}

int tb_check_main(const char *group, const struct CMUnitTest *tests, size_t n) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (!prepare()) return 1;
  return _cmocka_run_group_tests(group, tests, n, NULL, NULL);
}

const struct tb_check_row *tb_check_begin(void **state) {
  const struct tb_check_row *row = *state;
  current[0] = 0;
  if ((run_mask & row->isa) != row->isa) skip();
  return row;
}

bool tb_check_short(void) {
  const char *s = getenv("TB_TEST_SHORT");
  if (s) return *s && strcmp(s, "0") != 0;
  return getenv("QEMU_CPU") != NULL;
}

void tb_check_case(const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(current, sizeof current, format, args);
  va_end(args);
}

void tb_check_same(const char *what, const void *got, const void *want, size_t n, size_t size) {
  if (memcmp(got, want, n * size) == 0) return;
  const unsigned char *a = got, *b = want;
  size_t i = 0;
  while (memcmp(a + i * size, b + i * size, size) == 0) i++;
  char hex[2][40] = {"", ""};
  for (size_t j = 0; j < size && j < 8; j++) {
    snprintf(hex[0] + 2 * j, 3, "%02x", a[i * size + j]);
    snprintf(hex[1] + 2 * j, 3, "%02x", b[i * size + j]);
  }
  float fa = 0, fb = 0;
  if (size == sizeof(float)) {
    memcpy(&fa, a + i * size, size);
    memcpy(&fb, b + i * size, size);
  }
  fail_msg("%s[%zu of %zu]: bytes %s, expected %s (as float %.9g, %.9g): %s", what, i, n, hex[0], hex[1], (double)fa,
           (double)fb, current);
}

void tb_check_bound(const char *what, const float *got, const double *want, const double *bound, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double error = fabs((double)got[i] - want[i]);
    if (error <= bound[i]) continue; /* false for NaN */
    fail_msg("%s[%zu of %zu]: %.9g, expected %.9g ± %.3g (off by %.3g): %s", what, i, n, (double)got[i], want[i],
             bound[i], error, current);
  }
}
