/* The generators give the published sequence, on every machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"

static void splitmix64_sequence(void **state) {
  (void)state;
  /* Known values of SplitMix64 for this seed. */
  static const uint64_t expected[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                      4593380528125082431u, 16408922859458223821u};
  struct tb_rng r = {1234567};
  for (int i = 0; i < 5; i++) assert_true(tb_rng_next(&r) == expected[i]);
}

static void unit_is_uniform(void **state) {
  (void)state;
  struct tb_rng r = {7};
  double sum = 0, squares = 0;
  enum { N = 100000 };
  for (int i = 0; i < N; i++) {
    float u = tb_rng_unit(&r);
    assert_true(u >= 0.0f && u < 1.0f);
    sum += (double)u;
    squares += (double)u * (double)u;
  }
  /* Means 1/2 and 1/3; six standard errors of N samples: 6·0.289/√N and 6·0.298/√N. */
  assert_true(sum / N > 0.5 - 0.0055 && sum / N < 0.5 + 0.0055);
  assert_true(squares / N > 1.0 / 3 - 0.0057 && squares / N < 1.0 / 3 + 0.0057);
}

static void normal_has_mean_0_and_variance_1(void **state) {
  (void)state;
  struct tb_rng r = {8};
  double sum = 0, squares = 0;
  enum { N = 100000 };
  for (int i = 0; i < N; i++) {
    float x = tb_rng_normal(&r);
    assert_true(x >= -6.0f && x <= 6.0f);
    sum += (double)x;
    squares += (double)x * (double)x;
  }
  assert_true(sum / N > -0.019 && sum / N < 0.019);         /* 6/√N */
  assert_true(squares / N > 0.973 && squares / N < 1.027);  /* 6·√2/√N */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(splitmix64_sequence),
      cmocka_unit_test(unit_is_uniform),
      cmocka_unit_test(normal_has_mean_0_and_variance_1),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
