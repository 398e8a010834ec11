/* The model's dimensions, and where its parameters lie in one flat array of floats:
 * for each layer [q k v] [o] [gate up] [down], then the embedding (which is the output matrix too), the norms before
 * attention, the norms before the feed-forward part, the last norm. Matrices are outputs × inputs. */
#ifndef TRAINER_SHAPE_H
#define TRAINER_SHAPE_H

enum {
  VOCAB = 2048,
  WIDTH = 192,
  LAYERS = 8,
  HEADS = 4,
  KV_HEADS = 2,
  HEAD = 64, /* values of a head; the matrix code below counts on 64 */
  HIDDEN = 512,
  QKV = (HEADS + 2 * KV_HEADS) * HEAD, /* a row of queries, keys and values */
  ATTN = HEADS * HEAD,                 /* a row of attention output */

  SIZE_QKV = QKV * WIDTH,
  SIZE_O = WIDTH * ATTN,
  SIZE_GATE_UP = 2 * HIDDEN * WIDTH,
  SIZE_DOWN = WIDTH * HIDDEN,
  SIZE_LAYER = SIZE_QKV + SIZE_O + SIZE_GATE_UP + SIZE_DOWN,

  /* within a layer */
  AT_O = SIZE_QKV,
  AT_GATE_UP = AT_O + SIZE_O,
  AT_DOWN = AT_GATE_UP + SIZE_GATE_UP,
  /* in the whole array */
  N_MATRIX = SIZE_LAYER * LAYERS,
  AT_EMBEDDING = N_MATRIX,
  AT_ATTN_NORM = AT_EMBEDDING + VOCAB * WIDTH,
  AT_FFN_NORM = AT_ATTN_NORM + LAYERS * WIDTH,
  AT_LAST_NORM = AT_FFN_NORM + LAYERS * WIDTH,
  N_PARAMETERS = AT_LAST_NORM + WIDTH,
  N_OTHER = N_PARAMETERS - N_MATRIX, /* embedding and norms */
};
#define ROPE_BASE 1e5
#define NORM_EPS 1e-5f

_Static_assert(VOCAB % 64 == 0 && WIDTH % 64 == 0 && HIDDEN % 64 == 0 && HEADS % KV_HEADS == 0 && HEAD == 64,
               "the matrix code works on panels of 64 columns");

#endif
