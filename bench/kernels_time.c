#include "bench/kernels.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "bench/kernels_attention.h"
#include "bench/kernels_calls.h"

/* Rows of weights that stay in the cache; of a matrix for a batch; of one thread's task. */
enum { CACHED_ROWS = 64, GEMM_ROWS = 256, TASK_ROWS = 256 };

struct timing {
  const struct kernels_options *o;
  unsigned isa;
  struct tb_team *team;
  struct call_operands operands;
  float *y; /* results of a matrix of o->mib MiB */
  uint64_t sink;
  const struct kernel_call *k;
};

/* Seconds of processor time: what other programs take does not count. */
static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef void job(struct timing *t);

/* Least seconds of one call among rounds of at least 8 ms; the clock is read twice a round, since that takes a
 * microsecond. */
static double best(struct timing *t, job *fn, int rounds) {
  double least = INFINITY;
  fn(t);
  for (size_t calls = 1; rounds > 0;) {
    const double start = cpu_seconds();
    for (size_t i = 0; i < calls; i++) fn(t);
    const double took = cpu_seconds() - start;
    if (took < 0.008) {
      calls *= took < 0.001 ? 8 : 2;
      continue;
    }
    least = fmin(least, took / (double)calls);
    rounds--;
  }
  return least;
}

static void call(struct timing *t) { t->k->call(&t->operands); }

/* ---- what no cache holds: gemv on all threads, a plain read of the same memory ---- */

static void read_task(void *arg, size_t task, unsigned thread) {
  struct timing *t = arg;
  (void)thread;
  const size_t n = t->operands.shape.stored / t->o->threads / 64 * 8;
  const uint64_t *p = (const uint64_t *)(const void *)t->operands.stored + task * n;
  uint64_t sum[8] = {0};
  for (size_t i = 0; i < n; i += 8)
    for (int j = 0; j < 8; j++) sum[j] ^= p[i + (size_t)j];
  for (int j = 1; j < 8; j++) sum[0] ^= sum[j];
  __atomic_fetch_xor(&t->sink, sum[0], __ATOMIC_RELAXED);
}

static void read_all(struct timing *t) { tb_parallel_for(t->team, t->o->threads, read_task, t); }

static size_t row_bytes(const struct timing *t) { return tb_row_bytes(t->k->weights, t->o->width); }

static void gemv_task(void *arg, size_t task, unsigned thread) {
  struct timing *t = arg;
  (void)thread;
  const size_t rb = row_bytes(t), rows = t->operands.shape.stored / rb, first = task * TASK_ROWS, left = rows - first;
  struct call_operands o = t->operands;
  o.shape.rows = left < TASK_ROWS ? left : TASK_ROWS;
  o.stored += first * rb;
  o.y = t->y + first;
  t->k->call(&o);
}

static void gemv_all(struct timing *t) {
  tb_parallel_for(t->team, (t->operands.shape.stored / row_bytes(t) + TASK_ROWS - 1) / TASK_ROWS, gemv_task, t);
}

/* Both by turns: the speed of memory drifts. */
static void memory(struct timing *t, struct kernels_result *r) {
  double read = INFINITY, multiply = INFINITY;
  for (int i = 0; i < 4; i++) {
    read = fmin(read, best(t, read_all, 1) / t->o->threads);
    multiply = fmin(multiply, best(t, gemv_all, 1) / t->o->threads);
  }
  const size_t rb = row_bytes(t);
  r->memory = (double)(t->operands.shape.stored / rb * rb) / multiply;
  r->roof = (double)t->operands.shape.stored / read;
}

/* ---- one kernel ---- */

static const struct kernel_call *find(const char *function, const char *format, unsigned isa) {
  for (size_t i = 0; i < n_kernel_calls; i++)
    if (kernel_calls[i].isa == isa && !strcmp(kernel_calls[i].function, function) && !strcmp(kernel_calls[i].format, format))
      return &kernel_calls[i];
  return NULL;
}

/* Seconds that the reference takes for `work`; of a product it does a small corner. gemv specifies gemv_runs too. */
static double reference(struct timing *t, struct call_work work) {
  const struct kernel_call *k = t->k;
  const struct call_shape shape = t->operands.shape;
  t->k = find(strcmp(k->function, "gemv_runs") ? k->function : "gemv", k->format, TB_ISA_ref);
  t->operands.shape.gemm_rows = 4;
  t->operands.shape.columns = 1;
  const double seconds = best(t, call, 1);
  const struct call_work done = call_work_of(t->k, &t->operands);
  t->operands.shape = shape;
  t->k = k;
  return work.macs > 0 ? seconds / done.macs * work.macs : seconds;
}

static double peak(struct timing *t, unsigned isa) {
  const struct kernel_call *k = t->k, *dot = find("dot_peak", "-", isa);
  if (!dot) return NAN;
  t->k = dot;
  const double seconds = best(t, call, 3);
  t->k = k;
  return t->operands.peak_macs / seconds;
}

static void name_of(const struct kernel_call *k, char name[KERNELS_NAME]) {
  const bool none = !strcmp(k->format, "-");
  snprintf(name, KERNELS_NAME, "%s%s%s/%s", k->function, none ? "" : "/", none ? "" : k->format, k->tier);
}

static struct kernels_result measure(struct timing *t) {
  const struct kernel_call *k = t->k;
  struct kernels_result r = {.peak = NAN, .memory = NAN, .roof = NAN};
  name_of(k, r.name);
  if (k->isa != TB_ISA_ref) r.seconds = best(t, call, 5);
  if (!strcmp(k->function, "dot_peak")) k->call(&t->operands); /* says how much it does */
  const struct call_work work = call_work_of(k, &t->operands);
  r.bytes = work.bytes;
  r.macs = work.macs;
  r.reference = reference(t, work);
  if (k->isa == TB_ISA_ref) r.seconds = r.reference;
  if (work.integer) r.peak = peak(t, k->isa);
  if (k->isa != TB_ISA_ref && !strcmp(k->function, "gemv")) memory(t, &r);
  else if (r.bytes > 0) r.roof = (double)t->operands.shape.stored / (best(t, read_all, 1) / t->o->threads);
  return r;
}

static bool run(struct timing *t, bool each(void *user, const struct kernels_result *r), void *user) {
  for (size_t i = 0; i < n_kernel_calls; i++) {
    const struct kernel_call *k = t->k = &kernel_calls[i];
    char name[KERNELS_NAME];
    name_of(k, name);
    if ((t->isa & k->isa) != k->isa || (t->o->filter && !strstr(name, t->o->filter))) continue;
    const struct kernels_result r = measure(t);
    if (!each(user, &r)) return true;
  }
  return kernels_attention(t->o, t->isa, t->team, each, user);
}

const char *kernels_run(const struct kernels_options *o, bool each(void *user, const struct kernels_result *r), void *user) {
  struct timing t = {.o = o};
  const char *reason;
  struct tb_error error;
  if (!tb_isa_select(o->isa, &t.isa, &reason)) return reason;
  if (tb_team_create(&t.team, o->threads, &tb_system_allocator, &error) != TB_OK) return "cannot start the threads";
  const struct call_shape shape = {o->width, CACHED_ROWS, GEMM_ROWS, o->columns, o->head, o->heads, o->mib << 20};
  const char *failed = "out of memory";
  if (call_operands_new(&t.operands, &shape)) {
    const size_t least = tb_row_bytes(TB_FMT_q2_k, o->width); /* of a row of any format */
    t.y = tb_alloc(&tb_system_allocator, t.operands.shape.stored / least + 1, sizeof *t.y);
    if (t.y && run(&t, each, user)) failed = NULL;
  }
  tb_free(&tb_system_allocator, t.y);
  call_operands_free(&t.operands);
  tb_team_free(t.team);
  return failed;
}
