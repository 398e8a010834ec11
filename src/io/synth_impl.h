/* Inside of tb_synth: shared by synth*.c only. */
#ifndef TB_IO_SYNTH_IMPL_H
#define TB_IO_SYNTH_IMPL_H

#include "base/rng.h"
#include "io/gguf_write.h"
#include "io/synth.h"

/* -------------------------------------------------------------------------------------------------- synth_type.c */

enum tb_synth_role {
  TB_ROLE_EMBEDDING,
  TB_ROLE_OUTPUT,
  TB_ROLE_Q,
  TB_ROLE_K,
  TB_ROLE_V,
  TB_ROLE_O,
  TB_ROLE_GATE,
  TB_ROLE_UP,
  TB_ROLE_DOWN,
};

/* Which format each matrix gets: one for all, or a mix as llama.cpp's quantiser makes it. */
struct tb_synth_type {
  int mix;
  enum tb_format base;
  enum tb_format head; /* of output and embedding when given as "base+head", else TB_FMT_COUNT */
  uint32_t file_type;  /* general.file_type */
};

/* TB_E_ARG for an unknown name. */
enum tb_status tb_synth_read_type(struct tb_synth_type *type, const char *name, struct tb_error *err);
/* The format of a matrix with rows of `row` values in layer `layer`. */
enum tb_format tb_synth_format(const struct tb_synth_type *type, const struct tb_synth_shape *shape,
                               enum tb_synth_role role, uint32_t layer, uint64_t row);

/* ------------------------------------------------------------------------------------------------- synth_vocab.c */

/* Adds the tokenizer.* metadata: 256 byte tokens, a few merges, control tokens, invented words up to n_vocab. */
void tb_synth_add_vocab(struct tb_gguf_writer *w, const struct tb_synth_shape *shape);
/* The smallest n_vocab that holds bytes, merges and control tokens. */
uint32_t tb_synth_min_vocab(void);

/* ------------------------------------------------------------------------------------------------- synth_block.c */

/* Writes random blocks of format f that decode to about mean 0 and standard deviation sigma. `bytes` is a whole
 * number of blocks. */
void tb_synth_fill(enum tb_format f, float sigma, struct tb_rng *rng, void *blocks, size_t bytes);

#endif
