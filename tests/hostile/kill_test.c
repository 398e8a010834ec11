/* SIGKILL while a session is being saved: each round a child saves again and again, one conversation longer than the
 * other, and is killed at a random moment; the file must then load and hold what a save had finished or the one in
 * progress. usage: kill [rounds]; without, a short form. The long form: build/release/tests/hostile/kill 1000 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/rng.h"
#include "tests/check/check.h"
#include "tests/hostile/live.h"

enum { SHORT = 25 };
static unsigned rounds;

/* Tokens of the last save that finished, written by the child. */
static volatile uint32_t *finished;

static void save_for_ever(const struct live *l, const char *path) {
  struct tb_error err;
  for (;;) {
    if (live_length(l) + 1 >= LIVE_CTX) tb_truncate(l->ctx, 3, NULL);
    live_feed(l, (int)live_length(l), 1);
    if (tb_session_save(l->ctx, path, "extra", 5, &err) != TB_OK) _exit(1);
    *finished = live_length(l);
  }
}

/* Length 3, 4 … LIVE_CTX - 1, 4 …: what follows a length. */
static uint32_t following(uint32_t n) { return n + 1 >= LIVE_CTX ? 4 : n + 1; }

static void one_kill(const struct live *l, struct live *check, const char *path, struct tb_rng *rng, unsigned round) {
  struct tb_error err;
  assert_int_equal(tb_truncate(l->ctx, 3, NULL), TB_OK);
  live_save(l, path);
  *finished = 3;
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) save_for_ever(l, path);
  nanosleep(&(struct timespec){.tv_nsec = (long)(tb_rng_next(rng) % 4000000)}, NULL);
  kill(child, SIGKILL);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  if (!WIFSIGNALED(status)) fail_msg("round %u: the child failed by itself", round);
  if (live_load(check, path, &err) != TB_OK) fail_msg("round %u: %s", round, err.text);
  const uint32_t n = live_length(check);
  if (n != *finished && n != following(*finished)) fail_msg("round %u: %u tokens, the last save that finished had %u", round, n, *finished);
}

static void kills(void **state) {
  (void)state;
  struct tmpdir dir;
  struct tb_rng rng = {(uint64_t)time(NULL)};
  char path[600];
  tmpdir_make(&dir);
  finished = mmap(NULL, sizeof *finished, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true(finished != MAP_FAILED);
  struct live l = live_open(live_model(&dir, "model.gguf", 3)), check = live_open(tmpdir_file(&dir, "model.gguf"));
  snprintf(path, sizeof path, "%s", tmpdir_file(&dir, "session"));
  live_feed(&l, 0, 3);
  for (unsigned i = 0; i < rounds; i++) one_kill(&l, &check, path, &rng, i);
  print_message("%u processes killed while saving: each file loads; %zu temporary files left, to be removed by later saves\n", rounds,
                tmpdir_count(&dir) - 2);
  live_close(&l);
  live_close(&check);
  munmap((void *)(uintptr_t)finished, sizeof *finished);
  tmpdir_remove(&dir);
}

int main(int argc, char **argv) {
  rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : tb_check_short() ? SHORT / 5 : SHORT;
  const struct CMUnitTest tests[] = {cmocka_unit_test(kills)};
  return cmocka_run_group_tests_name("kill", tests, NULL, NULL);
}
