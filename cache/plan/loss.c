/* The prior: loss = weight(side) · weight(layer) · relative squared error of the type.
 *
 * Errors, for normal values of variance 1 (tests/cache/loss_test.c measures them on the stores themselves):
 *   f16    rounds to 11 significant bits: in [1, 2) the step is 2^-10, the error's variance 2^-20/12, and relative to
 * x² with ln x uniform this is 2^-20/12 · 3/(8 ln 2) = 4.3e-8. q8_0   steps of max/127 in blocks of 32: E[max²] = 5.5
 * for 32 normals, so 5.5 / 127² / 12 = 2.9e-5. q4_0   steps of max/8: 5.5 / 64 / 12 = 7.2e-3, and a little more for the
 * one code that clips. skvqx* steps with clipping, near the best uniform quantiser for a normal distribution (Max, IRE
 * Trans. IT-6, 1960, table II): 0.119 with four levels, 0.190 with three.
 *
 * Keys weigh more than values. An error e in a key moves a logit by σ·e, where σ is the spread of the logits, and the
 * softmax turns that into a relative error σ·e of the weight; an error of a value is averaged over the tokens attended.
 * σ² is about 4 where attention selects (4 = logits that differ by factors of e² among tokens), so keys count 4.
 * The first two layers feed all others and the last two decide the token; they count 4 (one bit more halves the error,
 * which divides its square by 4: an end layer should get a bit more than a middle one). */
#include "cache/plan/loss.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_WEIGHT = 4, END_WEIGHT = 4, ENDS = 2 };

static const struct {
  const char *type;
  double error;
} rows[] = {
    {"f32", 0},
    {"f16", 4.3e-8},
    {"q8_0", 2.9e-5},
    {"q4_0", 7.4e-3},
    {"skvqx4", 0.0125},
    {"skvqx2", 0.119},
    {"skvqx1.5", 0.190},
    /* What these lose depends on the model alone: chosen only when it was measured. */
    {"lowrank:x4", NAN},
    {"lowrank:x3", NAN},
    {"lowrank:x2", NAN},
    {"lowrank:x1.5", NAN},
    {"lowrank:x1", NAN},
};

bool tb_loss_error(const char *type, double *error) {
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    if (strcmp(rows[i].type, type) != 0 || isnan(rows[i].error)) continue;
    *error = rows[i].error;
    return true;
  }
  return false;
}

const char *tb_loss_type(size_t i) {
  return i + 1 < sizeof rows / sizeof rows[0] ? rows[i + 1].type : NULL; /* f32 loses nothing */
}

bool tb_loss_at_end(uint32_t layer, uint32_t n_layer) {
  return layer < ENDS || layer + ENDS >= n_layer;
}

static double prior(const char *type, enum tb_side side, uint32_t layer, uint32_t n_layer) {
  char base[TB_TYPE_NAME];
  double error = 0;
  snprintf(base, sizeof base, "%.*s", (int)strcspn(type, ":"), type); /* arguments change little */
  if (!tb_loss_error(type, &error)) tb_loss_error(base, &error);
  return error * (side == TB_SIDE_K ? KEY_WEIGHT : 1) * (tb_loss_at_end(layer, n_layer) ? END_WEIGHT : 1);
}

/* ----------------------------------------------------------------------------------------------------------- measured
 */

/* Tensor blk.<layer>.loss.<type>: keys, values; -1: the type does not suit the side. NULL: not measured. */
static const float *losses(const struct tb_profile *p, uint32_t layer, const char *type, enum tb_status *status,
                           struct tb_error *err) {
  char name[48];
  const float *x;
  snprintf(name, sizeof name, "loss.%s", type);
  *status = tb_profile_get(p, layer, name, 2, &x, err);
  return *status ? NULL : x;
}

bool tb_loss_measured(const struct tb_profile *p) {
  enum tb_status status;
  return losses(p, 0, tb_loss_type(0), &status, NULL) != NULL;
}

enum tb_status tb_loss_check(const struct tb_profile *p, uint32_t n_layer, struct tb_error *err) {
  const char *type;
  for (uint32_t i = 0; p && i < n_layer; i++)
    for (size_t t = 0; (type = tb_loss_type(t)); t++) {
      enum tb_status status;
      const float *x = losses(p, i, type, &status, err);
      if (status) return status;
      for (int side = 0; x && side < 2; side++)
        if (x[side] < 0 && x[side] != -1)
          return tb_fail(err, TB_E_FORMAT, "profile: tensor 'blk.%u.loss.%s' holds a negative loss", i, type);
    }
  return TB_OK;
}

bool tb_loss_known(const struct tb_kv_shape *s, const char *type, enum tb_side side) {
  enum tb_status status;
  double error;
  if (!tb_loss_measured(s->profile)) return tb_loss_error(type, &error);
  const float *x = losses(s->profile, s->layer, type, &status, NULL);
  return x && x[side == TB_SIDE_V] >= 0;
}

double tb_loss(const struct tb_kv_shape *s, const char *type, enum tb_side side, uint32_t n_layer) {
  enum tb_status status;
  const double guess = prior(type, side, s->layer, n_layer);
  if (!tb_loss_measured(s->profile)) return guess;
  const float *x = losses(s->profile, s->layer, type, &status, NULL);
  if (x && x[side == TB_SIDE_V] >= 0) return x[side == TB_SIDE_V];
  /* Not measured: the prior, in units of a type that was. */
  x = losses(s->profile, s->layer, "q8_0", &status, NULL);
  return x && x[side == TB_SIDE_V] > 0 ? guess * x[side == TB_SIDE_V] / prior("q8_0", side, s->layer, n_layer) : guess;
}

/* -------------------------------------------------------------------------------------------------------------- lines
 */

/* Recall hides keys from a query, which is taken for an error of keys that grows with the tokens passed over for each
 * one attended to. Measured on the bundled model, f16, recall in layers 2 to 7 of 8, 1024 tokens: 0.0112, 0.0042 and
 * 0.0011 nats with 1/16, 1/8 and 1/4 of the tokens, less the 0.0041 that f16 without recall differs by; keys of two
 * bits in these layers lose 0.041, and have an error of 0.119. It is a prior for longer contexts, where the same share
 * holds more of the attention. */
#define RECALL_ERROR 0.002 /* relative squared, per token passed over */

/* What an error of 1 of keys would lose in a layer, by a type of which that is known. */
static double loss_per_error(const struct tb_kv_shape *s, uint32_t n_layer) {
  static const char *const types[] = {"skvqx2", "skvqx4", "q4_0"};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    double error;
    if (tb_loss_known(s, types[i], TB_SIDE_K) && tb_loss_error(types[i], &error))
      return tb_loss(s, types[i], TB_SIDE_K, n_layer) / error;
  }
  return prior("q8_0", TB_SIDE_K, s->layer, n_layer) / 2.9e-5;
}

double tb_loss_line(const struct tb_kv_shape *s, const struct tb_plan_layer *p, uint32_t n_layer, uint32_t n_ctx) {
  const double sides = tb_loss(s, p->type_k, TB_SIDE_K, n_layer) + tb_loss(s, p->type_v, TB_SIDE_V, n_layer);
  if (!p->recall || p->recall >= n_ctx) return sides;
  return sides + RECALL_ERROR * ((double)n_ctx / p->recall - 1) * loss_per_error(s, n_layer);
}
