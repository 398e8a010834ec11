/* thimble bench: what it is asked, what it measures, how that is shown. */
#ifndef TB_CLI_BENCH_H
#define TB_CLI_BENCH_H

#include "cli/cli.h"
#include "cli/progress.h"

enum { BENCH_VALUES = 64, BENCH_REPEATS = 1000, BENCH_RESULTS = 4096, BENCH_TURNS = 32 };

/* ---------------------------------------------------------------------------------------------------- bench_values.c
 */

struct bench_values {
  uint32_t v[BENCH_VALUES];
  size_t n;
};

/* "512", "0,4096", "128-512+128" (steps), "128-1024*2" (factors); an option given twice adds to its list. False (and a
 * message) when it is something else. */
bool bench_parse_values(const char *option, const char *text, uint32_t min, uint32_t max, struct bench_values *out);
/* "1h", "10m", "30s", "90": seconds; 0 when it is none of these. */
double bench_parse_seconds(const char *text);
/* The piece of a comma list that starts at *text, into buf; moves on. False at the end and when it is too long. */
bool bench_next_name(const char **text, char *buf, size_t cap);
/* "md", "csv", "json", "jsonl" or "sql"; false (and a message) when it is something else. */
bool bench_known_format(const char *option, const char *format);

/* --------------------------------------------------------------------------------------------------- bench_sensors.c
 */

/* What the system tells about heat; 0 and -1 where it does not. */
struct bench_sensors {
  double celsius; /* the hottest thermal zone */
  double mhz;     /* the fastest CPU now */
  int throttled;  /* 1: slowed down by heat or voltage; 0: not; -1: not told */
};
/* `root` is "" or, for tests, a folder with proc and sys. */
void bench_read_sensors(const char *root, struct bench_sensors *out);

/* How the program was built. */
extern const char bench_commit[], bench_compiler[];

/* ------------------------------------------------------------------------------------------------------- bench_run.c
 */

/* One combination of settings. */
struct bench_test {
  const char *type_k, *type_v, *plan_name, *plan; /* plan: text of a plan file instead of types, or NULL */
  uint32_t n_threads, n_batch, n_prompt, n_gen, n_depth;
};

struct bench_result {
  struct bench_test test;
  struct tb_model_info model;    /* its strings live as long as the model */
  const char *file;              /* of the model, or the shape */
  double samples[BENCH_REPEATS]; /* seconds */
  size_t n_samples;
  double mean, deviation;   /* tokens/s */
  double bandwidth;         /* bytes/s, measured beside the run */
  double multiply_peak;     /* multiplications of bytes per second, measured beside the run; 0: not measured */
  double recall_bytes;      /* with recall: bytes read for a generated token, by the layers that choose what they read */
  double recall_share;      /* ... and their share of all layers */
  uint64_t cache_bytes;     /* of the whole cache */
  double cache_per_token;   /* bytes of one more token */
  uint64_t peak, anonymous; /* resident memory of the process: the most of it, and what is not of files */
  struct bench_sensors before, after;
  char time[32]; /* ISO 8601, UTC */
};

struct bench_options {
  uint32_t repeats;
  double delay;                      /* seconds between tests */
  struct tb_context_options context; /* what all tests share: window, sinks, profile */
  bool real_fill, no_warmup;
};

struct bench_model {
  struct tb_model *model;
  struct tb_model_info info;
  const char *file;                     /* path, or NAME:TYPE of a shape */
  const char *shape, *type;             /* text of the shape and weight type, or NULL */
  double bandwidth[TB_MAX_THREADS + 1]; /* by number of threads; 0: not measured yet; -1: cannot be */
  double multiply_peak[TB_MAX_THREADS + 1]; /* likewise */
};

/* A context at the test's depth. Reports errors itself. */
struct tb_context *bench_context(const struct bench_model *m, const struct bench_test *t, uint32_t more,
                                 const struct bench_options *o);
/* Feeds the prompt and generates; seconds it took. Negative on failure (said) and when stopped. */
double bench_once(struct tb_context *ctx, const struct bench_test *t, uint32_t n_vocab);
/* All repetitions of n tests, by turns. False on failure (said); stopped by Ctrl-C it returns what there is, perhaps
 * nothing. `eta` counts `done` of `all` tests. */
bool bench_run(struct bench_model *m, const struct bench_options *o, struct bench_result *r, size_t n,
               struct cli_eta *eta, size_t done, size_t all);
/* The number of threads that generates fastest; tries a few for a fraction of a second each. 0 on failure (said). */
uint32_t bench_best_threads(const struct bench_model *m, const struct bench_test *t, const struct bench_options *o);
/* Bytes touched to generate one token: weights, and the cache at the middle of the test, or what recall chose of it. */
double bench_touched(const struct bench_result *r);
/* The test's name: "pp512", "tg128 @ d4096". */
void bench_test_name(const struct bench_test *t, char name[64]);

/* ----------------------------------------------------------------------------------------------------- bench_print.c
 */

struct bench_printer {
  const char *format;
  FILE *to;
  size_t rows;
  bool cache, batch, heat; /* markdown columns that are shown only when they say something */
};
void bench_print(struct bench_printer *p, const struct bench_result *r);
void bench_print_end(struct bench_printer *p);

/* ---------------------------------------------------------------------------------------------------- other reports */

/* ik_llama.cpp's table: prompt and generation speed while the cache fills. */
int bench_sweep(const struct bench_model *m, const struct bench_test *t, const struct bench_options *o, uint32_t n_ctx,
                const char *format);
/* Tokens per second over `seconds`, in about 60 steps; `plot` may be NULL. */
int bench_sustain(const struct bench_model *m, const struct bench_test *t, const struct bench_options *o,
                  double seconds, const char *format, const char *plot);
/* Ratios to an older run's JSON or JSONL file. */
bool bench_compare(FILE *to, const char *path, const struct bench_result *results, size_t n);
/* Tokens per second against depth, one line for each cache. */
bool bench_plot(const char *path, const struct bench_result *results, size_t n);

/* --------------------------------------------------------------------------------------------------- bench_kernels.c
 */

/* thimble bench --kernels: single kernels instead of a model. Returns an exit code. */
int bench_kernels(int argc, char **argv);

#endif
