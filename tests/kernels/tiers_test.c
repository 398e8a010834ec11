/* Every kernel has a form for the lowest vector tier of each architecture: on a Raspberry Pi 4, or a laptop without
 * AVX-512, nothing that decoding or reading a prompt spends its time in falls back to the scalar reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "simd/isa.h"
#include "simd/kernels.h"

#if defined(__x86_64__)
#define LOWEST TB_ISA_avx2
#else
#define LOWEST TB_ISA_neon
#endif

struct row {
  const char *function, *format;
  unsigned isa;
};

static const struct row rows[] = {
#define TB_ROW(fn, isa) {#fn, "", TB_ISA_##isa},
#define TB_ROW_FMT(fn, fmt, isa) {#fn, #fmt, TB_ISA_##isa},
#include "simd/kernels.def"
#undef TB_ROW
#undef TB_ROW_FMT
};
enum { ROWS = sizeof rows / sizeof *rows };

/* Rows that may stay scalar, and why. */
static const struct row cold[] = {
    {"dequant", NULL, 0},    /* one embedding row per token, and the oracle of tests */
    {"kvpack", "f32", 0},    /* a copy */
    {"kvdequant", "f32", 0}, /* a copy */
};

static bool is_cold(const struct row *r) {
  for (size_t i = 0; i < sizeof cold / sizeof *cold; i++)
    if (!strcmp(cold[i].function, r->function) && (!cold[i].format || !strcmp(cold[i].format, r->format))) return true;
  return false;
}

static bool has_vector_form(const struct row *r) {
  for (size_t i = 0; i < ROWS; i++)
    if (rows[i].isa == LOWEST && !strcmp(rows[i].function, r->function) && !strcmp(rows[i].format, r->format)) return true;
  return false;
}

static void every_hot_kernel_has_a_vector_form(void **state) {
  (void)state;
  unsigned references = 0, missing = 0;
  for (size_t i = 0; i < ROWS; i++) {
    if (rows[i].isa != TB_ISA_ref) continue;
    references++;
    if (is_cold(&rows[i]) || has_vector_form(&rows[i])) continue;
    print_message("%s %s: only the reference\n", rows[i].function, rows[i].format);
    missing++;
  }
  assert_true(references > 50);
  assert_int_equal(missing, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_hot_kernel_has_a_vector_form)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
