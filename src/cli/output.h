/* A file that a verb writes: it appears whole or not at all, as those of the library do. */
#ifndef TB_CLI_OUTPUT_H
#define TB_CLI_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>

struct cli_output {
  FILE *file;
  const char *verb, *option, *path; /* for messages */
  char temp[4096];                  /* beside path; empty: written in place */
};

/* Opens a temporary file beside `path`; what stands at `path` and is no file (a pipe, a terminal) is opened itself. False when
 * that fails, said. The strings must live until the end. */
bool cli_output_begin(struct cli_output *o, const char *verb, const char *option, const char *path);
/* Puts the file in its place when all was written (`complete`) and has reached the disk; else removes it, and says so unless the
 * caller did (not `complete`). True: it is there. */
bool cli_output_end(struct cli_output *o, bool complete);

#endif
