/* Inside of calibration: calibrate.c (passes over a text), calibrate_observe.c (sums of what goes by),
 * calibrate_pairs.c (neighbouring layers), calibrate_write.c (the profile, weights included), calibrate_proxy.c and
 * calibrate_loss.c (what cache types lose). */
#ifndef TB_CORE_CALIBRATE_H
#define TB_CORE_CALIBRATE_H

#include "cache/stats.h"
#include "core/context.h"
#include "io/gguf_write.h"

/* Joint moments of all heads of a layer are kept up to this many channels: beyond it they take more memory than they
 * are worth (8·D²/2 bytes a side while summing). */
enum { TB_CALIBRATE_JOINT = 1024 };

/* Sums of one layer. */
struct tb_layer_sums {
  struct tb_range k, kr, v;             /* keys before and with RoPE (sums only), values */
  double *input;                        /* Σ|x| of the normalised inputs: n_embd */
  struct tb_moment k_joint, v_joint;    /* tiles NULL: too many channels */
  struct tb_moment *kr_heads, *q_heads; /* n_kv of them */
  double *cross[2]; /* keys and values with those of the layer below (calibrate_pairs.c); NULL: not comparable */
};

struct tb_calibration {
  const struct tb_model *model;
  struct tb_team *team;
  uint32_t n_batch;
  struct tb_layer_sums *layers;
  float *keys;    /* n_batch rows of keys without RoPE */
  float *scratch; /* per thread */
  size_t scratch_floats;
  float *units[2][2];   /* per side: rows of length 1 of even and of odd layers, n_batch of them */
  unsigned char *block; /* all of it; owned */
  uint64_t tokens;
};

enum tb_status tb_calibration_create(struct tb_calibration *c, const struct tb_model *model, struct tb_team *team,
                                     uint32_t n_batch, struct tb_error *err);
void tb_calibration_free(struct tb_calibration *c);
/* For tb_pass.observe; user: a struct tb_calibration. */
void tb_calibration_observe(void *user, const struct tb_pass *p, uint32_t il);

/* calibrate_pairs.c: parts of the above that concern neighbouring layers. */
void tb_pairs_carve(struct tb_arena *a, struct tb_calibration *c);
void tb_pairs_observe(struct tb_calibration *c, const struct tb_pass *p, uint32_t il);
void tb_pairs_describe(const struct tb_calibration *c, uint32_t il, struct tb_gguf_writer *g);
enum tb_status tb_pairs_put(const struct tb_calibration *c, uint32_t il, struct tb_gguf_writer *g,
                            struct tb_error *err);

/* Writes the profile; on a failure no file is left. */
enum tb_status tb_calibration_write(const struct tb_calibration *c, const char *path, struct tb_error *err);

/* ------------------------------------------------------------------------------------------------------------- losses
 */

enum { TB_LOSS_CHECKS = 2 };

/* Losses of the rows of tb_loss_row, types first, in nats; -1: the row does not suit the layer's side. */
struct tb_loss_table {
  uint32_t n_layer;
  size_t n_rows;
  double *values; /* [layer][row][side]; the caller owns it */
  float scale;    /* what the sum of all was multiplied by */
  struct {
    float predicted, measured; /* all layers on both sides; 0: not done */
  } check[TB_LOSS_CHECKS];
};

static inline double *tb_loss_slot(const struct tb_loss_table *t, uint32_t layer, size_t row, enum tb_side side) {
  return t->values + (layer * t->n_rows + row) * 2 + (side == TB_SIDE_V);
}

/* Progress in tokens: of `total`, the losses begin at `before`. */
struct tb_loss_progress {
  tb_progress_fn fn;
  void *user;
  size_t before, total;
};

/* How many tokens go through the model to measure losses on a text of n_ids. */
size_t tb_calibrate_loss_work(const struct tb_model *m, size_t n_ids);
/* Fills the table. The stores take what they need from the profile at `profile`. */
enum tb_status tb_calibrate_loss(struct tb_loss_table *t, const struct tb_model *model, const tb_token *ids,
                                 size_t n_ids, const char *profile, uint32_t n_threads,
                                 const struct tb_loss_progress *progress, struct tb_error *err);
/* calibrate_proxy.c: fills the table with errors of attention's output. The context is new, with an f32 cache and room
 * for n tokens in one batch. */
enum tb_status tb_loss_proxy(struct tb_loss_table *t, struct tb_context *ctx, const tb_token *ids, uint32_t n,
                             struct tb_error *err);
/* Writes the profile at `from` again, with the losses. */
enum tb_status tb_calibrate_join(const struct tb_loss_table *t, const struct tb_model *model, const char *from,
                                 const char *path, struct tb_error *err);

#endif
