/* What the machine can do at most. Read bandwidth, measured as the engine reads: each thread streams its own part of a
 * buffer that is much larger than any cache. Multiplications: simd/peak, in all threads. */
#include <string.h>
#include "base/clock.h"
#include "base/sysinfo.h"
#include "base/thread.h"
#include "core/model.h"

enum { PIECE = 1 << 20, LEAST_PIECES = 64, PASSES = 5, MULTIPLY_PIECES = 64, MULTIPLY_ROUNDS = 1 << 17 };

struct probe {
  const unsigned char *data;
  uint64_t sums[TB_MAX_THREADS * 8]; /* a cache line per thread: results are used, so the loads cannot vanish */
};

static void read_piece(void *arg, size_t piece, unsigned thread) {
  struct probe *p = arg;
  const uint64_t *words = (const uint64_t *)(const void *)(p->data + piece * PIECE);
  uint64_t s[8] = {0};
  for (size_t i = 0; i < PIECE / 8; i += 8)
    for (size_t j = 0; j < 8; j++)
      s[j] += words[i + j];
  for (size_t j = 0; j < 8; j++)
    p->sums[thread * 8 + j] += s[j];
}

/* Of `bytes`; at most half of the memory that is free, 0 where that is too little to measure. */
static size_t pieces_of(uint64_t bytes) {
  const char *source;
  const uint64_t available = tb_memory_available(&source) / 2;
  if (available == 0 || bytes <= available) return bytes < PIECE ? 1 : (size_t)(bytes / PIECE);
  return available < LEAST_PIECES * PIECE ? 0 : (size_t)(available / PIECE);
}

enum tb_status tb_read_bandwidth(uint32_t threads, uint64_t bytes, double *bytes_per_second, struct tb_error *err) {
  const struct tb_allocator *a = &tb_system_allocator;
  if (threads == 0) threads = tb_performance_cores();
  struct tb_team *team = NULL;
  enum tb_status status = tb_team_create(&team, threads, a, err);
  if (status) return status;
  const size_t pieces = pieces_of(bytes);
  struct probe *p = tb_calloc(a, 1, sizeof *p);
  unsigned char *data = pieces ? tb_alloc(a, pieces, PIECE) : NULL;
  double best = 0;
  if (!p || !data) {
    status = tb_fail(err, TB_E_NOMEM, "read bandwidth: too little memory is free to measure it");
  } else {
    memset(data, 1, pieces * PIECE);
    p->data = data;
    for (int i = 0; i < PASSES; i++) {
      double start = tb_now();
      tb_parallel_for(team, pieces, read_piece, p);
      double rate = (double)pieces * PIECE / (tb_now() - start);
      if (rate > best) best = rate;
    }
    *bytes_per_second = best;
  }
  tb_free(a, data);
  tb_free(a, p);
  tb_team_free(team);
  return status;
}

struct multiply {
  tb_dot_peak_t *fn;
  uint64_t done[MULTIPLY_PIECES];
};

static void multiply_piece(void *arg, size_t piece, unsigned thread) {
  struct multiply *m = arg;
  uint32_t sum;
  (void)thread;
  m->done[piece] = m->fn(&sum, MULTIPLY_ROUNDS);
}

enum tb_status tb_multiply_peak(const struct tb_model *model, uint32_t threads, double *per_second, struct tb_error *err) {
  struct multiply m = {.fn = model->kernels.dot_peak};
  struct tb_team *team = NULL;
  if (threads == 0) threads = tb_performance_cores();
  enum tb_status status = tb_team_create(&team, threads, &tb_system_allocator, err);
  if (status) return status;
  *per_second = 0;
  for (int i = 0; i < PASSES; i++) {
    const double start = tb_now();
    uint64_t sum = 0;
    tb_parallel_for(team, MULTIPLY_PIECES, multiply_piece, &m);
    const double seconds = tb_now() - start;
    for (size_t j = 0; j < MULTIPLY_PIECES; j++)
      sum += m.done[j];
    if (seconds > 0 && (double)sum / seconds > *per_second) *per_second = (double)sum / seconds;
  }
  tb_team_free(team);
  return TB_OK;
}

void tb_get_machine(struct tb_machine *machine) {
  *machine = (struct tb_machine){.cpus = tb_cpu_count(), .performance_cores = tb_performance_cores()};
  tb_cpu_name(machine->cpu, sizeof machine->cpu);
}
