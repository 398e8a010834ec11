/* Error texts: one printable line, cut at the end of the buffer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/status.h"

static void status_and_text_are_filled_in(void **state) {
  (void)state;
  struct tb_error err;
  memset(&err, 0xff, sizeof err);
  assert_int_equal(tb_fail(&err, TB_E_FORMAT, "tensor '%s': %u dimensions", "a.weight", 5u), TB_E_FORMAT);
  assert_int_equal(err.status, TB_E_FORMAT);
  assert_string_equal(err.text, "tensor 'a.weight': 5 dimensions");
  assert_int_equal(tb_fail_prefix(&err, TB_E_IO, "model.gguf"), TB_E_IO);
  assert_string_equal(err.text, "model.gguf: tensor 'a.weight': 5 dimensions");
  assert_int_equal(err.status, TB_E_IO);
}

static void no_error_object_is_fine(void **state) {
  (void)state;
  assert_int_equal(tb_fail(NULL, TB_E_NOMEM, "%s", "x"), TB_E_NOMEM);
  assert_int_equal(tb_fail_prefix(NULL, TB_E_NOMEM, "x"), TB_E_NOMEM);
}

static void hostile_names_stay_on_one_line(void **state) {
  (void)state;
  struct tb_error err;
  tb_fail(&err, TB_E_FORMAT, "key '%s'", "a\nb\x1b[31m\r\t\x7f");
  for (const char *c = err.text; *c; c++) assert_false((unsigned char)*c < 0x20 || *c == 0x7f);
  assert_non_null(strstr(err.text, "key 'a"));
}

static void long_texts_are_cut(void **state) {
  (void)state;
  struct tb_error err;
  char name[2000];
  memset(name, 'n', sizeof name - 1);
  name[sizeof name - 1] = 0;
  tb_fail(&err, TB_E_FORMAT, "%s", name);
  assert_int_equal(strlen(err.text), sizeof err.text - 1);
  tb_fail_prefix(&err, TB_E_FORMAT, name);
  assert_int_equal(strlen(err.text), sizeof err.text - 1);
  tb_fail_prefix(&err, TB_E_FORMAT, "file");
  assert_memory_equal(err.text, "file: nnn", 9);
}

static void every_status_has_a_name(void **state) {
  (void)state;
  for (int s = TB_OK; s <= TB_E_NUMERIC; s++) {
    assert_string_not_equal(tb_status_name((enum tb_status)s), "unknown status");
    for (int t = TB_OK; t < s; t++)
      assert_string_not_equal(tb_status_name((enum tb_status)s), tb_status_name((enum tb_status)t));
  }
  assert_string_equal(tb_status_name((enum tb_status)99), "unknown status");
  assert_string_equal(tb_status_name((enum tb_status)-1), "unknown status");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(status_and_text_are_filled_in),
      cmocka_unit_test(no_error_object_is_fine),
      cmocka_unit_test(hostile_names_stay_on_one_line),
      cmocka_unit_test(long_texts_are_cut),
      cmocka_unit_test(every_status_has_a_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
