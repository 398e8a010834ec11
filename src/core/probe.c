/* Read bandwidth of the machine, measured as the engine reads: each thread streams its own part of a buffer that is
 * much larger than any cache. */
#include <string.h>
#include "base/clock.h"
#include "base/sysinfo.h"
#include "base/thread.h"

enum { PIECE = 1 << 20, PASSES = 5 };

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

enum tb_status tb_read_bandwidth(uint32_t threads, uint64_t bytes, double *bytes_per_second, struct tb_error *err) {
  const struct tb_allocator *a = &tb_system_allocator;
  if (threads == 0) threads = tb_performance_cores();
  struct tb_team *team = NULL;
  enum tb_status status = tb_team_create(&team, threads, a, err);
  if (status) return status;
  const size_t pieces = bytes / PIECE ? (size_t)(bytes / PIECE) : 1;
  struct probe *p = tb_calloc(a, 1, sizeof *p);
  unsigned char *data = tb_alloc(a, pieces, PIECE);
  double best = 0;
  if (!p || !data) {
    status = tb_fail(err, TB_E_NOMEM, "bandwidth probe: cannot allocate %zu MiB", pieces);
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

void tb_get_machine(struct tb_machine *machine) {
  *machine = (struct tb_machine){.cpus = tb_cpu_count(), .performance_cores = tb_performance_cores()};
  tb_cpu_name(machine->cpu, sizeof machine->cpu);
}
