/* The file for what memory does not hold: it has no name, gives back what it got, and says what is wrong. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>
#include "io/spillfile.h"
#include "tests/support/count_alloc.h"
#include "tests/support/tmpdir.h"

static struct tmpdir dir;

static int setup(void **state) {
  (void)state;
  tmpdir_make(&dir);
  signal(SIGXFSZ, SIG_IGN);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  tmpdir_remove(&dir);
  return 0;
}

static enum tb_status transfer(const struct tb_spillfile *f, bool write, uint64_t at, char *a, char *b, size_t n,
                               struct tb_error *err) {
  const struct tb_spill_part part[2] = {{a, n}, {b, n / 2}};
  return write ? tb_spillfile_write(f, at, part, err) : tb_spillfile_read(f, at, part, err);
}

static void gives_back(void **state) {
  (void)state;
  struct tb_spillfile f = {.fd = -1};
  struct tb_error err;
  char a[100], b[100], c[100] = {0}, d[100] = {0};
  assert_int_equal(tb_spillfile_open(&f, dir.path, 4096, &tb_system_allocator, &err), TB_OK);
  assert_int_equal(tmpdir_count(&dir), 0);
  memset(a, 'a', sizeof a);
  memset(b, 'b', sizeof b);
  assert_int_equal(transfer(&f, true, 4096 - 150, a, b, 100, &err), TB_OK);
  assert_int_equal(transfer(&f, false, 4096 - 150, c, d, 100, &err), TB_OK);
  assert_memory_equal(a, c, 100);
  assert_memory_equal(b, d, 50);
  assert_int_equal(d[50], 0);
  assert_int_equal(transfer(&f, false, 4096 - 149, c, d, 100, &err), TB_E_FORMAT);
  assert_non_null(strstr(err.text, "shortened"));
  assert_int_equal(ftruncate(f.fd, 4000), 0);
  assert_int_equal(transfer(&f, false, 4096 - 150, c, d, 100, &err), TB_E_FORMAT);
  tb_spillfile_close(&f);
  tb_spillfile_close(&f);
  assert_int_equal(f.fd, -1);
}

static void refusals(void **state) {
  (void)state;
  struct tb_spillfile f;
  struct tb_error err;
  assert_int_equal(tb_spillfile_open(&f, tmpdir_file(&dir, "none"), 4096, &tb_system_allocator, &err), TB_E_IO);
  assert_non_null(strstr(err.text, "none: cannot create"));
  const char *file = tmpdir_write(&dir, "file", "x", 1);
  assert_int_equal(tb_spillfile_open(&f, file, 4096, &tb_system_allocator, &err), TB_E_IO);
  assert_int_equal(tb_spillfile_open(&f, dir.path, UINT64_MAX, &tb_system_allocator, &err), TB_E_IO);
  assert_int_equal(tmpdir_count(&dir), 1);
  struct count_alloc a;
  count_alloc_init(&a);
  a.fail_at = 1;
  assert_int_equal(tb_spillfile_open(&f, dir.path, 4096, &a.hooks, &err), TB_E_NOMEM);
  assert_int_equal(a.blocks, 0);
}

/* As a full disk does it: at once where room can be taken, else when it is written to. What was written stays. */
static void full(void **state) {
  (void)state;
  struct rlimit old, small;
  struct tb_spillfile f, large;
  struct tb_error err;
  char a[100] = "a", b[100] = "b", c[100], d[100];
  assert_int_equal(tb_spillfile_open(&f, dir.path, 1 << 20, &tb_system_allocator, &err), TB_OK);
  assert_int_equal(transfer(&f, true, 0, a, b, 100, &err), TB_OK);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  small = old;
  small.rlim_cur = 8192;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  assert_int_equal(transfer(&f, true, 1 << 19, a, b, 100, &err), TB_E_IO);
  assert_non_null(strstr(err.text, "cannot write"));
  assert_int_equal(tb_spillfile_open(&large, dir.path, 1 << 20, &tb_system_allocator, &err), TB_E_IO);
  assert_non_null(strstr(err.text, "no room for a file of 1.0 MiB"));
  setrlimit(RLIMIT_FSIZE, &old);
  assert_int_equal(transfer(&f, false, 0, c, d, 100, &err), TB_OK);
  assert_memory_equal(a, c, 100);
  tb_spillfile_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(gives_back), cmocka_unit_test(refusals), cmocka_unit_test(full)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
