#include "optimizer.h"

#include <math.h>
#include <string.h>

struct muon_scratch {
  float *x, *square, *fourth; /* the iterate X, X·X^T, (X·X^T)² */
  bf16 *x16, *square16;
  pair *packed;
};

void list_matrices(struct matrix list[N_MATRICES]) {
  int n = 0;
  for (int l = 0; l < LAYERS; l++) {
    int gate = l * SIZE_LAYER + AT_GATE_UP;
    list[n++] = (struct matrix){gate, HIDDEN, WIDTH};
    list[n++] = (struct matrix){gate + HIDDEN * WIDTH, HIDDEN, WIDTH};
    list[n++] = (struct matrix){l * SIZE_LAYER + AT_DOWN, WIDTH, HIDDEN};
  }
  for (int l = 0; l < LAYERS; l++) {
    list[n++] = (struct matrix){l * SIZE_LAYER, ATTN, WIDTH};
    list[n++] = (struct matrix){l * SIZE_LAYER + AT_O, WIDTH, ATTN};
  }
  for (int l = 0; l < LAYERS; l++) {
    int keys = l * SIZE_LAYER + ATTN * WIDTH;
    list[n++] = (struct matrix){keys, KV_HEADS * HEAD, WIDTH};
    list[n++] = (struct matrix){keys + KV_HEADS * HEAD * WIDTH, KV_HEADS * HEAD, WIDTH};
  }
}

struct muon_scratch *muon_scratch_new(void) {
  size_t side = HIDDEN > ATTN ? HIDDEN : ATTN;
  if (WIDTH > side) side = WIDTH;
  struct muon_scratch *s = big_alloc(sizeof *s);
  s->x = big_alloc(side * side * 4);
  s->square = big_alloc(side * side * 4);
  s->fourth = big_alloc(side * side * 4);
  s->x16 = big_alloc(side * side * 2);
  s->square16 = big_alloc(side * side * 2);
  s->packed = big_alloc(side * side * 2);
  return s;
}

static void transpose(const float *from, int rows, int columns, float *to) {
  for (int r = 0; r < rows; r += 16)
    for (int c = 0; c < columns; c += 16)
      transpose16((const pair *)from + r * columns + c, columns, (pair *)to + c * rows + r, rows);
}

/* One step of the quintic Newton-Schulz iteration: X ← aX + (bA + cA²)X with A = X·X^T; rows ≤ columns. */
static void newton_schulz(struct muon_scratch *s, int rows, int columns) {
  const float a = 3.4445f, b = -4.7750f, c = 2.0315f;
  convert_to_bf16(s->x, s->x16, rows * columns);
  pack_transpose(s->x16, columns, rows, columns, s->packed);
  multiply(rows, rows, columns, s->x16, columns, s->packed, s->square, rows, false);
  convert_to_bf16(s->square, s->square16, rows * rows);
  pack(s->square16, rows, rows, rows, s->packed);
  multiply(rows, rows, rows, s->square16, rows, s->packed, s->fourth, rows, false);
  for (int i = 0; i < rows * rows; i += 16)
    store_bf16(s->square16 + i, madd(all(c), load(s->fourth + i), mul(all(b), load(s->square + i))));
  pack(s->x16, columns, rows, columns, s->packed);
  for (int i = 0; i < rows * columns; i += 16)
    store(s->x + i, mul(load(s->x + i), all(a)));
  multiply(rows, columns, rows, s->square16, rows, s->packed, s->x, columns, true);
}

void muon_step(struct muon_scratch *s, struct optimizer *o, float *values, const float *gradient, struct matrix m,
               float rate, float decay) {
  const __m512 momentum = all(0.95f);
  int n = m.rows * m.columns;
  bool tall = m.rows > m.columns;
  float *buffer = o->momentum + m.at, *value = values + m.at, *update = tall ? s->square : s->x;
  double squares = 0;
  for (int i = 0; i < n; i += 16) {
    __m512 g = load(gradient + m.at + i), b = madd(load(buffer + i), momentum, g), u = madd(b, momentum, g);
    store(buffer + i, b);
    store(update + i, u);
    squares += _mm512_reduce_add_ps(mul(u, u));
  }
  if (tall) transpose(update, m.rows, m.columns, s->x);
  float inverse_norm = 1.f / ((float)sqrt(squares) + 1e-7f);
  for (int i = 0; i < n; i += 16)
    store(s->x + i, mul(load(s->x + i), all(inverse_norm)));
  for (int i = 0; i < 5; i++)
    newton_schulz(s, tall ? m.columns : m.rows, tall ? m.rows : m.columns);
  if (tall) transpose(s->x, m.columns, m.rows, update);
  float step = rate * (tall ? sqrtf((float)m.rows / (float)m.columns) : 1.f);
  for (int i = 0; i < n; i += 16)
    store(value + i, madd(all(-step), load(update + i), mul(load(value + i), all(1 - rate * decay))));
}

void adam_step(struct optimizer *o, float *values, const float *gradient, int from, int to, float rate, float clip) {
  const float b1 = 0.9f, b2 = 0.95f;
  double steps = (double)o->adam_steps + 1;
  float scale = (float)(rate / (1 - pow(0.9, steps))), inverse_root = (float)(1 / sqrt(1 - pow(0.95, steps)));
  for (int i = from; i < to; i++) {
    float g = gradient[N_MATRIX + i] * clip;
    float mean = o->mean[i] = b1 * o->mean[i] + (1 - b1) * g;
    float square = o->mean_square[i] = b2 * o->mean_square[i] + (1 - b2) * g * g;
    values[N_MATRIX + i] -= scale * mean / (sqrtf(square) * inverse_root + 1e-8f);
  }
}
