/* Shapes of models: dimensions from a text, and what a file of that shape holds. */
#ifndef TB_IO_SYNTH_H
#define TB_IO_SYNTH_H

#include "base/alloc.h"
#include "base/status.h"

/* A model's dimensions, read from "key = value" lines (bench/shapes/README.md lists the keys). */
struct tb_synth_shape {
  char architecture[32], name[64], pre[32], rope_scaling[16];
  uint32_t n_layer, n_embd, n_head, n_head_kv, n_ff, n_vocab, n_ctx;
  uint32_t head_dim, head_dim_v; /* of keys and queries, of values */
  uint32_t rope_dim, rope_orig_ctx;
  float rope_base, rope_factor, rms_eps;
  bool tied, bias, qk_norm, rope_freqs, add_bos;
};

/* TB_E_ARG names line and key. A key that occurs again replaces its earlier value. */
enum tb_status tb_synth_read_shape(struct tb_synth_shape *shape, const char *text, struct tb_error *err);

/* Bytes of the tensors that tb_synth writes for a shape in a type ("q4_0", "q4_k_m" …). */
struct tb_synth_weights {
  uint64_t tensors;   /* all, each rounded up to the alignment of the file */
  uint64_t per_token; /* matrices that are read for every token, and one row of the embedding */
  bool float_down;    /* a down projection is stored as floats */
};
enum tb_status tb_synth_weigh(struct tb_synth_weights *out, const struct tb_synth_shape *shape, const char *type,
                              const struct tb_allocator *a, struct tb_error *err);

/* The bytes of the file that tb_synth writes, from the allocator; the caller frees them. */
enum tb_status tb_synth_image(void **data, size_t *size, const struct tb_synth_options *options,
                              const struct tb_allocator *a, struct tb_error *err);

#endif
