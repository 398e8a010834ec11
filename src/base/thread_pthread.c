/* pthread back end of thread.h. Workers spin shortly for the next loop, then sleep on a condition variable, so that a
 * phone between two turns spends nothing. While they spin a loop begins and ends without a system call; gcc's OpenMP
 * runtime makes three, 400 per token of 28 layers. */
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/* About 20 µs on a 3 GHz core: longer than the gap between two loops of one decode step, shorter than a scheduler tick. */
enum { SPIN_ROUNDS = 4000 };

/* What threads write or spin on lies in lines of its own: a line that is written while others spin on it travels to and
 * fro between their cores. */
#define OWN_LINE _Alignas(TB_ALIGN)

struct tb_team {
  const struct tb_allocator *alloc;
  unsigned threads;
  unsigned started; /* worker threads really running, 0 … threads-1 */
  pthread_t *ids;   /* threads-1 entries; owned */
  struct worker *workers;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  atomic_bool quit;
  OWN_LINE tb_task_fn fn; /* the loop, written before epoch grows */
  void *arg;
  size_t n_tasks;
  OWN_LINE atomic_uint epoch; /* grows by one per loop; workers compare it with the last one they ran */
  OWN_LINE atomic_size_t next;
  OWN_LINE atomic_uint busy;     /* workers that have not finished the current loop */
  OWN_LINE atomic_uint sleepers; /* workers that no longer spin, or are about to stop */
};

struct worker {
  struct tb_team *team;
  unsigned index; /* 1 … threads-1; the caller is 0 */
};

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* The first task of a thread is the one of its number. */
static void drain(struct tb_team *t, unsigned thread) {
  for (size_t i = thread; i < t->n_tasks; i = atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed))
    t->fn(t->arg, i, thread);
}

static void wait_for_epoch(struct tb_team *t, unsigned seen) {
  for (int i = 0; i < SPIN_ROUNDS; i++) {
    if (atomic_load_explicit(&t->epoch, memory_order_acquire) != seen) return;
    relax();
  }
  pthread_mutex_lock(&t->lock);
  atomic_fetch_add(&t->sleepers, 1);
  while (atomic_load(&t->epoch) == seen) pthread_cond_wait(&t->wake, &t->lock);
  atomic_fetch_sub(&t->sleepers, 1);
  pthread_mutex_unlock(&t->lock);
}

static void *worker_main(void *p) {
  struct worker *w = p;
  struct tb_team *t = w->team;
  for (unsigned seen = 0;;) {
    wait_for_epoch(t, seen);
    seen++;
    if (atomic_load(&t->quit)) return NULL;
    drain(t, w->index);
    atomic_fetch_sub_explicit(&t->busy, 1, memory_order_release);
  }
}

/* Either a worker that stops spinning sees the new epoch, or it is seen among the sleepers (both are sequentially
 * consistent), and holds the lock until it waits. */
static void publish(struct tb_team *t) {
  atomic_fetch_add(&t->epoch, 1);
  if (atomic_load(&t->sleepers) == 0) return;
  pthread_mutex_lock(&t->lock);
  pthread_cond_broadcast(&t->wake);
  pthread_mutex_unlock(&t->lock);
}

void tb_parallel_for(struct tb_team *t, size_t n_tasks, tb_task_fn fn, void *arg) {
  if (t->started == 0 || n_tasks <= 1) {
    for (size_t i = 0; i < n_tasks; i++) fn(arg, i, 0);
    return;
  }
  t->fn = fn;
  t->arg = arg;
  t->n_tasks = n_tasks;
  atomic_store_explicit(&t->next, t->started + 1, memory_order_relaxed);
  atomic_store_explicit(&t->busy, t->started, memory_order_relaxed);
  publish(t);
  drain(t, 0);
  for (unsigned spins = 0; atomic_load_explicit(&t->busy, memory_order_acquire) != 0; spins++) {
    if (spins < SPIN_ROUNDS) relax();
    else sched_yield();
  }
}

void tb_team_free(struct tb_team *t) {
  if (!t) return;
  atomic_store(&t->quit, true);
  if (t->started) publish(t);
  for (unsigned i = 0; i < t->started; i++) pthread_join(t->ids[i], NULL);
  pthread_cond_destroy(&t->wake);
  pthread_mutex_destroy(&t->lock);
  tb_free(t->alloc, t->ids);
  tb_free(t->alloc, t->workers);
  tb_free(t->alloc, t);
}

enum tb_status tb_team_create(struct tb_team **out, unsigned threads, const struct tb_allocator *a, struct tb_error *err) {
  if (threads < 1 || threads > TB_MAX_THREADS)
    return tb_fail(err, TB_E_ARG, "threads: %u is not in 1..%d", threads, TB_MAX_THREADS);
  struct tb_team *t = tb_calloc(a, 1, sizeof *t);
  if (!t) return tb_fail(err, TB_E_NOMEM, "thread team: out of memory");
  t->alloc = a;
  t->threads = threads;
  pthread_mutex_init(&t->lock, NULL);
  pthread_cond_init(&t->wake, NULL);
  t->ids = tb_calloc(a, threads, sizeof *t->ids);
  t->workers = tb_calloc(a, threads, sizeof *t->workers);
  if (!t->ids || !t->workers) goto fail;
  for (unsigned i = 0; i + 1 < threads; i++) {
    t->workers[i] = (struct worker){.team = t, .index = i + 1};
    if (pthread_create(&t->ids[i], NULL, worker_main, &t->workers[i]) != 0) goto fail;
    t->started++;
  }
  *out = t;
  return TB_OK;
fail:
  tb_team_free(t);
  return tb_fail(err, TB_E_NOMEM, "thread team: cannot start %u threads", threads);
}

unsigned tb_team_threads(const struct tb_team *t) { return t->threads; }

const char *tb_thread_backend(void) { return "pthread"; }
