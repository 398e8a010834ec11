/* One line of input: edited and with history on a terminal (libedit where the build has it), plain otherwise. A line
 * that ends in a backslash goes on in the next one; a line of three double quotes opens a block that another one
 * closes. */
#ifndef TB_CLI_LINE_H
#define TB_CLI_LINE_H

#include <stdbool.h>
#include <stddef.h>

/* The next input, malloc'd, without its newline; NULL at the end of input, on Ctrl-C, or without memory. */
char *cli_read_line(const char *prompt, bool interactive, size_t *length);

#endif
