/* Threads: one team per context, used for short parallel loops. Back ends: pthreads, or an OpenMP runtime
 * (TB_THREADS=openmp). The only file with OpenMP pragmas is thread_omp.c.
 *
 * A team never decides a result: callers cut work by positions in the data, not by thread, so that every thread count
 * gives the same bits. */
#ifndef TB_BASE_THREAD_H
#define TB_BASE_THREAD_H

#include "base/alloc.h"
#include "base/status.h"

struct tb_team;

/* task: 0 … n_tasks-1. thread: 0 … threads-1, for per-thread scratch. */
typedef void (*tb_task_fn)(void *arg, size_t task, unsigned thread);

/* threads ≥ 1. The team owns whatever threads the back end keeps; tb_team_free joins them. */
enum tb_status tb_team_create(struct tb_team **out, unsigned threads, const struct tb_allocator *a, struct tb_error *err);
void tb_team_free(struct tb_team *team);
unsigned tb_team_threads(const struct tb_team *team);

/* Runs fn for every task and returns when all are done. Tasks are handed out dynamically, one at a time, roughly in
 * order. With one task or one thread everything runs in the caller. Must not be nested. */
void tb_parallel_for(struct tb_team *team, size_t n_tasks, tb_task_fn fn, void *arg);

/* "openmp" or "pthread". */
const char *tb_thread_backend(void);

#endif
