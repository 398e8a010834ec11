/* Which CPUs a verb uses, and when it lets them cool down. */
#include <stdio.h>
#include <time.h>
#include "cli/cli.h"

enum { CHECK_SECONDS = 1, COOLER = 5 }; /* how often the zones are read; degrees below the limit to go on at */

static struct {
  bool on;
  float limit;    /* as for tb_temperature_read */
  time_t checked; /* of the monotonic clock */
} cooling;

static time_t seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec;
}

bool cli_use_cpus(const char *verb, const struct cli_cpus *c, bool threads_given) {
  struct tb_error err;
  struct tb_temperature t;
  /* Who asks for a number of threads may want the slow cores too. */
  if ((c->mask || !threads_given) && tb_use_cpus(c->mask, &err) != TB_OK) {
    fprintf(stderr, "thimble %s: %s\n", verb, err.text);
    return false;
  }
  cooling.limit = c->cool_at;
  cooling.on = c->cool || c->cool_at > 0;
  if (!cooling.on || tb_temperature_read(cooling.limit, &t)) return true;
  fprintf(stderr, "thimble %s: --cool%s: this system shows no temperature%s\n", verb, c->cool_at > 0 ? "-at" : "",
          c->cool_at > 0 ? "" : " with a limit of its own (--cool-at C sets one)");
  return false;
}

void cli_cool_down(void) {
  struct tb_temperature t;
  if (!cooling.on || seconds() - cooling.checked < CHECK_SECONDS) return;
  bool paused = false;
  while (tb_temperature_read(cooling.limit, &t) && t.celsius >= t.limit - (paused ? COOLER : 0) && !cli_interrupted()) {
    if (!paused)
      fprintf(stderr, "\n[pausing: %s is at %.0f degrees, the limit is %.0f]\n", t.zone, (double)t.celsius,
              (double)t.limit);
    paused = true;
    nanosleep(&(struct timespec){.tv_sec = CHECK_SECONDS}, NULL);
  }
  if (paused) fprintf(stderr, "[going on]\n");
  cooling.checked = seconds();
}
