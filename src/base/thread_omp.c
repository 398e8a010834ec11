/* OpenMP back end of thread.h. libgomp keeps its workers between regions and lets them spin only briefly. */
#include "base/thread.h"

#include <omp.h>
#include <stdatomic.h>

struct tb_team {
  const struct tb_allocator *alloc;
  unsigned threads;
};

static void start_worker(void *arg, size_t task, unsigned thread) {
  (void)arg, (void)task, (void)thread;
}

enum tb_status tb_team_create(struct tb_team **out, unsigned threads, const struct tb_allocator *a,
                              struct tb_error *err) {
  if (threads < 1 || threads > TB_MAX_THREADS)
    return tb_fail(err, TB_E_ARG, "threads: %u is not in 1..%d", threads, TB_MAX_THREADS);
  struct tb_team *team = tb_calloc(a, 1, sizeof *team);
  if (!team) return tb_fail(err, TB_E_NOMEM, "thread team: out of memory");
  *team = (struct tb_team){.alloc = a, .threads = threads};
  *out = team;
  /* The workers and their stacks exist from here on, not from the first loop on. */
  tb_parallel_for(team, threads, start_worker, NULL);
  return TB_OK;
}

void tb_team_free(struct tb_team *team) {
  if (team) tb_free(team->alloc, team);
}

unsigned tb_team_threads(const struct tb_team *team) {
  return team->threads;
}

const char *tb_thread_backend(void) {
  return "openmp";
}

void tb_parallel_for(struct tb_team *team, size_t n_tasks, tb_task_fn fn, void *arg) {
  if (n_tasks <= 1 || team->threads == 1) {
    for (size_t i = 0; i < n_tasks; i++)
      fn(arg, i, 0);
    return;
  }
  /* Always the whole team: for a smaller one libgomp would end the surplus threads and start them again later, whose
   * stacks for a moment exist twice. */
  atomic_size_t next = 0;
#pragma omp parallel num_threads((int)team->threads)
  {
    unsigned thread = (unsigned)omp_get_thread_num();
    for (size_t i; (i = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed)) < n_tasks;)
      fn(arg, i, thread);
  }
}
