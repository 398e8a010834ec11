/* The decoder: embedding, LAYERS × (norm, attention, norm, SwiGLU), norm, embedding again as output. The forward pass
 * goes through a layer in blocks of BLOCK tokens; the logits exist for a few rows at a time only. */
#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BLOCK = 64, HEAD_ROWS = 32, HEAD_CHUNK = 256 };

void *big_alloc(size_t bytes) {
  const size_t page = 2 << 20;
  bytes = (bytes + page - 1) / page * page;
  void *p = aligned_alloc(page, bytes);
  if (!p) {
    fprintf(stderr, "out of memory (%zu bytes)\n", bytes);
    exit(1);
  }
  madvise(p, bytes, MADV_HUGEPAGE);
  memset(p, 0, bytes);
  return p;
}

void workspace_init(struct workspace *w, int n_tokens, int length) {
  size_t n = (size_t)n_tokens, widest = VOCAB > 2 * HIDDEN ? VOCAB : 2 * HIDDEN;
  w->length = length;
  for (int l = 0; l <= LAYERS; l++)
    w->x[l] = big_alloc(n * WIDTH * 4);
  for (int l = 0; l < LAYERS; l++) {
    w->middle[l] = big_alloc(n * WIDTH * 4);
    w->attn_rms[l] = big_alloc(n * 4);
    w->ffn_rms[l] = big_alloc(n * 4);
    w->lse[l] = big_alloc(n * HEADS * 4);
    w->attn_in[l] = big_alloc(n * WIDTH * 2);
    w->ffn_in[l] = big_alloc(n * WIDTH * 2);
    w->qkv[l] = big_alloc(n * QKV * 2);
    w->attended[l] = big_alloc(n * ATTN * 2);
    w->gate_up[l] = big_alloc(n * 2 * HIDDEN * 2);
  }
  w->dx = big_alloc(n * WIDTH * 4);
  w->dx16 = big_alloc(n * WIDTH * 2);
  w->hidden = big_alloc(n * HIDDEN * 2);
  w->d_gate_up = big_alloc(n * 2 * HIDDEN * 2);
  w->d_attended = big_alloc(n * ATTN * 2);
  w->d_qkv = big_alloc(n * QKV * 2);
  w->last = big_alloc((size_t)HEAD_CHUNK * WIDTH * 2);
  w->d_logits = big_alloc((size_t)HEAD_CHUNK * VOCAB * 2);
  w->tile = big_alloc(BLOCK * WIDTH * 4);
  w->tile2 = big_alloc(BLOCK * WIDTH * 4);
  w->logits = big_alloc((size_t)HEAD_ROWS * (VOCAB + 16) * 4);
  w->left = big_alloc(OUTER_ROWS * widest * 4);
  w->right = big_alloc(OUTER_ROWS * widest * 4);
  w->attention = attention_scratch_new(length);
  w->gradient = big_alloc(N_PARAMETERS * 4);
}

void pack_weight(struct weights *w, int at, int n, int k, bf16 *scratch) {
  convert_to_bf16(w->values + at, scratch, n * k);
  pack_transpose(scratch, k, n, k, w->transposed + at / 2);
  pack(scratch, k, n, k, w->plain + at / 2);
}

/* ------------------------------------------------------------------------------------------------- rows of values */

static float *rope_cos, *rope_sin; /* length × HEAD; the sine of the first of a pair is negated */

void rope_init(int length) {
  rope_cos = big_alloc((size_t)length * HEAD * 4);
  rope_sin = big_alloc((size_t)length * HEAD * 4);
  for (int i = 0; i < HEAD; i += 2) {
    float frequency = (float)pow(ROPE_BASE, -(double)i / HEAD);
    for (int t = 0; t < length; t++) {
      float angle = (float)t * frequency, *c = rope_cos + t * HEAD + i, *s = rope_sin + t * HEAD + i;
      c[0] = c[1] = (float)cos(angle);
      s[1] = (float)sin(angle);
      s[0] = -s[1];
    }
  }
}

void rope_row(const float *from, bf16 *to, int position, bool backwards) {
  for (int i = 0; i < HEAD; i += 16) {
    __m512 x = load(from + i), c = load(rope_cos + position * HEAD + i), s = load(rope_sin + position * HEAD + i);
    __m512 partner = _mm512_permute_ps(x, 0xb1); /* swaps neighbours */
    store_bf16(to + i, backwards ? _mm512_fnmadd_ps(partner, s, mul(x, c)) : madd(partner, s, mul(x, c)));
  }
}

/* y = x · w / rms(x); returns 1/rms(x). */
static float norm_forward(const float *x, const float *w, bf16 *y) {
  __m512 sum = zero();
  for (int i = 0; i < WIDTH; i += 16)
    sum = madd(load(x + i), load(x + i), sum);
  float inverse = 1.f / sqrtf(_mm512_reduce_add_ps(sum) / WIDTH + NORM_EPS);
  for (int i = 0; i < WIDTH; i += 16)
    store_bf16(y + i, mul(mul(load(x + i), all(inverse)), load(w + i)));
  return inverse;
}

/* dx = or += the gradient through the norm; dw += that of its weights. */
static void norm_backward(const float *x, float inverse, const float *w, const float *dy, float *dx, float *dw,
                          bool accumulate) {
  __m512 sum = zero();
  for (int i = 0; i < WIDTH; i += 16) {
    __m512 t = mul(load(dy + i), mul(load(x + i), all(inverse)));
    sum = madd(t, load(w + i), sum);
    store(dw + i, add(load(dw + i), t));
  }
  __m512 mean = all(_mm512_reduce_add_ps(sum) / WIDTH);
  for (int i = 0; i < WIDTH; i += 16) {
    __m512 normed = mul(load(x + i), all(inverse));
    __m512 d = mul(all(inverse), _mm512_fnmadd_ps(normed, mean, mul(load(dy + i), load(w + i))));
    store(dx + i, accumulate ? add(load(dx + i), d) : d);
  }
}

/* -------------------------------------------------------------------------------------------------------- forward */

/* The weights of layer l in a packed array. */
static const pair *layer_part(const pair *packed, int l, int at) {
  return packed + (l * SIZE_LAYER + at) / 2;
}

static void forward_qkv(struct workspace *w, const struct weights *weights, int l, int first) {
  const float *norm = weights->values + AT_ATTN_NORM + l * WIDTH;
  const pair *matrix = layer_part(weights->transposed, l, 0);
  bf16 *in = w->attn_in[l] + first * WIDTH;
  for (int r = 0; r < BLOCK; r++)
    w->attn_rms[l][first + r] = norm_forward(w->x[l] + (first + r) * WIDTH, norm, in + r * WIDTH);
  for (int head = 0; head < QKV / HEAD; head++) {
    multiply(BLOCK, HEAD, WIDTH, in, WIDTH, matrix + head * HEAD * WIDTH / 2, w->tile, HEAD, false);
    for (int r = 0; r < BLOCK; r++) {
      bf16 *out = w->qkv[l] + (first + r) * QKV + head * HEAD;
      if (head < HEADS + KV_HEADS)
        rope_row(w->tile + r * HEAD, out, (first + r) % w->length, false);
      else
        convert_to_bf16(w->tile + r * HEAD, out, HEAD);
    }
  }
}

/* 64 columns of the gated hidden layer for a block of tokens, from gate and up in tile and tile2. */
static void forward_gate(struct workspace *w, bf16 *gate_up, int column) {
  for (int r = 0; r < BLOCK; r++)
    for (int c = 0; c < 64; c += 16) {
      __m512 gate = load(w->tile + r * 64 + c), up = load(w->tile2 + r * 64 + c);
      store_bf16(gate_up + r * 2 * HIDDEN + column + c, gate);
      store_bf16(gate_up + r * 2 * HIDDEN + HIDDEN + column + c, up);
      store_bf16(w->hidden + r * HIDDEN + column + c, mul(_mm512_div_ps(gate, one_plus_exp_minus(gate)), up));
    }
}

static void forward_ffn(struct workspace *w, const struct weights *weights, int l, int first) {
  const float *norm = weights->values + AT_FFN_NORM + l * WIDTH;
  const pair *gate = layer_part(weights->transposed, l, AT_GATE_UP), *up = gate + SIZE_GATE_UP / 4;
  float *middle = w->middle[l] + first * WIDTH, *out = w->x[l + 1] + first * WIDTH;
  bf16 *in = w->ffn_in[l] + first * WIDTH;
  memcpy(middle, w->x[l] + first * WIDTH, BLOCK * WIDTH * 4);
  multiply(BLOCK, WIDTH, ATTN, w->attended[l] + first * ATTN, ATTN, layer_part(weights->transposed, l, AT_O), middle,
           WIDTH, true);
  for (int r = 0; r < BLOCK; r++)
    w->ffn_rms[l][first + r] = norm_forward(middle + r * WIDTH, norm, in + r * WIDTH);
  for (int column = 0; column < HIDDEN; column += 64) {
    multiply(BLOCK, 64, WIDTH, in, WIDTH, gate + column * WIDTH / 2, w->tile, 64, false);
    multiply(BLOCK, 64, WIDTH, in, WIDTH, up + column * WIDTH / 2, w->tile2, 64, false);
    forward_gate(w, w->gate_up[l] + first * 2 * HIDDEN, column);
  }
  memcpy(out, middle, BLOCK * WIDTH * 4);
  multiply(BLOCK, WIDTH, HIDDEN, w->hidden, HIDDEN, layer_part(weights->transposed, l, AT_DOWN), out, WIDTH, true);
}

/* ---------------------------------------------------------------------------------------------------- output, loss */

/* Loss of one token, and in place of its logits the gradient times `sum` (which is returned): softmax·sum - onehot·sum.
 */
static float cross_entropy(struct workspace *w, float *logits, int target, float weight) {
  float wanted = logits[target];
  __m512 top = load(logits), sum = zero();
  for (int c = 16; c < VOCAB; c += 16)
    top = _mm512_max_ps(top, load(logits + c));
  float max = _mm512_reduce_max_ps(top);
  for (int c = 0; c < VOCAB; c += 16) {
    __m512 e = exp16(sub(load(logits + c), all(max)));
    sum = add(sum, e);
    store(logits + c, e);
  }
  float total = _mm512_reduce_add_ps(sum), loss = max + logf(total) - wanted;
  w->loss += (double)loss * weight;
  if (weight > 0.9f) { /* a token of an answer */
    w->answer_loss += loss;
    w->n_answer++;
  }
  logits[target] -= total;
  return total;
}

/* Loss and gradients from the last layer's output up, for all tokens. */
static void output_pass(struct workspace *w, const struct weights *weights, int n_tokens, const int *ids,
                        const float *token_weights, float scale) {
  const float *norm = weights->values + AT_LAST_NORM, *x = w->x[LAYERS];
  for (int chunk = 0; chunk < n_tokens; chunk += HEAD_CHUNK) {
    int rows = n_tokens - chunk < HEAD_CHUNK ? n_tokens - chunk : HEAD_CHUNK;
    for (int first = 0; first < rows; first += HEAD_ROWS) {
      float inverse[HEAD_ROWS];
      bf16 *last = w->last + first * WIDTH, *d_logits = w->d_logits + (size_t)first * VOCAB;
      for (int r = 0; r < HEAD_ROWS; r++)
        inverse[r] = norm_forward(x + (chunk + first + r) * WIDTH, norm, last + r * WIDTH);
      multiply(HEAD_ROWS, VOCAB, WIDTH, last, WIDTH, weights->transposed + AT_EMBEDDING / 2, w->logits, VOCAB + 16,
               false);
      for (int r = 0; r < HEAD_ROWS; r++) {
        int token = chunk + first + r, at = token / w->length * (w->length + 1) + token % w->length + 1;
        float *logits = w->logits + r * (VOCAB + 16), total = cross_entropy(w, logits, ids[at], token_weights[at]);
        __m512 factor = all(token_weights[at] * scale / total);
        for (int c = 0; c < VOCAB; c += 16)
          store_bf16(d_logits + (size_t)r * VOCAB + c, mul(load(logits + c), factor));
      }
      multiply(HEAD_ROWS, WIDTH, VOCAB, d_logits, VOCAB, weights->plain + AT_EMBEDDING / 2, w->tile, WIDTH, false);
      for (int r = 0; r < HEAD_ROWS; r++) {
        int at = (chunk + first + r) * WIDTH;
        norm_backward(x + at, inverse[r], norm, w->tile + r * WIDTH, w->dx + at, w->gradient + AT_LAST_NORM, false);
      }
    }
    add_outer(VOCAB, WIDTH, rows, w->d_logits, VOCAB, w->last, WIDTH, w->gradient + AT_EMBEDDING, w->left, w->right);
  }
}

/* ------------------------------------------------------------------------------------------------------- backward */

/* d_hidden in tile → gradients of gate and up; w->hidden is computed again. */
static void backward_gate(struct workspace *w, const bf16 *gate_up, bf16 *d_gate_up, bf16 *hidden, int column) {
  for (int r = 0; r < BLOCK; r++)
    for (int c = 0; c < 64; c += 16) {
      int at = r * 2 * HIDDEN + column + c;
      __m512 gate = load_bf16(gate_up + at), up = load_bf16(gate_up + at + HIDDEN), d = load(w->tile + r * 64 + c);
      __m512 sigmoid = _mm512_div_ps(all(1.f), one_plus_exp_minus(gate)), silu = mul(gate, sigmoid);
      store_bf16(hidden + r * HIDDEN + column + c, mul(silu, up));
      store_bf16(d_gate_up + at + HIDDEN, mul(d, silu));
      store_bf16(d_gate_up + at, mul(mul(d, up), madd(silu, sub(all(1.f), sigmoid), sigmoid)));
    }
}

static void backward_ffn(struct workspace *w, const struct weights *weights, int l, int n_tokens) {
  const pair *down = layer_part(weights->plain, l, AT_DOWN), *gate_up = layer_part(weights->plain, l, AT_GATE_UP);
  const float *norm = weights->values + AT_FFN_NORM + l * WIDTH;
  float *gradient = w->gradient + l * SIZE_LAYER;
  for (int first = 0; first < n_tokens; first += BLOCK) {
    bf16 *d16 = w->dx16 + first * WIDTH, *d_gate_up = w->d_gate_up + first * 2 * HIDDEN;
    convert_to_bf16(w->dx + first * WIDTH, d16, BLOCK * WIDTH);
    for (int column = 0; column < HIDDEN; column += 64) {
      multiply(BLOCK, 64, WIDTH, d16, WIDTH, down + column * WIDTH / 2, w->tile, 64, false);
      backward_gate(w, w->gate_up[l] + first * 2 * HIDDEN, d_gate_up, w->hidden + first * HIDDEN, column);
    }
    multiply(BLOCK, WIDTH, 2 * HIDDEN, d_gate_up, 2 * HIDDEN, gate_up, w->tile, WIDTH, false);
    for (int r = first; r < first + BLOCK; r++)
      norm_backward(w->middle[l] + r * WIDTH, w->ffn_rms[l][r], norm, w->tile + (r - first) * WIDTH, w->dx + r * WIDTH,
                    w->gradient + AT_FFN_NORM + l * WIDTH, true);
  }
  add_outer(WIDTH, HIDDEN, n_tokens, w->dx16, WIDTH, w->hidden, HIDDEN, gradient + AT_DOWN, w->left, w->right);
  add_outer(2 * HIDDEN, WIDTH, n_tokens, w->d_gate_up, 2 * HIDDEN, w->ffn_in[l], WIDTH, gradient + AT_GATE_UP, w->left,
            w->right);
}

static void backward_attention(struct workspace *w, const struct weights *weights, int l, int n_tokens) {
  const pair *o = layer_part(weights->plain, l, AT_O), *qkv = layer_part(weights->plain, l, 0);
  const float *norm = weights->values + AT_ATTN_NORM + l * WIDTH;
  float *gradient = w->gradient + l * SIZE_LAYER;
  for (int first = 0; first < n_tokens; first += BLOCK) {
    bf16 *d16 = w->dx16 + first * WIDTH;
    convert_to_bf16(w->dx + first * WIDTH, d16, BLOCK * WIDTH);
    for (int head = 0; head < HEADS; head++) {
      multiply(BLOCK, HEAD, WIDTH, d16, WIDTH, o + head * HEAD * WIDTH / 2, w->tile, HEAD, false);
      for (int r = 0; r < BLOCK; r++)
        convert_to_bf16(w->tile + r * HEAD, w->d_attended + (first + r) * ATTN + head * HEAD, HEAD);
    }
  }
  add_outer(WIDTH, ATTN, n_tokens, w->dx16, WIDTH, w->attended[l], ATTN, gradient + AT_O, w->left, w->right);
  for (int t = 0; t < n_tokens; t += w->length)
    attention_backward(w, w->qkv[l] + t * QKV, w->d_attended + t * ATTN, w->lse[l] + t * HEADS, w->d_qkv + t * QKV);
  for (int first = 0; first < n_tokens; first += BLOCK) {
    multiply(BLOCK, WIDTH, QKV, w->d_qkv + first * QKV, QKV, qkv, w->tile, WIDTH, false);
    for (int r = first; r < first + BLOCK; r++)
      norm_backward(w->x[l] + r * WIDTH, w->attn_rms[l][r], norm, w->tile + (r - first) * WIDTH, w->dx + r * WIDTH,
                    w->gradient + AT_ATTN_NORM + l * WIDTH, true);
  }
  add_outer(QKV, WIDTH, n_tokens, w->d_qkv, QKV, w->attn_in[l], WIDTH, gradient, w->left, w->right);
}

/* ------------------------------------------------------------------------------------------------------------ all */

void micro_batch(struct workspace *w, const struct weights *weights, int n_rows, const int *ids,
                 const float *token_weights, float scale) {
  int n_tokens = n_rows * w->length;
  for (int t = 0; t < n_tokens; t++) {
    int id = ids[t / w->length * (w->length + 1) + t % w->length];
    memcpy(w->x[0] + t * WIDTH, weights->values + AT_EMBEDDING + id * WIDTH, WIDTH * 4);
  }
  for (int l = 0; l < LAYERS; l++) {
    for (int first = 0; first < n_tokens; first += BLOCK)
      forward_qkv(w, weights, l, first);
    for (int t = 0; t < n_tokens; t += w->length)
      attention_forward(w, w->qkv[l] + t * QKV, w->attended[l] + t * ATTN, w->lse[l] + t * HEADS);
    for (int first = 0; first < n_tokens; first += BLOCK)
      forward_ffn(w, weights, l, first);
  }
  output_pass(w, weights, n_tokens, ids, token_weights, scale);
  for (int l = LAYERS - 1; l >= 0; l--) {
    backward_ffn(w, weights, l, n_tokens);
    backward_attention(w, weights, l, n_tokens);
  }
  for (int t = 0; t < n_tokens; t++) {
    float *row = w->gradient + AT_EMBEDDING + ids[t / w->length * (w->length + 1) + t % w->length] * WIDTH;
    for (int i = 0; i < WIDTH; i += 16)
      store(row + i, add(load(row + i), load(w->dx + t * WIDTH + i)));
  }
}
