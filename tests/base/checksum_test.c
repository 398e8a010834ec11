/* Checksums: the published check values, and the same for every way of cutting the data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/checksum.h"
#include "base/rng.h"

static void starts(struct tb_crc c[2]) {
  tb_crc32c_start(&c[0]);
  tb_crc64_start(&c[1]);
}

/* "123456789", as catalogues of CRCs give it. */
static void check_values(void **state) {
  (void)state;
  struct tb_crc c[2];
  starts(c);
  for (int k = 0; k < 2; k++) {
    tb_crc_add(&c[k], "123456789", 9);
    assert_true(tb_crc_value(&c[k]) == (k ? 0x995dc9bbdf1939fau : 0xe3069283u));
    tb_crc_restart(&c[k]);
    tb_crc_add(&c[k], "", 0);
    assert_true(tb_crc_value(&c[k]) == 0);
  }
}

static void cuts(void **state) {
  (void)state;
  enum { N = 1000 };
  unsigned char data[N];
  struct tb_rng rng = {5};
  struct tb_crc c[2];
  for (int i = 0; i < N; i++) data[i] = (unsigned char)tb_rng_next(&rng);
  starts(c);
  for (int k = 0; k < 2; k++) {
    tb_crc_add(&c[k], data, N);
    const uint64_t whole = tb_crc_value(&c[k]);
    for (int round = 0; round < 200; round++) {
      tb_crc_restart(&c[k]);
      for (size_t at = 0, n; at < N; at += n) {
        n = 1 + tb_rng_next(&rng) % (round < 100 ? 9 : N);
        if (n > N - at) n = N - at;
        tb_crc_add(&c[k], data + at, n);
      }
      assert_true(tb_crc_value(&c[k]) == whole);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(check_values), cmocka_unit_test(cuts)};
  return cmocka_run_group_tests_name("checksum", tests, NULL, NULL);
}
