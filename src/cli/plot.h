/* Pictures through gnuplot, which runs as a program of its own. */
#ifndef TB_CLI_PLOT_H
#define TB_CLI_PLOT_H

#include <stdbool.h>
#include <stdio.h>
#include "cli/output.h"

struct cli_plot {
  FILE *script; /* gnuplot's standard input: commands and inline data */
  int pid;
  struct cli_output picture; /* gnuplot opens it by its name */
};

/* True when `path` ends in .svg or .png and gnuplot is there; says what is wrong otherwise. Call it before the work. */
bool cli_plot_possible(const char *verb, const char *path);
/* Starts gnuplot with terminal, output, grid and title set; then write commands to p->script. */
bool cli_plot_begin(struct cli_plot *p, const char *verb, const char *path, const char *title);
/* A name inside double quotes of a gnuplot command. */
void cli_plot_text(const struct cli_plot *p, const char *text);
/* Waits; false (and a message) when no picture came of it. */
bool cli_plot_end(struct cli_plot *p);

#endif
