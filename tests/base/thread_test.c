/* Thread teams. Built once with the library's back end and once with thread_pthread.c itself (tests/CMakeLists.txt). */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/thread.h"

static struct tb_team *team_of(unsigned threads) {
  struct tb_team *team = NULL;
  struct tb_error err = {0};
  assert_int_equal(tb_team_create(&team, threads, &tb_system_allocator, &err), TB_OK);
  assert_int_equal(tb_team_threads(team), threads);
  return team;
}

static void backend_is_the_expected_one(void **state) {
  (void)state;
  print_message("back end: %s\n", tb_thread_backend());
#ifdef TB_EXPECT_BACKEND
  assert_string_equal(tb_thread_backend(), TB_EXPECT_BACKEND);
#endif
}

/* Each task waits until all of them have begun: they only end when a thread runs each. */
struct meeting {
  atomic_uint arrived;
  unsigned wanted;
  atomic_bool late;
};

static void meet(void *arg, size_t task, unsigned thread) {
  (void)task;
  (void)thread;
  struct meeting *m = arg;
  atomic_fetch_add(&m->arrived, 1);
  for (double end = tb_now() + 20; atomic_load(&m->arrived) < m->wanted;) {
    sched_yield();
    if (tb_now() > end) {
      atomic_store(&m->late, true);
      return;
    }
  }
}

static void loops_really_run_in_parallel(void **state) {
  (void)state;
  for (unsigned threads = 2; threads <= 4; threads++) {
    struct tb_team *team = team_of(threads);
    struct meeting m = {.wanted = threads};
    tb_parallel_for(team, threads, meet, &m);
    assert_false(atomic_load(&m.late));
    assert_int_equal(atomic_load(&m.arrived), threads);
    tb_team_free(team);
  }
}

enum { MAX_TASKS = 1000 };

struct tally {
  unsigned threads;
  atomic_uint runs[MAX_TASKS];
  atomic_bool inside[8]; /* by thread index */
  atomic_bool wrong;
};

static void count(void *arg, size_t task, unsigned thread) {
  struct tally *t = arg;
  if (thread >= t->threads || atomic_exchange(&t->inside[thread], true)) atomic_store(&t->wrong, true);
  else {
    atomic_fetch_add(&t->runs[task], 1);
    atomic_store(&t->inside[thread], false);
  }
}

static void every_task_runs_once_on_a_thread_of_its_own(void **state) {
  (void)state;
  static const size_t sizes[] = {0, 1, 2, 3, 7, 64, MAX_TASKS};
  for (unsigned threads = 1; threads <= 5; threads += 2) {
    struct tb_team *team = team_of(threads);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      static struct tally t;
      memset(&t, 0, sizeof t);
      t.threads = threads;
      tb_parallel_for(team, sizes[s], count, &t);
      assert_false(atomic_load(&t.wrong));
      for (size_t i = 0; i < MAX_TASKS; i++) assert_int_equal(atomic_load(&t.runs[i]), i < sizes[s]);
    }
    tb_team_free(team);
  }
}

/* Plain memory: what a loop wrote must be seen by the caller and by the next loop without further care. */
struct chain {
  uint32_t value[64];
};

static void step(void *arg, size_t task, unsigned thread) {
  (void)thread;
  struct chain *c = arg;
  c->value[task] = c->value[task] * 3 + (uint32_t)task;
}

static void loops_follow_each_other(void **state) {
  (void)state;
  struct chain expected = {{0}};
  enum { LOOPS = 500 };
  for (int i = 0; i < LOOPS; i++)
    for (size_t task = 0; task < 64; task++) step(&expected, task, 0);
  for (unsigned threads = 1; threads <= 4; threads++) {
    struct chain c = {{0}};
    struct tb_team *team = team_of(threads);
    for (int i = 0; i < LOOPS; i++) tb_parallel_for(team, 64, step, &c);
    tb_team_free(team);
    assert_memory_equal(&c, &expected, sizeof c);
  }
}

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Between two turns of a conversation nothing is spent. Processor time, so that a busy machine does not matter; the
 * first half second is for run times that spin on after a loop (LLVM's for 0.2 s). */
static void waiting_threads_sleep(void **state) {
  (void)state;
  struct tb_team *team = team_of(4);
  struct chain c = {{0}};
  tb_parallel_for(team, 64, step, &c);
  nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
  const double before = cpu_seconds();
  nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
  assert_true(cpu_seconds() - before < 0.05);
  tb_parallel_for(team, 64, step, &c); /* and they wake up again */
  tb_team_free(team);
}

static void impossible_sizes_are_refused(void **state) {
  (void)state;
  struct tb_team *team = NULL;
  struct tb_error err = {0};
  assert_int_equal(tb_team_create(&team, 0, &tb_system_allocator, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "threads"));
  assert_int_equal(tb_team_create(&team, TB_MAX_THREADS + 1, &tb_system_allocator, NULL), TB_E_ARG);
  assert_null(team);
  tb_team_free(NULL);
}

struct limited {
  size_t left, live;
};

static void *limited_alloc(void *user, size_t bytes) {
  struct limited *l = user;
  if (l->left == 0) return NULL;
  l->left--;
  l->live++;
  return tb_system_allocator.alloc(NULL, bytes);
}

static void limited_free(void *user, void *p) {
  ((struct limited *)user)->live--;
  tb_system_allocator.free(NULL, p);
}

static void failing_allocations_leave_nothing_behind(void **state) {
  (void)state;
  for (size_t n = 0;; n++) {
    struct limited l = {.left = n};
    const struct tb_allocator a = {limited_alloc, limited_free, &l};
    struct tb_team *team = NULL;
    enum tb_status status = tb_team_create(&team, 3, &a, NULL);
    if (status == TB_OK) {
      tb_team_free(team);
      assert_int_equal(l.live, 0);
      assert_true(n > 0);
      return;
    }
    assert_int_equal(status, TB_E_NOMEM);
    assert_null(team);
    assert_int_equal(l.live, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(backend_is_the_expected_one),
      cmocka_unit_test(loops_really_run_in_parallel),
      cmocka_unit_test(every_task_runs_once_on_a_thread_of_its_own),
      cmocka_unit_test(loops_follow_each_other),
      cmocka_unit_test(waiting_threads_sleep),
      cmocka_unit_test(impossible_sizes_are_refused),
      cmocka_unit_test(failing_allocations_leave_nothing_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
