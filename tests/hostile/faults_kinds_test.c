/* Faults where caches hold more than rows: packed types, recall, clusters in a file, merged layers. Every allocation
 * and every system call of making a context, saving and restoring fails in turn, and of evaluating where that needs the
 * system: a typed error or success, nothing leaks, and the conversation goes on as if nothing had happened.
 *
 * usage: faults_kinds [STRIDE]   (every STRIDE-th call, of evaluating every third of these, other thirds for other faults; 1:
 * all of them. Without: a short form.) */
#include <dirent.h>
#include <errno.h>
#include <math.h>
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
#include "tests/support/count_alloc.h"
#include "tests/support/kinds.h"
#include "tests/support/tmpdir.h"

enum { ALL = KINDS + KINDS_SPILLED, PROMPT = 345, DECODED = 12, VOCAB = KINDS_VOCAB };

static struct tmpdir dir;
static char profile_path[600], session_path[600];
static struct count_alloc counter;
static struct tb_model *model;
static size_t stride, n_cases, n_refused;
static size_t few; /* the stride where calls are few */

static const struct fault {
  int error; /* 0: one byte only is read or written */
  bool for_ever;
} faulty[] = {{EIO, false},        {EIO, true},    {ENOSPC, false}, {ENOSPC, true}, {ENOMEM, true},
              {EOPNOTSUPP, false}, {EINTR, false}, {0, false},      {0, true}};
enum { FAULTS = sizeof faulty / sizeof faulty[0] };

static int set_up(void **state) {
  char model_path[600];
  (void)state;
  tmpdir_make(&dir);
  snprintf(model_path, sizeof model_path, "%s", tmpdir_file(&dir, "model.gguf"));
  snprintf(profile_path, sizeof profile_path, "%s", tmpdir_file(&dir, "profile"));
  snprintf(session_path, sizeof session_path, "%s", tmpdir_file(&dir, "session"));
  count_alloc_init(&counter);
  model = kinds_model(model_path, profile_path, &counter.hooks);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  print_message("%zu cases, %zu refused\n", n_cases, n_refused);
  tb_model_free(model);
  tmpdir_remove(&dir);
  assert_int_equal(counter.blocks, 0);
  return 0;
}

static size_t open_files(void) {
  size_t n = 0;
  DIR *d = opendir("/proc/self/fd");
  while (d && readdir(d))
    n++;
  if (d) closedir(d);
  return n;
}

static bool spilled(size_t k) {
  return k >= KINDS;
}

static enum tb_status try_start(size_t k, struct tb_context **c, struct tb_error *err) {
  const struct tb_context_options o = kinds_options(&kinds[k], profile_path, spilled(k) ? dir.path : NULL);
  *c = NULL;
  return tb_context_create(c, model, &o, err);
}

static struct tb_context *start(size_t k) {
  struct tb_context *c;
  struct tb_error err;
  if (try_start(k, &c, &err) != TB_OK) fail_msg("%s: %s", kinds[k].name, err.text);
  return c;
}

static uint32_t length(const struct tb_context *c) {
  struct tb_context_info info;
  tb_context_get_info(c, &info);
  return info.n_past;
}

static enum tb_status feed(struct tb_context *c, uint32_t to, uint32_t most, struct tb_error *err) {
  tb_token ids[PROMPT];
  enum tb_status s = TB_OK;
  while (s == TB_OK && length(c) < to) {
    const uint32_t from = length(c), n = to - from < most ? to - from : most;
    for (uint32_t i = 0; i < n; i++)
      ids[i] = (tb_token)((from + i) * 13 % 300);
    s = tb_eval(c, ids, n, NULL, NULL, err);
  }
  return s;
}

/* A prompt and the tokens after it, one by one. */
static enum tb_status talk(struct tb_context *c, struct tb_error *err) {
  enum tb_status s = feed(c, PROMPT, PROMPT, err);
  return s ? s : feed(c, PROMPT + DECODED, 1, err);
}

static void must(enum tb_status s, const struct tb_error *err, const char *what) {
  if (s != TB_OK) fail_msg("%s: %s", what, err->text);
}

static void probe(struct tb_context *c, float logits[VOCAB]) {
  struct tb_error err;
  const uint32_t n = length(c);
  must(feed(c, n + 1, 1, &err), &err, "probe");
  memcpy(logits, tb_logits(c), VOCAB * sizeof *logits);
  assert_int_equal(tb_truncate(c, n, NULL), TB_OK);
}

static const char *describe(size_t k, const char *operation, size_t at, const struct fault *f) {
  static char text[200];
  snprintf(text, sizeof text, "%s, %s: call %zu %s %s", kinds[k].name, operation, at,
           f->error ? strerror(f->error) : "is short", f->for_ever ? "for ever" : "once");
  return text;
}

/* A signal that is handled, and short counts, must not be noticed. */
static void check_status(enum tb_status s, const struct tb_error *err, const struct fault *f, const char *what) {
  n_cases++;
  n_refused += s != TB_OK;
  if (s == TB_OK) return;
  if (s != TB_E_IO && s != TB_E_NOMEM && s != TB_E_FORMAT) fail_msg("%s: status %d '%s'", what, (int)s, err->text);
  if (err->status != s || !err->text[0] || strchr(err->text, '\n')) fail_msg("%s: text '%s'", what, err->text);
  if (f->error == EINTR || f->error == 0) fail_msg("%s: '%s'", what, err->text);
}

/* ---------------------------------------------------------------------------------------------------- making contexts
 */

static void contexts_without_memory(void **state) {
  (void)state;
  size_t total = 0;
  for (size_t k = 0; k < ALL; k++)
    for (int for_ever = 0; for_ever < 2; for_ever++)
      for (size_t at = 1 + (k + (size_t)for_ever) % few;; at += few) {
        struct tb_context *c;
        struct tb_error err = {0};
        const size_t calls = counter.calls, blocks = counter.blocks, files = open_files();
        counter.fail_at = calls + at;
        counter.fail_after = for_ever;
        enum tb_status s = try_start(k, &c, &err);
        const bool failed = counter.calls >= calls + at;
        counter.fail_at = 0;
        counter.fail_after = false;
        if (s != (failed ? TB_E_NOMEM : TB_OK))
          fail_msg("%s: allocation %zu: status %d %s", kinds[k].name, at, (int)s, err.text);
        tb_context_free(c);
        assert_int_equal(counter.blocks, blocks);
        assert_int_equal(open_files(), files);
        if (!failed) break;
        total++;
      }
  print_message("%zu allocations failed in turn\n", total);
}

static void contexts_under_faults(void **state) {
  (void)state;
  for (size_t k = 0; k < ALL; k++)
    for (size_t f = 0; f < FAULTS; f++)
      for (size_t at = 1 + (k + f) % few;; at += few) {
        struct tb_context *c;
        struct tb_error err = {0};
        const size_t blocks = counter.blocks, files = open_files(), names = tmpdir_count(&dir);
        faults_start(at, faulty[f].for_ever, faulty[f].error);
        enum tb_status s = try_start(k, &c, &err);
        faults_stop();
        const char *what = describe(k, "make", at, &faulty[f]);
        check_status(s, &err, &faulty[f], what);
        if (s == TB_OK) tb_context_free(c);
        if (counter.blocks != blocks || open_files() != files) fail_msg("%s: leaks", what);
        /* Only the removal itself can leave the file's name behind; then it is removed here. */
        if (tmpdir_count(&dir) != names) tmpdir_erase(&dir, "spill");
        if (tmpdir_count(&dir) != names) fail_msg("%s: a file stays", what);
        if (faults.count < at) break;
      }
}

/* ------------------------------------------------------------------------------------------------ saving and restoring
 */

static enum tb_status save(struct tb_context *c, struct tb_error *err) {
  return tb_session_save(c, session_path, "extra", 5, err);
}

static enum tb_status load(struct tb_context *c, struct tb_error *err) {
  void *extra = NULL;
  size_t n = 0;
  enum tb_status s = tb_session_load(c, session_path, &extra, &n, err);
  if (s == TB_OK) tb_session_free_extra(c, extra);
  return s;
}

/* A save or a load of another conversation, of whose calls one fails. What was saved last, or before that, loads. */
static size_t session_once(size_t k, struct tb_context *c, bool saving, size_t at, const struct fault *f) {
  struct tb_error err = {0};
  float before[VOCAB], after[VOCAB];
  const size_t blocks = counter.blocks, files = open_files();
  const uint32_t tokens = length(c);
  probe(c, before);
  faults_start(at, f->for_ever, f->error);
  enum tb_status s = saving ? save(c, &err) : load(c, &err);
  faults_stop();
  const size_t count = faults.count;
  const char *what = describe(k, saving ? "save" : "load", at, f);
  check_status(s, &err, f, what);
  if (counter.blocks != blocks || open_files() != files) fail_msg("%s: leaks", what);
  if (saving || s != TB_OK) {
    probe(c, after);
    if (length(c) != tokens || memcmp(before, after, sizeof before) != 0) fail_msg("%s: another conversation", what);
  }
  tmpdir_erase(&dir, ".tmp");
  return count;
}

static void sessions_under_faults(void **state) {
  (void)state;
  struct tb_error err;
  for (size_t k = 0; k < KINDS; k++) {
    struct tb_context *c = start(k), *check = start(k);
    must(feed(c, 175, 175, &err), &err, "feed");
    must(save(c, &err), &err, "save");
    for (size_t f = 0; f < FAULTS; f++)
      for (int saving = 0; saving < 2; saving++)
        for (size_t at = 1 + (k + f) % stride;; at += stride) {
          assert_int_equal(tb_truncate(c, 0, NULL), TB_OK);
          must(feed(c, saving ? 9 : 200, 200, &err), &err, "feed");
          const size_t count = session_once(k, c, saving, at, &faulty[f]);
          must(load(check, &err), &err, "what was saved");
          if (length(check) != 175 && length(check) != 9) fail_msg("%u tokens", length(check));
          if (count < at) break;
        }
    tb_context_free(c);
    tb_context_free(check);
  }
}

/* ---------------------------------------------------------------------------------------------------------- evaluating
 */

/* Neither the system nor memory, as long as everything is in memory. */
static void evaluation_calls_nothing(void **state) {
  (void)state;
  struct tb_error err;
  for (size_t k = 0; k < ALL; k++) {
    struct tb_context *c = start(k);
    const size_t calls = counter.calls;
    faults_start(0, false, 0);
    must(talk(c, &err), &err, kinds[k].name);
    assert_int_equal(tb_truncate(c, 170, NULL), TB_OK);
    faults_stop();
    assert_int_equal(counter.calls, calls);
    if (!spilled(k)) assert_int_equal(faults.count, 0);
    if (spilled(k)) assert_true(faults.count > 20);
    tb_context_free(c);
  }
}

/* Relative error of the logits. */
static double distance(const float *a, const float *b) {
  double error = 0, sum = 0;
  for (int i = 0; i < VOCAB; i++) {
    error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    sum += (double)b[i] * b[i];
  }
  return sqrt(error / sum);
}

/* How far logits come from `want` when packed rows are taken back, without any fault: they are rounded a second time.
 */
static double taken_back(struct tb_context *c, const float *want) {
  struct tb_error err;
  double most = 0;
  for (uint32_t cut = 330; cut > 160; cut -= 7) {
    assert_int_equal(tb_truncate(c, cut, NULL), TB_OK);
    must(talk(c, &err), &err, "talk");
    const double d = distance(tb_logits(c), want);
    if (d > most) most = d;
  }
  return most;
}

/* The file fails once or from some moment on, and then works again: what is left of the conversation goes on to the
 * same logits; where a layer had packed rows that it had to take back, to such as come of that. */
static void evaluation_under_faults(void **state) {
  (void)state;
  struct tb_error err = {0};
  for (size_t k = KINDS; k < ALL; k++) {
    float want[VOCAB];
    double worst = 0;
    struct tb_context *c = start(k);
    must(talk(c, &err), &err, kinds[k].name);
    memcpy(want, tb_logits(c), sizeof want);
    const double bound = 1.5 * taken_back(c, want);
    for (size_t f = 0; f < FAULTS; f++)
      for (size_t at = 1 + (k + f) % (3 * stride);; at += 3 * stride) {
        assert_int_equal(tb_truncate(c, 0, NULL), TB_OK);
        faults_start(at, faulty[f].for_ever, faulty[f].error);
        enum tb_status s = talk(c, &err);
        faults_stop();
        const char *what = describe(k, "evaluate", at, &faulty[f]);
        check_status(s, &err, &faulty[f], what);
        const uint32_t left = length(c);
        if (s) must(talk(c, &err), &err, what);
        const double d = distance(tb_logits(c), want);
        if (d > worst) worst = d;
        if (!(d <= bound)) fail_msg("%s: %u tokens were left; logits off by %.3g", what, left, d);
        if (faults.count < at) break;
      }
    print_message("%s: logits off by at most %.2g, without faults %.2g\n", kinds[k].name, worst, bound / 1.5);
    tb_context_free(c);
  }
}

int main(int argc, char **argv) {
  stride = argc > 1 ? strtoul(argv[1], NULL, 10) : 97;
  if (stride == 0) stride = 1;
  few = stride < 10 ? stride : 10;
  const struct CMUnitTest tests[] = {cmocka_unit_test(contexts_without_memory), cmocka_unit_test(contexts_under_faults),
                                     cmocka_unit_test(sessions_under_faults),
                                     cmocka_unit_test(evaluation_calls_nothing),
                                     cmocka_unit_test(evaluation_under_faults)};
  return cmocka_run_group_tests_name("faults of kinds", tests, set_up, tear_down);
}
