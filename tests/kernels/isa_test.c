/* Detection and forcing of instruction tiers. TB_EXPECT_ISA names the tier that must be found: emulated runs set it per
 * CPU model (tests/CMakeLists.txt); elsewhere the kernel's own list in /proc/cpuinfo is the witness. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "simd/isa.h"
#include "simd/kernels.h"

/* The "flags" (x86) or "Features" (ARM) line of the first CPU, with a space at both ends; empty when there is none. */
static void cpu_flags(char *line, size_t cap) {
  FILE *f = fopen("/proc/cpuinfo", "r");
  line[0] = 0;
  while (f && fgets(line, (int)cap - 1, f)) {
    if (strncmp(line, "flags\t", 6) == 0 || strncmp(line, "Features\t", 9) == 0) break;
    line[0] = 0;
  }
  if (f) fclose(f);
  for (char *c = line; *c; c++)
    if (*c == '\n' || *c == '\t') *c = ' ';
}

static bool has(const char *flags, const char *name) {
  char padded[32];
  snprintf(padded, sizeof padded, " %s ", name);
  return strstr(flags, padded) != NULL;
}

static unsigned expected_from(const char *flags) {
#if defined(__x86_64__)
  unsigned mask = 0;
  if (has(flags, "avx2") && has(flags, "fma") && has(flags, "f16c")) mask |= TB_ISA_avx2;
  if (mask && has(flags, "avx_vnni")) mask |= TB_ISA_avxvnni;
  if (mask && has(flags, "avx512f") && has(flags, "avx512bw") && has(flags, "avx512vl") && has(flags, "avx512dq") &&
      has(flags, "avx512_vnni"))
    mask |= TB_ISA_avx512;
  if ((mask & TB_ISA_avx512) && has(flags, "avx512_bf16")) mask |= TB_ISA_avx512bf16;
  return mask;
#else
  unsigned mask = TB_ISA_neon;
  if (has(flags, "asimddp")) mask |= TB_ISA_dotprod;
  if (has(flags, "asimddp") && has(flags, "i8mm")) mask |= TB_ISA_i8mm;
  return mask;
#endif
}

static void detects_what_the_cpu_has(void **state) {
  (void)state;
  const char *expect = getenv("TB_EXPECT_ISA");
  unsigned mask = tb_isa_detect();
  print_message("tier: %s\n", tb_isa_name(mask));
  if (expect) {
    assert_string_equal(tb_isa_name(mask), expect);
    return;
  }
  static char flags[16384];
  cpu_flags(flags, sizeof flags);
#if defined(__aarch64__)
  if (!has(flags, "asimd")) flags[0] = 0; /* user-mode emulation shows the host's file */
#endif
  if (!flags[0]) {
    print_message("no list of CPU features on this system and no TB_EXPECT_ISA\n");
    skip();
  }
  assert_int_equal(mask, expected_from(flags));
}

static void forcing_includes_the_lower_tiers(void **state) {
  (void)state;
  unsigned have = tb_isa_detect(), mask = 99;
  const char *reason = NULL;
  assert_true(tb_isa_select("ref", &mask, &reason));
  assert_int_equal(mask, 0);
  assert_true(tb_isa_select(NULL, &mask, &reason));
  assert_int_equal(mask, have);
  assert_true(tb_isa_select("auto", &mask, &reason));
  assert_int_equal(mask, have);
  for (const char *const *name = tb_isa_list(); *name; name++) {
    if (!tb_isa_select(*name, &mask, &reason)) {
      assert_non_null(strstr(reason, "this CPU"));
      continue;
    }
    assert_string_equal(tb_isa_name(mask), *name);
    assert_int_equal(mask & ~have, 0);
  }
}

static void foreign_and_unknown_tiers_are_refused(void **state) {
  (void)state;
  unsigned mask = 0;
  const char *reason = NULL;
#if defined(__x86_64__)
  const char *foreign = "neon";
#else
  const char *foreign = "avx2";
#endif
  assert_false(tb_isa_select(foreign, &mask, &reason));
  assert_non_null(strstr(reason, "build"));
  assert_false(tb_isa_select("", &mask, &reason));
  assert_false(tb_isa_select("Neon ", &mask, &reason));
}

static void every_tier_fills_every_weight_slot(void **state) {
  (void)state;
  assert_string_equal(tb_isa_name(0), "ref");
  struct tb_kernels k;
  for (const char *const *name = tb_isa_list(); *name; name++) {
    unsigned mask;
    const char *reason;
    if (!tb_isa_select(*name, &mask, &reason)) continue;
    tb_kernels_init(&k, mask);
    for (int f = 0; f < TB_FMT_COUNT; f++) {
      assert_non_null(k.dequant[f]);
      assert_non_null(k.gemv[f]);
      assert_non_null(k.gemm[f]);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(detects_what_the_cpu_has),
      cmocka_unit_test(forcing_includes_the_lower_tiers),
      cmocka_unit_test(foreign_and_unknown_tiers_are_refused),
      cmocka_unit_test(every_tier_fills_every_weight_slot),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
