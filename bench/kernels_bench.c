/* Times every kernel row of the weight families: dequant, quant, gemv, gemm; of packed key-value blocks; and what a
 * tier can multiply at most.
 *
 *   kernels_bench [--filter TEXT] [--threads N] [--mib N] [--k N] [--cols N] [--planes N] [--heads N]
 *   kernels_bench --compare BEFORE AFTER      two saved outputs, kernel by kernel: ratio and verdict
 *
 * One line per row: name, ns per call, GB of weights per second, GMAC per second, ratio to the reference, and for the
 * integer kernels of gemm the share of the tier's own dot product on registers alone, measured in the same second. gemv runs
 * twice: on a matrix that stays in the cache (how fast the arithmetic is), and on one of --mib MiB that does not, on
 * all threads, beside a plain read of the same memory in the same second (how near the roof is: "roof"). Every figure
 * is the best of several rounds in processor time (per thread), so that other programs disturb it little. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/thread.h"
#include "bench/kernels_cluster.h"
#include "bench/kernels_compare.h"
#include "bench/kernels_kv.h"
#include "simd/isa.h"
#include "simd/kernels.h"

struct options {
  const char *filter;
  unsigned threads;
  size_t mib, k, cols, planes, heads;
};

struct bench {
  struct options o;
  struct tb_team *team;
  unsigned isa;
  unsigned char *weights; /* o.mib MiB */
  size_t bytes;
  struct tb_acts x; /* o.cols columns */
  float *y;
  void *scratch;
  uint64_t sink;
};

enum { CACHED_ROWS = 64, TASK_ROWS = 256, GEMM_ROWS = 256 };

static void die(const char *what) {
  fprintf(stderr, "kernels_bench: %s\n", what);
  exit(1);
}

static void *get(size_t bytes) {
  void *p = tb_alloc(&tb_system_allocator, bytes, 1);
  if (!p) die("out of memory");
  return p;
}

/* Bytes that are an ordinary number in whatever format and place they are read: exponents are neither all ones nor
 * near zero. */
static void fill(unsigned char *w, size_t bytes) {
  struct tb_rng rng = {7};
  const size_t pattern = bytes < 1 << 20 ? bytes : 1 << 20;
  for (size_t i = 0; i < pattern; i++) w[i] = (unsigned char)((tb_rng_next(&rng) >> 11 & 0xbf) | 0x10);
  for (size_t i = pattern; i < bytes; i += pattern) memcpy(w + i, w, bytes - i < pattern ? bytes - i : pattern);
}

static void make_columns(struct bench *b) {
  const size_t k = b->o.k, n = b->o.cols;
  struct tb_rng rng = {9};
  float *f = get(n * k * sizeof *f), *d = get(n * k / 32 * sizeof *d);
  int8_t *q = get(n * k);
  int16_t *s = get(n * k / 16 * sizeof *s);
  for (size_t i = 0; i < n * k; i++) f[i] = tb_rng_normal(&rng);
  tb_quant_q8_ref(q, d, s, f, n * k);
  b->x = (struct tb_acts){k, f, k, q, d, s};
}

/* Seconds of processor time: what other programs take does not count. */
static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Best time of one call of fn among rounds of at least 10 ms; divided by the threads it keeps busy. */
typedef void call_fn(struct bench *b, const void *what);

static double best_time(struct bench *b, call_fn *fn, const void *what, int rounds) {
  double best = 1e30;
  fn(b, what);
  for (int r = 0; r < rounds; r++) {
    size_t calls = 0;
    const double start = cpu_seconds();
    double now;
    do {
      fn(b, what);
      calls++;
      now = cpu_seconds();
    } while (now - start < 0.01);
    if ((now - start) / (double)calls < best) best = (now - start) / (double)calls;
  }
  return best;
}

struct kernel {
  const char *name;
  unsigned isa;
  enum tb_format format;
  void (*fn)(void);
};

static bool wanted(const struct bench *b, const struct kernel *k) {
  return (b->isa & k->isa) == k->isa && (!b->o.filter || strstr(k->name, b->o.filter));
}

static size_t row_bytes(const struct bench *b, const struct kernel *k) { return tb_row_bytes(k->format, b->o.k); }

static void line(const struct kernel *k, double seconds, double bytes, double macs, double reference) {
  printf("%-24s %12.0f ns %8.2f GB/s %8.1f GMAC/s %8.1f x ref", k->name, seconds * 1e9, bytes / seconds * 1e-9,
         macs / seconds * 1e-9, reference / seconds);
  fflush(stdout);
}

/* ---- plain read of the weights on all threads ---- */

static void read_task(void *arg, size_t task, unsigned thread) {
  struct bench *b = arg;
  (void)thread;
  const size_t n = b->bytes / b->o.threads / 64 * 8;
  const uint64_t *p = (const uint64_t *)(const void *)b->weights + task * n;
  uint64_t sum[8] = {0};
  for (size_t i = 0; i < n; i += 8)
    for (int j = 0; j < 8; j++) sum[j] ^= p[i + (size_t)j];
  for (int j = 1; j < 8; j++) sum[0] ^= sum[j];
  __atomic_fetch_xor(&b->sink, sum[0], __ATOMIC_RELAXED);
}

static void read_all(struct bench *b, const void *what) {
  (void)what;
  tb_parallel_for(b->team, b->o.threads, read_task, b);
}

/* ---- gemv ---- */

struct gemv_job {
  struct bench *b;
  const struct kernel *k;
  size_t rows;
};

static void gemv_task(void *arg, size_t task, unsigned thread) {
  const struct gemv_job *j = arg;
  (void)thread;
  const size_t first = task * TASK_ROWS, left = j->rows - first, rb = row_bytes(j->b, j->k);
  ((tb_gemv_t *)j->k->fn)(j->b->y + first, j->b->weights + first * rb, rb, left < TASK_ROWS ? left : TASK_ROWS, &j->b->x);
}

static void gemv_memory(struct bench *b, const void *what) {
  const struct kernel *k = what;
  struct gemv_job j = {b, k, b->bytes / row_bytes(b, k)};
  tb_parallel_for(b->team, (j.rows + TASK_ROWS - 1) / TASK_ROWS, gemv_task, &j);
}

static void gemv_cached(struct bench *b, const void *what) {
  const struct kernel *k = what;
  ((tb_gemv_t *)k->fn)(b->y, b->weights, row_bytes(b, k), CACHED_ROWS, &b->x);
}

static void bench_gemv(struct bench *b, const struct kernel *k, const struct kernel *ref) {
  if (!wanted(b, k)) return;
  const double macs = (double)CACHED_ROWS * (double)b->o.k, bytes = (double)(CACHED_ROWS * row_bytes(b, k));
  const double reference = best_time(b, gemv_cached, ref, 1), cached = best_time(b, gemv_cached, k, 5);
  line(k, cached, bytes, macs, reference);
  if (k->isa) {
    double read = 1e30, memory = 1e30;
    for (int i = 0; i < 4; i++) {
      const double r = best_time(b, read_all, NULL, 1) / b->o.threads;
      const double m = best_time(b, gemv_memory, k, 1) / b->o.threads;
      if (r < read) read = r;
      if (m < memory) memory = m;
    }
    const size_t rb = row_bytes(b, k);
    const double rate = (double)(b->bytes / rb * rb) / memory, roof = (double)b->bytes / read;
    printf("   memory %6.2f GB/s, roof %6.2f, %3.0f %%", rate * 1e-9, roof * 1e-9, 100 * rate / roof);
  }
  printf("\n");
}

/* ---- gemm, one thread ---- */

static void gemm_call(struct bench *b, const void *what) {
  const struct kernel *k = what;
  ((tb_gemm_t *)k->fn)(b->y, GEMM_ROWS, b->weights, row_bytes(b, k), GEMM_ROWS, &b->x, b->o.cols, b->scratch);
}

/* The reference is timed on two columns and scaled up. */
static void gemm_two(struct bench *b, const void *what) {
  const struct kernel *k = what;
  ((tb_gemm_t *)k->fn)(b->y, GEMM_ROWS, b->weights, row_bytes(b, k), 4, &b->x, 1, b->scratch);
}

/* ---- the peak of a tier ---- */

enum { PEAK_ROUNDS = 100000 };

static void peak_call(struct bench *b, const void *what) {
  uint32_t sum;
  b->sink += ((tb_dot_peak_t *)((const struct kernel *)what)->fn)(&sum, PEAK_ROUNDS);
}

static double peak_macs(struct bench *b, const struct kernel *k, double *seconds) {
  uint32_t sum;
  *seconds = best_time(b, peak_call, k, 5);
  return (double)((tb_dot_peak_t *)k->fn)(&sum, PEAK_ROUNDS) / *seconds;
}

static void bench_dot_peak(struct bench *b, const struct kernel *k, const struct kernel *ref) {
  double seconds, reference;
  if (!wanted(b, k)) return;
  const double rate = peak_macs(b, k, &seconds), of_ref = peak_macs(b, ref, &reference);
  line(k, seconds, 0, rate * seconds, rate / of_ref * seconds); /* the rounds of the reference do fewer */
  printf("\n");
}

/* The kernel that says what this one's tier can do at most. Float formats multiply floats: no share is given. */
static double peak_of(struct bench *b, const struct kernel *k) {
  double seconds;
  if (tb_formats[k->format].block_values == 1) return 0;
#define TB_ROW(fn, tier)                                                                                               \
  if (k->isa == TB_ISA_##tier)                                                                                         \
    return peak_macs(b, &(struct kernel){"", TB_ISA_##tier, TB_FMT_f32, (void (*)(void))tb_##fn##_##tier}, &seconds);
#include "simd/peak/peak.def"
#undef TB_ROW
  return 0;
}

static void bench_gemm(struct bench *b, const struct kernel *k, const struct kernel *ref) {
  if (!wanted(b, k) || !k->isa) return;
  const double macs = (double)GEMM_ROWS * (double)b->o.k * (double)b->o.cols;
  const double reference = best_time(b, gemm_two, ref, 1) * GEMM_ROWS / 4 * (double)b->o.cols;
  const double seconds = best_time(b, gemm_call, k, 5), peak = peak_of(b, k);
  line(k, seconds, (double)(GEMM_ROWS * row_bytes(b, k)), macs, reference);
  if (peak > 0) printf("   peak %7.1f GMAC/s, %3.0f %%", peak * 1e-9, 100 * macs / seconds / peak);
  printf("\n");
}

/* ---- vectors ---- */

static void dequant_call(struct bench *b, const void *what) {
  const struct kernel *k = what;
  ((tb_dequant_t *)k->fn)(b->y, b->weights, b->o.k);
}

static void bench_dequant(struct bench *b, const struct kernel *k, const struct kernel *ref) {
  if (!wanted(b, k)) return;
  line(k, best_time(b, dequant_call, k, 3), (double)row_bytes(b, k), (double)b->o.k, best_time(b, dequant_call, ref, 1));
  printf("\n");
}

static void quant_call(struct bench *b, const void *what) {
  const struct kernel *k = what;
  int8_t *q = (int8_t *)b->scratch;
  float *d = (float *)b->scratch + b->o.k / 4;
  ((tb_quant_q8_t *)k->fn)(q, d, (int16_t *)(void *)(d + b->o.k / 32), b->x.f, b->o.k);
}

static void bench_quant_q8(struct bench *b, const struct kernel *k, const struct kernel *ref) {
  if (!wanted(b, k)) return;
  line(k, best_time(b, quant_call, k, 3), (double)(b->o.k * 4), (double)b->o.k, best_time(b, quant_call, ref, 1));
  printf("\n");
}

#define KERNEL(label, tier, fmt, name)                                                                                 \
  (&(struct kernel){label, TB_ISA_##tier, fmt, (void (*)(void))name})
#define TB_ROW(fn, isa)                                                                                                \
  bench_##fn(b, KERNEL(#fn "/" #isa, isa, TB_FMT_f32, tb_##fn##_##isa), KERNEL("", ref, TB_FMT_f32, tb_##fn##_ref));
#define TB_ROW_FMT(fn, fmt, isa)                                                                                       \
  bench_##fn(b, KERNEL(#fn "/" #fmt "/" #isa, isa, TB_FMT_##fmt, tb_##fn##_##fmt##_##isa),                             \
             KERNEL("", ref, TB_FMT_##fmt, tb_##fn##_##fmt##_ref));

static void run(struct bench *b) {
#include "simd/dequant/dequant.def"
#include "simd/quant/quant.def"
#include "simd/gemv/gemv.def"
#include "simd/gemm/gemm.def"
#include "simd/peak/peak.def"
  kernels_cluster(b->o.filter, b->isa);
  kernels_kv(&(struct kv_options){b->o.filter, b->isa, b->o.planes, b->o.heads, b->team, b->o.threads, b->o.mib});
}

static size_t number(const char *s) {
  char *end;
  unsigned long v = strtoul(s, &end, 10);
  if (*end || !v || v > 1 << 20) die("expected a number");
  return v;
}

int main(int argc, char **argv) {
  struct bench b = {.o = {NULL, 1, 256, 2048, 512, 64, 4}};
  if (argc == 4 && !strcmp(argv[1], "--compare")) return kernels_compare(argv[2], argv[3]);
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!strcmp(argv[i], "--filter")) b.o.filter = argv[i + 1];
    else if (!strcmp(argv[i], "--threads")) b.o.threads = (unsigned)number(argv[i + 1]);
    else if (!strcmp(argv[i], "--mib")) b.o.mib = number(argv[i + 1]);
    else if (!strcmp(argv[i], "--k")) b.o.k = number(argv[i + 1]);
    else if (!strcmp(argv[i], "--cols")) b.o.cols = number(argv[i + 1]);
    else if (!strcmp(argv[i], "--planes")) b.o.planes = number(argv[i + 1]);
    else if (!strcmp(argv[i], "--heads")) b.o.heads = number(argv[i + 1]);
    else
      die("options: --filter TEXT --threads N --mib N --k N --cols N --planes N --heads N, or --compare BEFORE AFTER");
  }
  if (b.o.planes % 32 || b.o.planes > 512 || b.o.heads > 8) die("--planes: a multiple of 32 up to 512; --heads: up to 8");
  if (b.o.k % 256) die("--k must be a multiple of 256");
  const char *reason;
  if (!tb_isa_select(getenv("TB_ISA"), &b.isa, &reason)) die(reason);
  struct tb_error error;
  if (tb_team_create(&b.team, b.o.threads, &tb_system_allocator, &error)) die("threads");
  b.bytes = b.o.mib << 20;
  b.weights = get(b.bytes);
  fill(b.weights, b.bytes);
  make_columns(&b);
  b.y = get((b.bytes / (b.o.k / 256 * 84) + GEMM_ROWS * b.o.cols) * sizeof(float));
  b.scratch = get(TB_GEMM_SCRATCH);
  printf("k %zu, columns %zu, threads %u, tiers up to %s\n", b.o.k, b.o.cols, b.o.threads, tb_isa_name(b.isa));
  run(&b);
  return 0;
}
