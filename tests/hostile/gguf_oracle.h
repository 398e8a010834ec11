/* A second opinion on GGUF files, for differential tests: written from the format's description alone, slow and simple
 * (128-bit sums, quadratic searches), sharing no code with the reader. */
#ifndef TB_TESTS_GGUF_ORACLE_H
#define TB_TESTS_GGUF_ORACLE_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the file in memory (unsplit) is one that thimble must open. *why: the first rule it breaks, or "". */
bool gguf_oracle(const unsigned char *data, size_t n, const char **why);

#endif
