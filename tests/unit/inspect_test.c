/* tb_inspect: what it says of a known file, and that nothing of a hostile one reaches the terminal raw. */
#include "tests/check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/support/count_alloc.h"
#include "tests/support/gguf_make.h"
#include "tests/support/tmpdir.h"
#include "io/gguf.h"
#include "thimble.h"

static struct tmpdir dir;

static int setup(void **state) {
  (void)state;
  tmpdir_make(&dir);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  tmpdir_remove(&dir);
  return 0;
}

struct text {
  char data[1 << 16];
  size_t n, calls, stop_at;
};

static bool collect(void *user, const char *s, size_t n) {
  struct text *t = user;
  if (++t->calls == t->stop_at) return false;
  assert_true(t->n + n < sizeof t->data);
  memcpy(t->data + t->n, s, n);
  t->n += n;
  t->data[t->n] = '\0';
  return true;
}

static struct text *inspect(const struct gguf_make *m, enum tb_status expected, size_t stop_at) {
  static struct text t;
  memset(&t, 0, sizeof t);
  t.stop_at = stop_at;
  struct count_alloc c;
  struct tb_error err = {0};
  count_alloc_init(&c);
  const char *path = tmpdir_write(&dir, "f.gguf", m->data, m->n);
  enum tb_status s = tb_inspect(path, &c.hooks, collect, &t, &err);
  if (s != expected) fail_msg("status %d '%s', expected %d", s, err.text, expected);
  assert_int_equal(c.blocks, 0);
  return &t;
}

static void expect_line(const struct text *t, const char *line) {
  const char *at = strstr(t->data, line);
  if (!at || (at != t->data && at[-1] != '\n') || at[strlen(line)] != '\n') fail_msg("no line '%s' in:\n%s", line, t->data);
}

static void test_sample(void **state) {
  (void)state;
  struct gguf_make m = make_sample();
  struct text *t = inspect(&m, TB_OK, 0);
  expect_line(t, "GGUF version     3");
  expect_line(t, "files            1");
  expect_line(t, "metadata: 17 keys");
  expect_line(t, "  general.architecture  string          \"llama\"");
  expect_line(t, "  t.i8                  i8              -5");
  expect_line(t, "  t.u64                 u64             1099511627776");
  expect_line(t, "  t.f64                 f64             -0.25");
  expect_line(t, "  t.bool                bool            true");
  expect_line(t, "  a.f32                 f32[3]          [1, 2.5, -3]");
  expect_line(t, "  a.bool                bool[2]         [true, false]");
  expect_line(t, "  a.str                 string[3]       [\"alpha\", \"\", \"\xc4\xa0gamma\"]");
  expect_line(t, "  a.empty               u8[0]           []");
  expect_line(t, "tensors: 3 (extents: fastest first)");
  expect_line(t, "  two.weight  q4_0     32 x 2                          36");
  expect_line(t, "  f32             2               64              256");
  expect_line(t, "  q4_0            1               64               36");
  expect_line(t, "  all             3              128              292");
  expect_line(t, "bits per weight  18.250");
  make_free(&m);
}

static void test_long_values(void **state) {
  (void)state;
  struct gguf_make m;
  uint16_t numbers[1000];
  char words[200];
  const char *const strings[] = {words};
  for (int i = 0; i < 1000; i++) numbers[i] = (uint16_t)i;
  memset(words, 'w', sizeof words - 1);
  words[sizeof words - 1] = '\0';
  make_begin(&m, 3, 0, 3);
  make_array(&m, "n", TB_GGUF_U16, 1000, numbers, sizeof numbers);
  make_kv_str(&m, "s", words);
  make_strings(&m, "l", 1, strings);
  struct text *t = inspect(&m, TB_OK, 0);
  expect_line(t, "  n  u16[1000]       [0, 1, 2, 3, 4, 5, 6, 7, ...]");
  assert_non_null(strstr(t->data, "www\"... (199 bytes)\n"));
  assert_non_null(strstr(t->data, "[\"wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww\"... (199 bytes)]\n"));
  expect_line(t, "tensors: 0 (extents: fastest first)");
  assert_null(strstr(t->data, "bits per weight")); /* there are none */
  make_free(&m);
}

/* Control characters, broken UTF-8, C1 controls and characters that turn the writing direction are spelt out. */
static void test_escapes(void **state) {
  (void)state;
  struct gguf_make m;
  make_begin(&m, 3, 1, 2);
  make_kv_str(&m, "s", "a\n\t\r\x1b[31m\x7f\"\\|\xff|\xc2\x9b|\xe2\x80\xae|\xed\xa0\x80|\xc0\x80|\xf0\x9f\x8c\xb3|\xe2\x82|\xf8\x88");
  make_kv_str(&m, "k\x1b]0;x\a", "v");
  make_tensor(&m, "t\x1b[2J\n", 1, (const uint64_t[]){8}, 0, 0);
  make_data(&m, 32, 32);
  struct text *t = inspect(&m, TB_OK, 0);
  assert_non_null(strstr(t->data, "\"a\\n\\t\\r\\x1b[31m\\x7f\\\"\\\\|\\xff|\\xc2\\x9b|\\xe2\\x80\\xae|\\xed\\xa0\\x80|"
                                  "\\xc0\\x80|\xf0\x9f\x8c\xb3|\\xe2\\x82|\\xf8\\x88\"\n"));
  assert_non_null(strstr(t->data, "k\\x1b]0;x\\x07"));
  assert_non_null(strstr(t->data, "t\\x1b[2J\\n"));
  for (size_t i = 0; i < t->n; i++)
    if ((unsigned char)t->data[i] < 0x20 && t->data[i] != '\n') fail_msg("byte %u is raw", (unsigned)t->data[i]);
  make_free(&m);
}

static void test_stop(void **state) {
  (void)state;
  struct gguf_make m = make_sample();
  size_t all = inspect(&m, TB_OK, 0)->calls;
  for (size_t i = 1; i <= all; i++) assert_int_equal(inspect(&m, TB_E_CANCELLED, i)->calls, i); /* never called again */
  make_free(&m);
}

static void test_errors(void **state) {
  (void)state;
  struct tb_error err;
  static struct text t;
  assert_int_equal(tb_inspect(NULL, NULL, collect, &t, &err), TB_E_ARG);
  assert_int_equal(tb_inspect("x", NULL, NULL, NULL, &err), TB_E_ARG);
  assert_int_equal(tb_inspect(tmpdir_file(&dir, "absent"), NULL, collect, &t, &err), TB_E_IO);
  assert_int_equal(t.calls, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(test_sample), TEST(test_long_values), TEST(test_escapes), TEST(test_stop), TEST(test_errors),
  };
  return cmocka_run_group_tests_name("inspect", tests, NULL, NULL);
}
