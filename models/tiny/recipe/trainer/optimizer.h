/* Muon for the matrices (momentum, then orthogonalised by Newton-Schulz: kellerjordan.github.io/posts/muon), Adam for
 * embedding and norms. */
#ifndef TRAINER_OPTIMIZER_H
#define TRAINER_OPTIMIZER_H

#include "model.h"

struct optimizer {
  float *momentum;           /* N_MATRIX */
  float *mean, *mean_square; /* N_OTHER: Adam's moments */
  int64_t adam_steps;
};

/* A matrix of the parameters. q, k and v, and gate and up, are orthogonalised each for itself. */
struct matrix {
  int at, rows, columns;
};
enum { N_MATRICES = LAYERS * 7 };
/* All of them, large ones first, so that threads which take them one by one end together. */
void list_matrices(struct matrix list[N_MATRICES]);

struct muon_scratch *muon_scratch_new(void);
void muon_step(struct muon_scratch *s, struct optimizer *o, float *values, const float *gradient, struct matrix m,
               float rate, float decay);

/* Adam for parameters from … to-1 of the N_OTHER ones. `clip` scales the gradient. */
void adam_step(struct optimizer *o, float *values, const float *gradient, int from, int to, float rate, float clip);

#endif
