/* An independent decoder for tests: the arithmetic of the papers in double, one token at a time, on dequantised
 * weights, with none of the engine's operations, buffers or kernels (only the GGUF reader and the block decoders). */
#ifndef TB_TESTS_MODELS_NAIVE_H
#define TB_TESTS_MODELS_NAIVE_H

#include <stdbool.h>
#include "io/gguf.h"

struct naive;

/* How a matrix's inputs are first rounded, as the engine's kernels do: what is left between the two is float rounding. */
enum naive_rounding {
  NAIVE_EXACT,
  NAIVE_CODES, /* to 8-bit codes per 32 values, where the matrix is stored in blocks */
  NAIVE_PAIRS, /* and to bf16, where it is bf16 */
};
struct naive *naive_open(const struct tb_gguf *g, enum naive_rounding rounding);
void naive_free(struct naive *m);
uint32_t naive_vocab(const struct naive *m);
/* Forgets all tokens. */
void naive_restart(struct naive *m);
/* Appends one token; logits: naive_vocab() doubles. */
void naive_step(struct naive *m, tb_token token, double *logits);

#endif
