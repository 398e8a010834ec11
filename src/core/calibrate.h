/* Inside of calibration: calibrate.c (passes over a text), calibrate_observe.c (sums of what goes by),
 * calibrate_write.c (the profile, weights included). */
#ifndef TB_CORE_CALIBRATE_H
#define TB_CORE_CALIBRATE_H

#include "cache/stats.h"
#include "core/context.h"

/* Joint moments of all heads of a layer are kept up to this many channels: beyond it they take more memory than they
 * are worth (8·D²/2 bytes a side while summing). */
enum { TB_CALIBRATE_JOINT = 1024 };

/* Sums of one layer. */
struct tb_layer_sums {
  struct tb_range k, kr, v;             /* keys before and with RoPE (sums only), values */
  double *input;                        /* Σ|x| of the normalised inputs: n_embd */
  struct tb_moment k_joint, v_joint;    /* tiles NULL: too many channels */
  struct tb_moment *kr_heads, *q_heads; /* n_kv of them */
};

struct tb_calibration {
  const struct tb_model *model;
  struct tb_team *team;
  uint32_t n_batch;
  struct tb_layer_sums *layers;
  float *keys;    /* n_batch rows of keys without RoPE */
  float *scratch; /* per thread */
  size_t scratch_floats;
  unsigned char *block; /* all of it; owned */
  uint64_t tokens;
};

enum tb_status tb_calibration_create(struct tb_calibration *c, const struct tb_model *model, struct tb_team *team,
                                     uint32_t n_batch, struct tb_error *err);
void tb_calibration_free(struct tb_calibration *c);
/* For tb_pass.observe; user: a struct tb_calibration. */
void tb_calibration_observe(void *user, const struct tb_pass *p, uint32_t il);

/* Writes the profile; with TB_E_CANCELLED or any failure no file is left. */
enum tb_status tb_calibration_write(const struct tb_calibration *c, const char *path, struct tb_error *err);

#endif
