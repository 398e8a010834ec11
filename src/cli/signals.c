/* What may interrupt a verb: signals, and a model file that changes under its mapping.
 *
 * SIGINT, SIGTERM and SIGHUP end the program at once while there is nothing to be kept; after cli_guard_model they set
 * flags that the verbs look at between tokens, so that a session can be saved. A second one, or 1.5 seconds after a
 * SIGTERM or SIGHUP without an end, leaves at once: what was saved before is whole, files appear by rename only.
 *
 * A mapped file that was truncated, or whose disk fails, shows as SIGBUS in whatever thread reads it. The handler maps
 * zeroes over the rest of the mapping: the step runs to its end with a result that nobody looks at, because the verb asks
 * cli_check_model before it uses one. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>
#include "cli/cli.h"

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

enum { DEADLINE_MS = 1500 }; /* of the two seconds that a SIGTERM may take */

static volatile sig_atomic_t interrupted, terminated, guarded, lost;
static const char *volatile reading, *volatile profile; /* the files that are mapped, for the message */
static struct tb_model_mapping *mappings;
static size_t n_mappings;
static uintptr_t page;

void cli_open_standard_files(void) {
  /* A directory can be neither read nor written: whoever tries gets an error instead of somebody else's file. */
  for (int fd = 0; fd <= 2; fd++)
    while (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
      if (open("/", O_RDONLY) < 0) return;
}

static void on_deadline(int number) {
  (void)number;
  if (interrupted) _exit(128 + (int)interrupted); /* else it was somebody else's */
}

static void on_signal(int number) {
  if (!guarded || interrupted) _exit(128 + number);
  interrupted = number;
  if (number == SIGINT) return;
  terminated = 1;
  /* Not on POSIX's list of what a handler may call, but a plain system call everywhere. */
  const struct itimerval deadline = {.it_value = {.tv_sec = DEADLINE_MS / 1000, .tv_usec = DEADLINE_MS % 1000 * 1000}};
  setitimer(ITIMER_REAL, &deadline, NULL);
}

static void say(const char *text) {
  if (write(STDERR_FILENO, text, strlen(text)) < 0) return; /* nobody listens */
}

/* Zeroes from the page of `address` to the end of its mapping; false when it is in none. */
static bool patch(uintptr_t address) {
  for (size_t i = 0; i < n_mappings; i++) {
    const uintptr_t from = (uintptr_t)mappings[i].data, to = (from + mappings[i].size + page - 1) & ~(page - 1);
    if (address < from || address >= to) continue;
    address &= ~(page - 1);
    return mmap((void *)address, to - address, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
  }
  return false;
}

static void on_bus(int number, siginfo_t *info, void *context) {
  (void)context;
  const int kept = errno;
  if (info->si_code == BUS_ADRERR && guarded && patch((uintptr_t)info->si_addr)) {
    lost = 1;
    errno = kept;
    return;
  }
  if (info->si_code == BUS_ADRERR && reading) {
    say("thimble: ");
    if (!guarded || !profile) say(reading); /* else it is none of the model's mappings */
    if (!guarded && profile) say(" or its profile ");
    if (profile) say(profile);
    say(": cannot be read any more: it was truncated, or its disk failed\n");
    _exit(CLI_FAILED);
  }
  signal(number, SIG_DFL); /* not ours: the instruction runs again and the program dies of it */
}

void cli_catch_signals(void) {
  static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction action = {.sa_handler = on_signal};
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++)
    sigaction(stops[i], &action, NULL);
  action.sa_handler = on_deadline;
  sigaction(SIGALRM, &action, NULL);
}

void cli_catch_faults(void) {
  struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
  page = (uintptr_t)sysconf(_SC_PAGESIZE);
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, NULL);
  signal(SIGPIPE, SIG_IGN); /* a closed reader shows as a write error */
#ifdef SIGXFSZ
  signal(SIGXFSZ, SIG_IGN); /* so does a file that may not grow */
#endif
}

/* Kept to the end of the program: a handler may look at it at any time. */
static const char *keep(char paths[2][4096], const char *before, const char *path) {
  char *copy = paths[before == paths[0]];
  snprintf(copy, sizeof paths[0], "%s", path);
  return copy;
}

void cli_reading(const char *path) {
  static char paths[2][4096];
  reading = keep(paths, reading, path);
}

void cli_reading_profile(const char *path) {
  static char paths[2][4096];
  profile = path ? keep(paths, profile, path) : NULL;
}

bool cli_guard_model(const struct tb_model *model) {
  struct tb_model_mapping m;
  size_t n = 0;
  while (tb_model_get_mapping(model, n, &m)) n++;
  mappings = calloc(n ? n : 1, sizeof *mappings);
  if (!mappings) return false;
  for (size_t i = 0; i < n; i++)
    tb_model_get_mapping(model, i, &mappings[i]);
  n_mappings = n;
  guarded = 1;
  return true;
}

void cli_unguard_model(void) {
  guarded = 0;
  n_mappings = 0;
  free(mappings);
  mappings = NULL;
}

enum tb_status cli_check_model(const struct tb_model *model, struct tb_error *err) {
  enum tb_status status = tb_model_check(model, err);
  if (status || !lost) return status;
  snprintf(err->text, sizeof err->text, "%s: cannot be read any more: its disk failed", reading ? reading : "the model");
  return err->status = TB_E_IO;
}

bool cli_interrupted(void) {
  return interrupted;
}

bool cli_terminated(void) {
  return terminated;
}

int cli_interrupt_code(int code) {
  return interrupted ? 128 + (int)interrupted : code;
}

void cli_resume(void) {
  if (!terminated) interrupted = 0;
}
