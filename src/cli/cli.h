/* What the verbs share. Exit codes: 0 done, 1 it failed, 2 the command line was wrong or the plan does not fit. */
#ifndef TB_CLI_CLI_H
#define TB_CLI_CLI_H

#include <stdio.h>
#include "cli/args.h"
#include "cli/cache_options.h"
#include "thimble.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* Verbs: argv[0] is the verb. */
int cmd_bench(int argc, char **argv);
int cmd_calibrate(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_template(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_synth(int argc, char **argv);

/* Prints "thimble <verb>: <text>" and returns CLI_USAGE for TB_E_ARG and TB_E_LIMIT, else CLI_FAILED. */
int cli_report(const char *verb, const struct tb_error *err);

/* The tier that TB_ISA asks for, or NULL. The library does not read the environment; its programs do. */
const char *cli_isa(void);

/* Path of the bundled model in buf, or false when this installation has none. */
bool cli_bundled_model(char *buf, size_t cap);

/* Path of an installed data file <folder>/<name><suffix> (shapes, texts), beside the program or in its source tree. */
bool cli_data_file(const char *folder, const char *name, const char *suffix, char *buf, size_t cap);

/* Opens `path`, or the bundled model when it is NULL; reports errors itself. */
struct tb_model *cli_open_model(const char *verb, const char *path);

/* Where calibrate puts the profile of a model file: <model>.profile.gguf beside it, or in the user's cache when that folder
 * cannot be written. NULL: nowhere. */
const char *cli_profile_place(const char *model, char *buf, size_t cap);
/* The profile of a model file (NULL: the bundled one) in one of these places, or NULL. One that does not belong to the
 * model is passed over with a line on stderr. */
const char *cli_profile_find(const char *verb, const char *model, char *buf, size_t cap);

/* What is read into memory as a whole: far more than any model reads, and not all that a pipe can give. */
enum { CLI_TEXT_MAX = 256 << 20 };
/* Reads a whole file ("-": standard input) into malloc'd memory with a NUL behind it; reports errors itself, among them more
 * than CLI_TEXT_MAX bytes. */
char *cli_read_file(const char *verb, const char *path, size_t *length);

/* Turns \n \t \\ \" \' \r \0 and \xHH into bytes, in place; returns the new length. Other backslashes stay. */
size_t cli_unescape(char *text);

/* Streams text to stdout: holds back an incomplete UTF-8 character and anything that may become a stop string. */
struct cli_stream {
  const struct cli_list *stops;
  char held[1024];
  size_t n_held;
  bool stopped; /* a stop string came */
};
void cli_stream_put(struct cli_stream *s, const char *text, size_t n);
void cli_stream_end(struct cli_stream *s); /* writes what is held */

/* The text of a shape: a file, or the name of one in the shapes folder; reports errors itself. */
char *cli_read_shape(const char *verb, const char *shape);

/* Options of the planner that verbs share. */
struct cli_memory {
  const char *ram;    /* "2G": GiB, or with M: MiB; NULL: as the machine allows */
  const char *prefer; /* "quality" … or NULL */
  bool stats;
};
#define CLI_MEMORY_OPTIONS(m)                                                                                          \
  {NULL, "--ram", CLI_STRING, &(m).ram, 0, 0, "SIZE",                                                                  \
   "memory to stay within: 2G, 1.5G, 800M (default: what the machine has)"},                                           \
  {NULL, "--prefer", CLI_STRING, &(m).prefer, 0, 0, "WHAT", "quality (default), speed or context, where memory does not allow all"}
/* Fills ram and prefer of `out`; reports errors itself. */
bool cli_memory_options(const char *verb, const struct cli_memory *m, struct tb_plan_options *out);
/* Plans for a model (NULL: the bundled one) and puts context and cache types into `options`, which point into *plan
 * from then on. Returns an exit code; when nothing fits it says what would. */
int cli_plan_context(const char *verb, const char *model, const struct cli_memory *m,
                     const struct tb_sampler_options *sampler, struct tb_context_options *options, struct tb_plan **plan);
/* A plan as verbs that compare caches take it. */
struct cli_planned {
  char *text;                  /* of the plan file; the caller frees it */
  const char *type_k, *type_v; /* what all layers have; NULL: --ram or --prefer was given, or layers differ, recall or merge */
};
/* For a context of options->n_ctx tokens, for a model's file or a shape's text and weight type (path NULL). Returns an
 * exit code, with nothing to free unless that is CLI_OK; reports errors itself. */
int cli_plan_cache(const char *verb, const char *path, const char *shape, const char *type, const struct cli_memory *m,
                   const struct tb_context_options *options, struct cli_planned *out);
#define CLI_PLANNED_OPTIONS(m)                                                                                         \
  {NULL, "--ram", CLI_STRING, &(m).ram, 0, 0, "SIZE",                                                                  \
   "one more cache: what the planner chooses within so much memory (2G, 800M)"},                                       \
  {NULL, "--prefer", CLI_STRING, &(m).prefer, 0, 0, "WHAT", "one more cache: what the planner chooses for quality, speed or context"}
/* Bytes in words: "1.50 GiB". Returns buf. */
const char *cli_bytes(char buf[32], uint64_t bytes);
/* What does not fit and which settings would, to f. */
void cli_print_refusal(FILE *f, const char *verb, const struct tb_plan *plan);
/* --stats: predicted and real memory, to stderr. */
void cli_print_memory(const struct tb_plan *plan);
/* What recall did; nothing without it. */
void cli_print_recall(const struct tb_context *ctx);

/* Options about CPUs that verbs share. */
struct cli_cpus {
  const char *mask; /* NULL: the fast cores */
  bool cool;
  float cool_at; /* degrees Celsius; 0: the device's own limit */
};
#define CLI_CPU_OPTIONS(c)                                                                                              \
  {"-C", "--cpu-mask", CLI_STRING, &(c).mask, 0, 0, "MASK", "CPUs to use, hexadecimal: f0 is 4 to 7 (the fast cores)"}, \
  {NULL, "--cool", CLI_FLAG, &(c).cool, 0, 0, NULL, "pause while the device is near its critical temperature"},        \
  {NULL, "--cool-at", CLI_FLOAT, &(c).cool_at, 20, 150, "C", "pause while it is warmer than C degrees Celsius"}
/* Before any thread is started. threads_given: -t said how many. Reports errors itself. */
bool cli_use_cpus(const char *verb, const struct cli_cpus *c, bool threads_given);
/* Between tokens and batches: waits while the device is too warm, until it is cooler or the user interrupts. */
void cli_cool_down(void);

/* How tokens are drawn; s: a struct tb_sampler_options. Its seed is the verb's own. */
#define CLI_SAMPLER_OPTIONS(s)                                                                                         \
  {NULL, "--temp", CLI_FLOAT, &(s).temperature, 0, 1000, "T", "temperature, 0: always the likeliest (0.8)"},           \
  {NULL, "--top-k", CLI_U32, &(s).top_k, 0, INT32_MAX, "N", "keep the N likeliest, 0: all (40)"},                      \
  {NULL, "--top-p", CLI_FLOAT, &(s).top_p, 0, 1, "P", "keep the likeliest that sum up to P (0.95)"},                   \
  {NULL, "--min-p", CLI_FLOAT, &(s).min_p, 0, 1, "P", "drop what is less likely than P times the best (0.05)"},        \
  {NULL, "--repeat-penalty", CLI_FLOAT, &(s).repeat_penalty, 1e-6, 1000, "X", "1: none (1.0)"},                        \
  {NULL, "--repeat-last-n", CLI_U32, &(s).repeat_last_n, 0, 1 << 20, "N", "tokens the penalty looks back on (64)"}

/* Progress of the prompt on stderr when that is a terminal; user: a zeroed struct. */
struct cli_progress {
  double started, shown;
};
bool cli_progress_show(void *user, size_t done, size_t total);

/* Saving a session while an answer is being written: every 256 tokens or 30 seconds, in at most a twentieth of the time.
 * Zeroed before the first begin, which starts the clock. */
struct cli_autosave {
  double last, took;
  size_t tokens;
};
bool cli_autosave_due(const struct cli_autosave *a, size_t tokens);
void cli_autosave_begin(struct cli_autosave *a, size_t tokens);
void cli_autosave_end(struct cli_autosave *a);

/* Signals (signals.c). For every verb: standard files that are closed are replaced by some that give errors, SIGPIPE and
 * SIGXFSZ become errors too, and a mapped file that vanishes is named before the program ends. */
void cli_open_standard_files(void);
void cli_catch_faults(void);
/* The file that is about to be mapped, for that message. */
void cli_reading(const char *path);
void cli_reading_profile(const char *path); /* or NULL */
/* For verbs that answer: SIGINT, SIGTERM and SIGHUP end the program until cli_guard_model, and set flags from then on. A
 * second one ends it; so do 1.5 seconds after a SIGTERM or SIGHUP. cli_resume forgets an interrupt (no other). */
void cli_catch_signals(void);
/* Survives the loss of this model's file until cli_unguard_model, which must come before the model is freed. False: out
 * of memory. */
bool cli_guard_model(const struct tb_model *model);
void cli_unguard_model(void);
/* TB_OK, or TB_E_IO when the file was changed or cannot be read: what was computed since the last good check is wrong. */
enum tb_status cli_check_model(const struct tb_model *model, struct tb_error *err);
bool cli_interrupted(void);
bool cli_terminated(void);
int cli_interrupt_code(int code); /* 128 + the signal that came, else `code` */
void cli_resume(void);

#endif
