/* Checker of kernels: every row of a family's list runs against the reference on guarded buffers with hostile data.
 *
 * A test program writes one function per kernel family member and turns the rows of the .def file into cmocka tests
 * named like the kernels ("gemv/q4_0/avx512"):
 *
 *   static void test_gemv(void **state) {
 *     const struct tb_check_row *row = tb_check_begin(state);   // skips when this run lacks the tier
 *     tb_gemv_t *kernel = (tb_gemv_t *)row->kernel;
 *     …
 *   }
 *   static const struct CMUnitTest tests[] = {
 *   #define TB_ROW_FMT(fn, fmt, isa) TB_CHECK_ROW_FMT(fn, fmt, isa, test_##fn)
 *   #include "simd/gemv/gemv.def"
 *   #undef TB_ROW_FMT
 *   };
 *   int main(void) { return tb_check_main("gemv", tests, sizeof tests / sizeof *tests); }
 *
 * Environment: TB_ISA limits the run to a tier and those below it; TB_REQUIRE_ISA=<tier>,… makes the program fail where
 * one of these tiers is not available or not selected; TB_TEST_SHORT=1 (implied by QEMU_CPU) shortens the lists of sizes. */
#ifndef TB_TESTS_CHECK_H
#define TB_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"
#include "simd/act.h"
#include "simd/formats.h"
#include "simd/isa.h"

typedef void tb_check_fn(void); /* cast to the kernel's own type before the call */

struct tb_check_row {
  const char *name;
  unsigned isa;          /* bit of the tier; 0 for ref */
  enum tb_format format; /* TB_FMT_COUNT for kernels without one */
  tb_check_fn *kernel;
};

#define TB_CHECK_ROW(fn, tier, run)                                                                                    \
  {#fn "/" #tier, run, NULL, NULL,                                                                                     \
   &(struct tb_check_row){#fn "/" #tier, TB_ISA_##tier, TB_FMT_COUNT, (tb_check_fn *)tb_##fn##_##tier}},
#define TB_CHECK_ROW_FMT(fn, fmt, tier, run)                                                                           \
  {#fn "/" #fmt "/" #tier, run, NULL, NULL,                                                                            \
   &(struct tb_check_row){#fn "/" #fmt "/" #tier, TB_ISA_##tier, TB_FMT_##fmt,                                         \
                          (tb_check_fn *)tb_##fn##_##fmt##_##tier}},

/* Prints the tiers of this run, checks TB_REQUIRE_ISA, runs the tests. Returns the exit status. */
int tb_check_main(const char *group, const struct CMUnitTest *tests, size_t n);

/* The row of a test; skips the test when its tier is not in this run. */
const struct tb_check_row *tb_check_begin(void **state);

/* True where time is dear (emulation): use the short lists. */
bool tb_check_short(void);

/* ---- guarded memory ---- */

/* `bytes` bytes aligned to `align` (a power of two up to 4096), as close to an inaccessible page as the alignment
 * allows; what lies between, and the bytes before, hold TB_CHECK_POISON. Never NULL. */
enum { TB_CHECK_POISON = 0x7f };
void *tb_guard_new(size_t bytes, size_t align);
/* Fails the test when a byte around the buffer was written. NULL is allowed. */
void tb_guard_free(void *p);

/* ---- hostile data ---- */

enum tb_check_gen {
  TB_GEN_RANDOM,      /* ordinary values */
  TB_GEN_ZEROS,
  TB_GEN_EXTREMES,    /* large and tiny magnitudes mixed; extreme codes with extreme scales */
  TB_GEN_DENORMALS,   /* subnormal numbers (float) or scales */
  TB_GEN_OUTLIER,     /* ordinary, with one huge value */
  TB_GEN_ALTERNATING, /* signs alternate: cancellation */
  TB_GEN_MAX_CODES,   /* every value at the end of its range, e.g. -128 in q8_0 */
  TB_GEN_COUNT,
  TB_GEN_ONE_END = TB_GEN_COUNT /* every bit of every code, one sign: sums grow as fast as they can. For long rows */
};
const char *tb_gen_name(enum tb_check_gen gen);

/* n finite floats, |x| ≤ 1e16, so that sums of products stay finite. */
void tb_gen_floats(float *x, size_t n, enum tb_check_gen gen, struct tb_rng *rng);
/* `rows` rows of k weights, back to back, in a stored format; scales are finite. */
void tb_gen_weights(void *w, enum tb_format format, size_t rows, size_t k, enum tb_check_gen gen, struct tb_rng *rng);
/* |scale·code| + |minimum| of k weights of a row (for formats without a minimum this is |weight|): what the rounding
 * error of a kernel that treats the two parts apart is relative to. */
void tb_weight_magnitude(double *m, const void *row, enum tb_format format, size_t k);

/* n_cols activation columns with guarded arrays, quantised by the reference when k is a multiple of 32 (q, d and s are
 * NULL otherwise); ldf is k + 3. */
struct tb_acts tb_check_acts(size_t k, size_t n_cols, enum tb_check_gen gen, struct tb_rng *rng);
void tb_check_acts_free(struct tb_acts *x);

/* ---- comparison ---- */

/* Describes the case in hand; printed when a comparison fails. */
void tb_check_case(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* n elements of `size` bytes are bit-identical. */
void tb_check_same(const char *what, const void *got, const void *want, size_t n, size_t size);
/* |got - want| ≤ bound, and got is finite. */
void tb_check_bound(const char *what, const float *got, const double *want, const double *bound, size_t n);

#endif
