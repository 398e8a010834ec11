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

#include <string.h>

enum { KEY_WEIGHT = 4, END_WEIGHT = 4, ENDS = 2 };

static const struct {
  const char *type;
  double error;
} rows[] = {
    {"f32", 0}, {"f16", 4.3e-8}, {"q8_0", 2.9e-5}, {"q4_0", 7.4e-3}, {"skvqx4", 0.0125}, {"skvqx2", 0.119}, {"skvqx1.5", 0.190},
};

bool tb_loss_error(const char *type, double *error) {
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    if (strcmp(rows[i].type, type) != 0) continue;
    *error = rows[i].error;
    return true;
  }
  return false;
}

bool tb_loss_at_end(uint32_t layer, uint32_t n_layer) {
  return layer < ENDS || layer + ENDS >= n_layer;
}

double tb_loss(const char *type, enum tb_side side, uint32_t layer, uint32_t n_layer) {
  double error = 0;
  tb_loss_error(type, &error);
  return error * (side == TB_SIDE_K ? KEY_WEIGHT : 1) * (tb_loss_at_end(layer, n_layer) ? END_WEIGHT : 1);
}
