/* Causal attention of one sequence, by blocks of 64 queries. Scores are scaled by 1/8 = HEAD^-0.5. The forward pass
 * keeps the log-sum-exp of each row, from which the backward pass gets the probabilities again. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "model.h"

enum { BLOCK = 64, GROUP = HEADS / KV_HEADS };
static const float scale = 0.125f;

struct attention_scratch {
  int stride, stride16;           /* of rows of `length` floats and bf16, off powers of two */
  float *scores, *d_probs;        /* BLOCK rows */
  bf16 *probs;                    /* BLOCK rows */
  pair *prob_pairs, *score_pairs; /* BLOCK/2 rows: two query rows interleaved, left operands for dV and dK */
  pair *keys_t, *values_t, *keys, *values, *queries, *d_outs; /* packed right operands */
  float *dk, *dv;                                             /* length × HEAD */
};

struct attention_scratch *attention_scratch_new(int length) {
  struct attention_scratch *s = big_alloc(sizeof *s);
  s->stride = length + 16;
  s->stride16 = length + 32;
  s->scores = big_alloc((size_t)BLOCK * s->stride * 4);
  s->d_probs = big_alloc((size_t)BLOCK * s->stride * 4);
  s->probs = big_alloc((size_t)BLOCK * s->stride16 * 2);
  s->prob_pairs = big_alloc((size_t)BLOCK / 2 * s->stride * 4);
  s->score_pairs = big_alloc((size_t)BLOCK / 2 * s->stride * 4);
  pair **packed[] = {&s->keys_t, &s->values_t, &s->keys, &s->values};
  for (int i = 0; i < 4; i++)
    *packed[i] = big_alloc((size_t)length * HEAD * 2);
  s->queries = big_alloc(BLOCK * HEAD * 2);
  s->d_outs = big_alloc(BLOCK * HEAD * 2);
  s->dk = big_alloc((size_t)length * HEAD * 4);
  s->dv = big_alloc((size_t)length * HEAD * 4);
  return s;
}

/* Softmax of the first n of `columns` scores; zeros after them. Unnormalised: returns the sum, *log_sum its logarithm.
 */
static float softmax_row(const float *scores, bf16 *probs, int n, int columns, float *log_sum) {
  __m512 top = all(-1e30f), sum = zero();
  for (int c = 0; c < n; c += 16)
    top = _mm512_mask_max_ps(top, lanes(n - c), top, load(scores + c));
  float max = _mm512_reduce_max_ps(top) * scale;
  for (int c = 0; c < columns; c += 16) {
    __m512 e = zero();
    if (c < n) e = _mm512_maskz_mov_ps(lanes(n - c), exp16(_mm512_fmsub_ps(load(scores + c), all(scale), all(max))));
    sum = add(sum, e);
    store_bf16(probs + c, e);
  }
  float total = _mm512_reduce_add_ps(sum);
  *log_sum = max + logf(total);
  return total;
}

void attention_forward(struct workspace *w, const bf16 *qkv, bf16 *out, float *lse) {
  struct attention_scratch *s = w->attention;
  int length = w->length;
  for (int head = 0; head < HEADS; head++) {
    int kv = head / GROUP;
    if (head % GROUP == 0) {
      pack_transpose(qkv + (HEADS + kv) * HEAD, QKV, length, HEAD, s->keys_t);
      pack(qkv + (HEADS + KV_HEADS + kv) * HEAD, QKV, length, HEAD, s->values);
    }
    for (int first = 0; first < length; first += BLOCK) {
      int visible = first + BLOCK; /* keys up to the block's last query */
      float inverse[BLOCK];
      multiply(BLOCK, visible, HEAD, qkv + first * QKV + head * HEAD, QKV, s->keys_t, s->scores, s->stride, false);
      for (int r = 0; r < BLOCK; r++)
        inverse[r] = 1.f / softmax_row(s->scores + r * s->stride, s->probs + r * s->stride16, first + r + 1, visible,
                                       &lse[head * length + first + r]);
      multiply(BLOCK, HEAD, visible, s->probs, s->stride16, s->values, w->tile, HEAD, false);
      for (int r = 0; r < BLOCK; r++)
        for (int c = 0; c < HEAD; c += 16)
          store_bf16(out + (first + r) * ATTN + head * HEAD + c, mul(load(w->tile + r * HEAD + c), all(inverse[r])));
    }
  }
}

/* Turns a row of scores into probabilities; returns Σ p·dp. */
static float probs_row(float *scores, const float *d_probs, int n, int columns, float log_sum) {
  __m512 sum = zero();
  for (int c = 0; c < columns; c += 16) {
    __m512 p = zero();
    if (c < n) {
      p = _mm512_maskz_mov_ps(lanes(n - c), exp16(_mm512_fmsub_ps(load(scores + c), all(scale), all(log_sum))));
      sum = madd(p, load(d_probs + c), sum);
    }
    store(scores + c, p);
  }
  return _mm512_reduce_add_ps(sum);
}

static inline __m512i interleave_rows(__m256i even, __m256i odd) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
}

/* Gradients of two neighbouring rows of scores: ds = scale · p · (dp - Σ p·dp), as rows (probs is reused for them) and
 * interleaved; the probabilities interleaved. */
static void d_scores_pair(struct attention_scratch *s, int r, const float sums[2], int columns) {
  for (int c = 0; c < columns; c += 16) {
    __m256i p16[2], d16[2];
    for (int i = 0; i < 2; i++) {
      __m512 p = load(s->scores + (r + i) * s->stride + c), dp = load(s->d_probs + (r + i) * s->stride + c);
      p16[i] = to_bf16(p);
      d16[i] = to_bf16(mul(mul(p, all(scale)), sub(dp, all(sums[i]))));
      _mm256_storeu_si256((__m256i *)(s->probs + (r + i) * s->stride16 + c), d16[i]);
    }
    _mm512_storeu_si512(s->prob_pairs + r / 2 * s->stride + c, interleave_rows(p16[0], p16[1]));
    _mm512_storeu_si512(s->score_pairs + r / 2 * s->stride + c, interleave_rows(d16[0], d16[1]));
  }
}

static void backward_block(struct workspace *w, const bf16 *qkv, const bf16 *d_out, const float *lse, bf16 *d_qkv,
                           int head, int first) {
  struct attention_scratch *s = w->attention;
  int visible = first + BLOCK;
  const bf16 *queries = qkv + first * QKV + head * HEAD, *d_outs = d_out + first * ATTN + head * HEAD;
  multiply(BLOCK, visible, HEAD, queries, QKV, s->keys_t, s->scores, s->stride, false);
  multiply(BLOCK, visible, HEAD, d_outs, ATTN, s->values_t, s->d_probs, s->stride, false);
  for (int r = 0; r < BLOCK; r += 2) {
    float sums[2];
    for (int i = 0; i < 2; i++)
      sums[i] = probs_row(s->scores + (r + i) * s->stride, s->d_probs + (r + i) * s->stride, first + r + i + 1, visible,
                          lse[head * w->length + first + r + i]);
    d_scores_pair(s, r, sums, visible);
  }
  multiply(BLOCK, HEAD, visible, s->probs, s->stride16, s->keys, w->tile, HEAD, false);
  for (int r = 0; r < BLOCK; r++)
    rope_row(w->tile + r * HEAD, d_qkv + (first + r) * QKV + head * HEAD, first + r, true);
  pack(queries, QKV, BLOCK, HEAD, s->queries);
  pack(d_outs, ATTN, BLOCK, HEAD, s->d_outs);
  for (int key = 0; key < visible; key += 4) {
    multiply_tile(BLOCK / 2, s->score_pairs + key, 1, s->stride, s->queries, s->dk + key * HEAD, HEAD);
    multiply_tile(BLOCK / 2, s->prob_pairs + key, 1, s->stride, s->d_outs, s->dv + key * HEAD, HEAD);
  }
}

void attention_backward(struct workspace *w, const bf16 *qkv, const bf16 *d_out, const float *lse, bf16 *d_qkv) {
  struct attention_scratch *s = w->attention;
  int length = w->length;
  for (int kv = 0; kv < KV_HEADS; kv++) {
    const bf16 *keys = qkv + (HEADS + kv) * HEAD, *values = keys + KV_HEADS * HEAD;
    pack_transpose(keys, QKV, length, HEAD, s->keys_t);
    pack(keys, QKV, length, HEAD, s->keys);
    pack_transpose(values, QKV, length, HEAD, s->values_t);
    memset(s->dk, 0, (size_t)length * HEAD * 4);
    memset(s->dv, 0, (size_t)length * HEAD * 4);
    for (int head = kv * GROUP; head < (kv + 1) * GROUP; head++)
      for (int first = 0; first < length; first += BLOCK)
        backward_block(w, qkv, d_out, lse, d_qkv, head, first);
    for (int t = 0; t < length; t++) {
      bf16 *row = d_qkv + t * QKV + (HEADS + kv) * HEAD;
      rope_row(s->dk + t * HEAD, row, t, true);
      convert_to_bf16(s->dv + t * HEAD, row + KV_HEADS * HEAD, HEAD);
    }
  }
}
