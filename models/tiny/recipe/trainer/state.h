/* Batches from outside, checkpoints to outside. */
#ifndef TRAINER_STATE_H
#define TRAINER_STATE_H

#include <stdbool.h>
#include "optimizer.h"

/* Starts a thread that reads batches of `rows` rows of length+1 ids (int32) and as many weights (float) from
 * standard input, two ahead. */
void batches_start(int rows, int length);
/* The next batch, or false at the end of input and after batches_stop(). Give it back before the next. */
bool batches_take(const int **ids, const float **token_weights);
void batches_give_back(void);
void batches_stop(void); /* from a signal handler */
bool batches_stopped(void);

/* Header of a checkpoint file (checkpoint.py reads it too); parameters, momentum and Adam's moments follow, as floats.
 */
struct progress {
  char magic[8];
  int32_t vocab, width, layers, heads, kv_heads, head, hidden, step;
  int64_t n_matrix, n_parameters, adam_steps;
  double seconds, minutes, tokens, answer_loss; /* answer_loss: running mean, -1 at the beginning */
  double unused[4];
};
struct progress progress_new(void);

/* Writes to a temporary file first. Errors are printed; training goes on. */
void checkpoint_save(const char *path, struct progress *p, const float *values, const struct optimizer *o);
/* Ends the program when the file is not a checkpoint of this shape. */
void checkpoint_load(const char *path, struct progress *p, float *values, struct optimizer *o);

#endif
