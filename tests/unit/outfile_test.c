/* Files that appear whole or not at all: names, targets that are no files, reservations, what is left after each end. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "io/outfile.h"
#include "tests/support/count_alloc.h"
#include "tests/support/tmpdir.h"

static struct tmpdir dir;

static enum tb_status create(struct tb_outfile *f, const char *path, struct tb_error *err) {
  return tb_outfile_create(f, path, 0644, &tb_system_allocator, err);
}

static bool holds(const char *path, const char *text) {
  char data[64] = {0};
  FILE *f = fopen(path, "rb");
  if (!f) return false;
  size_t n = fread(data, 1, sizeof data - 1, f);
  fclose(f);
  return n == strlen(text) && strcmp(data, text) == 0;
}

static void written_whole(void **state) {
  (void)state;
  struct tb_outfile f;
  struct tb_error err;
  struct stat st;
  const char *path = tmpdir_file(&dir, "file");
  for (int durable = 0; durable < 2; durable++) {
    assert_int_equal(create(&f, path, &err), TB_OK);
    assert_int_equal(tb_outfile_reserve(&f, 0, &err), TB_OK);
    assert_int_equal(tb_outfile_reserve(&f, 1000, &err), TB_OK); /* more than is used */
    assert_int_equal(tb_outfile_write(&f, "", 0, &err), TB_OK);
    assert_int_equal(tb_outfile_write(&f, durable ? "new" : "old", 3, &err), TB_OK);
    if (durable) assert_true(holds(path, "old"));
    assert_int_equal(tb_outfile_commit(&f, durable, &err), TB_OK);
    assert_true(holds(path, durable ? "new" : "old"));
    tb_outfile_abort(&f); /* after commit: nothing */
  }
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0133, 0);
  assert_int_equal(tmpdir_count(&dir), 1);
}

static void given_up(void **state) {
  (void)state;
  struct tb_outfile f;
  struct tb_error err;
  const char *path = tmpdir_write(&dir, "kept", "kept", 4);
  const size_t n = tmpdir_count(&dir);
  assert_int_equal(create(&f, path, &err), TB_OK);
  assert_int_equal(tmpdir_count(&dir), n + 1);
  assert_int_equal(tb_outfile_write(&f, "other", 5, &err), TB_OK);
  assert_int_equal(tb_outfile_reserve(&f, UINT64_MAX, &err), TB_E_LIMIT);
  tb_outfile_abort(&f);
  tb_outfile_abort(&f);
  assert_int_equal(tmpdir_count(&dir), n);
  assert_true(holds(path, "kept"));
}

static void names(void **state) {
  (void)state;
  struct tb_outfile f;
  struct tb_error err;
  char path[600], here[600];
  static const char *const wrong[] = {"", "/", "folder/"};
  for (size_t i = 0; i < 3; i++) assert_int_equal(create(&f, wrong[i], &err), TB_E_ARG);
  assert_int_equal(create(&f, "/no/such/folder/file", &err), TB_E_IO);
  assert_non_null(strstr(err.text, "/no/such/folder/file: cannot open its directory"));
  assert_int_equal(create(&f, dir.path, &err), TB_E_ARG); /* a folder */
  snprintf(path, sizeof path, "%s", tmpdir_file(&dir, "pipe"));
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_int_equal(create(&f, path, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "not a regular file"));
  /* A link is replaced, not followed. */
  snprintf(path, sizeof path, "%s", tmpdir_file(&dir, "link"));
  assert_int_equal(symlink("kept", path), 0);
  assert_int_equal(create(&f, path, &err), TB_OK);
  assert_int_equal(tb_outfile_write(&f, "x", 1, &err), TB_OK);
  assert_int_equal(tb_outfile_commit(&f, false, &err), TB_OK);
  assert_true(holds(path, "x"));
  assert_true(holds(tmpdir_file(&dir, "kept"), "kept"));
  /* Without a folder in the name, and directly below the root. */
  assert_non_null(getcwd(here, sizeof here));
  assert_int_equal(chdir(dir.path), 0);
  assert_int_equal(create(&f, "plain", &err), TB_OK);
  assert_int_equal(tb_outfile_commit(&f, true, &err), TB_OK);
  assert_int_equal(chdir(here), 0);
  assert_true(holds(tmpdir_file(&dir, "plain"), ""));
  if (create(&f, "/thimble-outfile-test", &err) == TB_OK) tb_outfile_abort(&f);
}

static void no_memory(void **state) {
  (void)state;
  struct count_alloc c;
  struct tb_outfile f;
  struct tb_error err;
  count_alloc_init(&c);
  c.fail_at = 1;
  assert_int_equal(tb_outfile_create(&f, tmpdir_file(&dir, "kept"), 0600, &c.hooks, &err), TB_E_NOMEM);
  assert_int_equal(c.blocks, 0);
}

static int set_up(void **state) {
  (void)state;
  tmpdir_make(&dir);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  tmpdir_remove(&dir);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(written_whole), cmocka_unit_test(given_up), cmocka_unit_test(names),
                                     cmocka_unit_test(no_memory)};
  return cmocka_run_group_tests_name("outfile", tests, set_up, tear_down);
}
