/* Runs of a text with cache types of one's choice, and how far their predictions are from those of an f32 cache. */
#ifndef TB_CORE_CALIBRATE_RUNS_H
#define TB_CORE_CALIBRATE_RUNS_H

#include "core/calibrate.h"

enum {
  TB_RUN_BATCH = 32
}; /* tokens of a batch whose predictions are looked at: what it attends to within itself is exact */

/* The text: `stretches` pieces of n tokens from all over it, each on its own. Of a piece the first `first` tokens are
 * read in one batch without a look at the predictions, then batches of TB_RUN_BATCH. */
struct tb_runs {
  const struct tb_model *model;
  const tb_token *ids;
  size_t n_ids;
  uint32_t n, stretches, first;
  uint32_t step; /* every step'th position behind the first ones is looked at */
  uint32_t n_threads;
  const char *profile;
  float *logits;               /* of the exact run, where it is looked at; owned */
  struct tb_plan_layer *lines; /* owned: types of the next context (tb_runs_types, tb_runs_side) */
  const struct tb_loss_progress *progress;
  size_t done; /* tokens' worth of work */
  struct tb_error *err;
  /* The batch at hand. */
  bool exact;
  uint32_t at; /* its position behind the first ones, in all stretches one after the other */
  double sum;
  uint32_t looks; /* how many positions the sum is of */
};

/* What an exact run leaves of a stretch, for others to begin in the middle. x[layer]: what goes into it, tokens from
 * start[layer] to start[layer] + length. */
struct tb_runs_trace {
  struct tb_seen seen;
  float **x;
  uint32_t *start, length;
};

enum tb_status tb_runs_create(struct tb_runs *r, struct tb_error *err); /* logits and lines; the rest is set */
void tb_runs_free(struct tb_runs *r);
/* TB_E_CANCELLED when the progress function says so. */
enum tb_status tb_runs_go_on(const struct tb_runs *r);

const tb_token *tb_runs_stretch(const struct tb_runs *r, uint32_t i);
void tb_runs_types(struct tb_runs *r, const char *k, const char *v); /* all layers */
void tb_runs_side(struct tb_runs *r, uint32_t layer, enum tb_side side, const char *type);

/* A context with these types for one stretch at a time; tb_context_free. */
enum tb_status tb_runs_open(struct tb_runs *r, struct tb_context **ctx);
/* Stretch i in a context with f32: its logits are remembered, and what the trace wants. */
enum tb_status tb_runs_exact(struct tb_runs *r, struct tb_context *ctx, uint32_t i, struct tb_runs_trace *trace);
/* The trace's tokens of stretch i from `layer` on, the text before them as it was seen. each: adds r->sum and r->looks
 * of the batch at r->at. */
enum tb_status tb_runs_walk(struct tb_runs *r, struct tb_context *ctx, uint32_t i, uint32_t layer,
                            const struct tb_runs_trace *trace, void (*each)(void *user, const struct tb_runs *r),
                            void *user);
/* All stretches with these types; *kld: mean divergence from the exact run. */
enum tb_status tb_runs_whole(struct tb_runs *r, double *kld);

/* calibrate_effects.c: the exact run, and the divergence in nats when one side of one layer alone is kept in a coarse
 * type, effects[2 · layer + side], less what f16 in all layers makes, effects[2 · n_layer]: two runs never round alike.
 * coarse: names parallel to effects; NULL: left out (0). */
enum tb_status tb_runs_effects(struct tb_runs *r, const char *const *coarse, double *effects);
/* For one stretch: tokens through the whole model, and bytes that are remembered besides logits. */
size_t tb_runs_effects_work(const struct tb_model *m, uint32_t n, uint32_t first);
size_t tb_runs_effects_bytes(const struct tb_model *m, uint32_t n, uint32_t first);

#endif
