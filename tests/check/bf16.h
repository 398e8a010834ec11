/* Rounding to bf16 as the instructions do it. */
#ifndef TB_TESTS_CHECK_BF16_H
#define TB_TESTS_CHECK_BF16_H

#include <math.h>

/* To eight significant bits, ties to even; what is too small for an exponent of its own is 0. */
static inline double tb_check_bf16(double v) {
  int exponent;
  const double part = frexp(v, &exponent);
  return fabs(v) < 0x1p-126 ? 0 : ldexp(nearbyint(part * 256), exponent - 8);
}

#endif
