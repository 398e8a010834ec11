/* Progress of long work with an estimate of the time left, on standard error when that is a terminal. */
#ifndef TB_CLI_PROGRESS_H
#define TB_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

/* Begin with a zeroed one. */
struct cli_eta {
  double started, shown;
};

/* "what 3 / 10, 12 s left"; at most five times a second. */
void cli_eta_show(struct cli_eta *p, double done, double total, const char *what);
/* Clears the line. */
void cli_eta_end(const struct cli_eta *p);

/* Seconds of a clock that only goes forward. */
double cli_now(void);

#endif
