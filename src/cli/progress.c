#include "cli/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

double cli_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void cli_eta_show(struct cli_eta *p, double done, double total, const char *what) {
  double t = cli_now();
  if (p->started == 0) p->started = t;
  if (t - p->shown < 0.2 || !isatty(STDERR_FILENO)) return;
  p->shown = t;
  fprintf(stderr, "\r\033[K%s %.0f / %.0f", what, done, total);
  if (done > 0) fprintf(stderr, ", %.0f s left", (t - p->started) / done * (total - done));
}

void cli_eta_end(const struct cli_eta *p) {
  if (p->shown > 0) fputs("\r\033[K", stderr);
}
