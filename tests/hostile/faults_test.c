/* Every system call and every allocation of opening, saving and restoring fails in turn: once and for ever, with EIO,
 * ENOSPC, ENOMEM, EINTR, and by reading or writing one byte only. Each time a typed error or success; nothing leaks,
 * the live conversation is what it was, and the session file is the old one or the new one. */
#include <errno.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/check/check.h"
#include "tests/hostile/faults.h"
#include "tests/hostile/live.h"
#include "tests/support/count_alloc.h"

static struct tmpdir dir;
static char model_path[600], session_path[600];
static struct live_file old_file, new_file;
static size_t n_cases, n_refused;

static const struct kind {
  int error;
  bool for_ever;
} kinds[] = {{EIO, false}, {EIO, true}, {ENOSPC, false}, {ENOSPC, true}, {ENOMEM, true}, {EACCES, true},
             {EOPNOTSUPP, false}, {EINTR, false}, {0, false}, {0, true}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* Emulators: every third kind, every third call. */
static size_t stride(void) { return tb_check_short() ? 3 : 1; }

static int set_up(void **state) {
  (void)state;
  tmpdir_make(&dir);
  snprintf(model_path, sizeof model_path, "%s", live_model(&dir, "model.gguf", 3));
  snprintf(session_path, sizeof session_path, "%s", tmpdir_file(&dir, "session"));
  struct live l = live_open(model_path);
  live_feed(&l, 50, 5);
  live_save(&l, session_path);
  new_file = live_read(session_path);
  assert_int_equal(tb_truncate(l.ctx, 0, NULL), TB_OK);
  live_feed(&l, 9, 3);
  live_save(&l, session_path);
  old_file = live_read(session_path);
  live_close(&l);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  free(old_file.data);
  free(new_file.data);
  tmpdir_remove(&dir);
  return 0;
}

static size_t open_files(void) {
  size_t n = 0;
  DIR *d = opendir("/proc/self/fd");
  if (!d) return 0;
  while (readdir(d)) n++;
  closedir(d);
  return n;
}

static bool holds(const char *path, const struct live_file *f) {
  struct live_file now = live_read(path);
  bool same = now.n == f->n && memcmp(now.data, f->data, f->n) == 0;
  free(now.data);
  return same;
}

static void check_status(enum tb_status s, const struct tb_error *err, const char *what) {
  n_cases++;
  n_refused += s != TB_OK;
  if (s == TB_OK) return;
  if (s != TB_E_IO && s != TB_E_NOMEM) fail_msg("%s: status %d '%s'", what, s, err->text);
  if (err->status != s || !err->text[0] || strchr(err->text, '\n')) fail_msg("%s: text '%s'", what, err->text);
}

/* A signal that is handled, and short counts, must not be noticed. */
static void check_invisible(enum tb_status s, const struct kind *k, const struct tb_error *err, const char *what) {
  if (s && (k->error == EINTR || k->error == 0)) fail_msg("%s: '%s'", what, err->text);
}

static const char *describe(const char *operation, size_t at, const struct kind *k) {
  static char text[160];
  snprintf(text, sizeof text, "%s: call %zu %s %s", operation, at, k->error ? strerror(k->error) : "is short", k->for_ever ? "for ever" : "once");
  return text;
}

/* ------------------------------------------------------------------------------------------------------- system calls */

static void open_under_faults(void **state) {
  (void)state;
  for (size_t k = 0; k < KINDS; k += stride())
    for (size_t at = 1;; at += stride()) {
      struct count_alloc c;
      struct live l;
      struct tb_error err = {0};
      count_alloc_init(&c);
      const size_t files = open_files();
      faults_start(at, kinds[k].for_ever, kinds[k].error);
      enum tb_status s = live_try(&l, model_path, &c.hooks, &err);
      faults_stop();
      const char *what = describe("open", at, &kinds[k]);
      check_status(s, &err, what);
      check_invisible(s, &kinds[k], &err, what);
      if (s == TB_OK) live_close(&l);
      if (c.blocks || open_files() != files) fail_msg("%s: %zu blocks, %zu files leak", what, c.blocks, open_files() - files);
      if (faults.count < at) break;
    }
}

/* One save of the new conversation over the old file. */
static void save_once(const struct live *l, size_t at, const struct kind *k) {
  struct tb_error err = {0};
  float before[LIVE_VOCAB], after[LIVE_VOCAB];
  const size_t files = open_files(), names = tmpdir_count(&dir);
  live_probe(l, before);
  faults_start(at, k->for_ever, k->error);
  enum tb_status s = tb_session_save(l->ctx, session_path, "extra", 5, &err);
  faults_stop();
  const char *what = describe("save", at, k);
  check_status(s, &err, what);
  check_invisible(s, k, &err, what);
  const bool replaced = holds(session_path, &new_file);
  if (!replaced && !holds(session_path, &old_file)) fail_msg("%s: the file is neither the old nor the new one", what);
  if (s == TB_OK && !replaced) fail_msg("%s: success, but the file is the old one", what);
  if (s && replaced && !strstr(err.text, "is in place")) fail_msg("%s: '%s', but the file is the new one", what, err.text);
  if (open_files() != files) fail_msg("%s: files leak", what);
  /* A temporary file may stay only when its removal failed too. */
  if (!k->for_ever && tmpdir_count(&dir) != names) fail_msg("%s: a temporary file stays", what);
  tmpdir_erase(&dir, ".tmp");
  live_probe(l, after);
  assert_memory_equal(before, after, sizeof before);
  tmpdir_write(&dir, "session", old_file.data, old_file.n);
}

static void save_under_faults(void **state) {
  (void)state;
  struct live l = live_open(model_path);
  live_feed(&l, 50, 5);
  for (size_t k = 0; k < KINDS; k += stride())
    for (size_t at = 1;; at += stride()) {
      save_once(&l, at, &kinds[k]);
      if (faults.count < at) break;
    }
  live_close(&l);
}

static void load_under_faults(void **state) {
  (void)state;
  struct live l = live_open(model_path);
  for (int live = 0; live < 2; live++) /* into an empty and into a live conversation */
    for (size_t k = 0; k < KINDS; k += stride())
      for (size_t at = 1;; at += stride()) {
        struct tb_error err = {0};
        float before[LIVE_VOCAB], after[LIVE_VOCAB];
        assert_int_equal(tb_truncate(l.ctx, 0, NULL), TB_OK);
        live_feed(&l, 21, live ? 7 : 0);
        live_probe(&l, before);
        const size_t files = open_files();
        faults_start(at, kinds[k].for_ever, kinds[k].error);
        enum tb_status s = live_load(&l, session_path, &err);
        faults_stop();
        const char *what = describe("load", at, &kinds[k]);
        check_status(s, &err, what);
        check_invisible(s, &kinds[k], &err, what);
        if (open_files() != files) fail_msg("%s: files leak", what);
        assert_int_equal(live_length(&l), s ? (live ? 7 : 0) : 3);
        live_probe(&l, after);
        if (s) assert_memory_equal(before, after, sizeof before);
        if (faults.count < at) break;
      }
  live_close(&l);
}

/* Neither a prompt nor a token needs the system. */
static void evaluation_calls_nothing(void **state) {
  (void)state;
  struct live l = live_open(model_path);
  faults_start(1, true, EIO);
  live_feed(&l, 1, 30);
  faults_stop();
  assert_int_equal(faults.count, 0);
  live_close(&l);
}

/* -------------------------------------------------------------------------------------------------------- allocations */

static void allocations(void **state) {
  (void)state;
  size_t total = 0;
  for (int for_ever = 0; for_ever < 2; for_ever++)
    for (int load = 0; load < 2; load++)
      for (size_t at = 1;; at++) {
        struct count_alloc c;
        struct live l;
        struct tb_error err = {0};
        float before[LIVE_VOCAB], after[LIVE_VOCAB];
        count_alloc_init(&c);
        assert_int_equal(live_try(&l, model_path, &c.hooks, &err), TB_OK);
        live_feed(&l, 50, 5);
        live_probe(&l, before);
        const size_t calls = c.calls, blocks = c.blocks;
        c.fail_at = calls + at;
        c.fail_after = for_ever;
        enum tb_status s = load ? live_load(&l, session_path, &err) : tb_session_save(l.ctx, session_path, "extra", 5, &err);
        c.fail_at = 0;
        c.fail_after = false;
        check_status(s, &err, load ? "load without memory" : "save without memory");
        if (s) assert_int_equal(s, TB_E_NOMEM);
        if (s && !load) assert_true(holds(session_path, &old_file));
        if (s) assert_int_equal(c.blocks, blocks);
        live_probe(&l, after);
        if (s || !load) assert_memory_equal(before, after, sizeof before);
        tmpdir_write(&dir, "session", old_file.data, old_file.n);
        live_close(&l);
        assert_int_equal(c.blocks, 0);
        if (c.calls < calls + at) break;
        total++;
      }
  print_message("%zu allocations of saving and restoring failed in turn\n", total);
}

static int report(void **state) {
  (void)state;
  print_message("so far %zu cases, %zu refused\n", n_cases, n_refused);
  return 0;
}

int main(void) {
#define TEST(name) cmocka_unit_test_teardown(name, report)
  const struct CMUnitTest tests[] = {TEST(open_under_faults), TEST(save_under_faults), TEST(load_under_faults),
                                     TEST(evaluation_calls_nothing), TEST(allocations)};
  return cmocka_run_group_tests_name("faults", tests, set_up, tear_down);
}
