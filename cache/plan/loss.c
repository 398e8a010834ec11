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

static const char *const methods[] = {"merge.up", "merge.down", "recall"};

const char *tb_loss_row(size_t i) {
  const size_t types = sizeof rows / sizeof rows[0] - 1;
  if (i < types) return tb_loss_type(i);
  return i - types < sizeof methods / sizeof methods[0] ? methods[i - types] : NULL;
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

/* Tensor blk.<layer>.loss.<row>: keys, values; -1: it does not suit the side. NULL: not measured. */
static const float *losses(const struct tb_profile *p, uint32_t layer, const char *row, enum tb_status *status,
                           struct tb_error *err) {
  char name[48];
  const float *x;
  snprintf(name, sizeof name, "loss.%s", row);
  *status = tb_profile_get(p, layer, name, 2, &x, err);
  return *status ? NULL : x;
}

bool tb_loss_measured(const struct tb_profile *p) {
  enum tb_status status;
  return losses(p, 0, tb_loss_type(0), &status, NULL) != NULL;
}

enum tb_status tb_loss_check(const struct tb_profile *p, uint32_t n_layer, struct tb_error *err) {
  const char *row;
  for (uint32_t i = 0; p && i < n_layer; i++)
    for (size_t r = 0; (row = tb_loss_row(r)); r++) {
      enum tb_status status;
      const float *x = losses(p, i, row, &status, err);
      if (status) return status;
      for (int side = 0; x && side < 2; side++)
        if (x[side] < 0 && x[side] != -1)
          return tb_fail(err, TB_E_FORMAT, "profile: tensor 'blk.%u.loss.%s' holds a negative loss", i, row);
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

/* What an error of 1 of keys or values would lose in a layer, by a type of which that is known. */
static double loss_per_error(const struct tb_kv_shape *s, enum tb_side side, uint32_t n_layer) {
  static const char *const types[] = {"skvqx2", "skvqx4", "q4_0"};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    double error;
    if (tb_loss_known(s, types[i], side) && tb_loss_error(types[i], &error))
      return tb_loss(s, types[i], side, n_layer) / error;
  }
  return prior("q8_0", side, s->layer, n_layer) / 2.9e-5;
}

/* Recall hides keys from a query, which is taken for an error of keys that grows with the tokens passed over for each
 * one attended to. The profile says what it loses for one such token, in a text far shorter than the contexts that it
 * is chosen for, where the same share holds more of the attention. Before that was measured: on the bundled model,
 * f16, recall in layers 2 to 7 of 8, 1024 tokens, it was 0.0112, 0.0042 and 0.0011 nats with 1/16, 1/8 and 1/4 of the
 * tokens, less the 0.0041 that f16 without recall differs by; keys of two bits in these layers lose 0.041, and have an
 * error of 0.119. */
#define RECALL_ERROR 0.002 /* relative squared, per token passed over */

static double recall_loss(const struct tb_kv_shape *s, double passed_over, uint32_t n_layer) {
  enum tb_status status;
  const float *x = losses(s->profile, s->layer, "recall", &status, NULL);
  return passed_over * (x && x[0] >= 0 ? x[0] : RECALL_ERROR * loss_per_error(s, TB_SIDE_K, n_layer));
}

static const float *merge_losses(const struct tb_kv_shape *s, uint32_t with) {
  enum tb_status status;
  return losses(s->profile, s->layer, methods[with == TB_MERGE_DOWN], &status, NULL);
}

bool tb_loss_merge_known(const struct tb_kv_shape *s, uint32_t with) {
  const float *x = merge_losses(s, with);
  return x && x[0] >= 0 && x[1] >= 0;
}

/* Before it was measured: 2·(1 - cos Ω/2), where Ω has the cosine of the pair (policy/merge.c). */
static double merge_loss(const struct tb_kv_shape *s, uint32_t with, uint32_t n_layer) {
  const float *x = merge_losses(s, with), *cosine;
  if (x && x[0] >= 0 && x[1] >= 0) return (double)x[0] + x[1];
  const uint32_t upper = s->layer + (with == TB_MERGE_UP);
  if (tb_profile_get(s->profile, upper, "merge.cosine", 4, &cosine, NULL) != TB_OK || !cosine) return 0;
  double sum = 0;
  for (int side = 0; side < 2; side++)
    sum += 2 * (1 - sqrt(fmax(0, (1 + cosine[2 * side + 1]) / 2))) * loss_per_error(s, (enum tb_side)side, n_layer);
  return sum;
}

double tb_loss_line(const struct tb_kv_shape *s, const struct tb_plan_layer *p, uint32_t n_layer, uint32_t n_ctx) {
  const double sides = tb_loss(s, p->type_k, TB_SIDE_K, n_layer) + tb_loss(s, p->type_v, TB_SIDE_V, n_layer);
  if (p->merge.with != TB_MERGE_NONE) return sides + merge_loss(s, p->merge.with, n_layer);
  if (!p->recall || p->recall >= n_ctx) return sides;
  return sides + recall_loss(s, (double)n_ctx / p->recall - 1, n_layer);
}
