/* attn_score over rows of floats and attn_accum over all rows, for every ISA (simd/attn/attn.h): include after the
 * ISA's vec header, with the register blocking chosen by TB_WIDE: 1 where there are 32 registers of 16 floats. */
#include "simd/kernels.h"

#include <string.h>
#include "simd/attn/ahead.h"

enum {
  SCORE_HEADS = TB_WIDE ? 4 : 2, /* heads that score serves at once; 4 × 4 or 2 × 2 sums are held */
  SCORE_CHUNK = 16,              /* rows that stay in L1 while the head groups pass over them */
  ACCUM_HEADS = 4,
  ACCUM_WIDTH = TB_WIDE ? 4 : 1, /* v16 of channels that accum holds per head */
  ACCUM_HALVES = TB_WIDE ? 2 : 1,
  ACCUM_CHUNK = 32, /* rows per chain: part of the contract */
};

/* About: what lies between two values of a row. */
TB_INLINE size_t value_bytes(enum tb_format fmt) {
  return fmt == TB_FMT_f32 ? 4 : fmt == TB_FMT_f16 ? 2 : 1;
}

/* Stored values c … c+15 of a row (f32, f16) or the codes of one half (c = 0, 16) of a block (q8_0, q4_0). */
TB_INLINE v16 load_values(enum tb_format fmt, const unsigned char *row, size_t c) {
  if (fmt == TB_FMT_f16) return v16_load_f16(row + 2 * c);
  if (fmt == TB_FMT_q8_0) return v16_load_i8(row + 2 + c);
  if (fmt == TB_FMT_q4_0) {
    v16 low, high;
    v16_load_nibbles(row + 2, 8, &low, &high);
    return c ? high : low;
  }
  return v16_load((const float *)(const void *)row + c);
}

TB_INLINE v16 load_values_n(enum tb_format fmt, const unsigned char *row, size_t c, size_t n) {
  if (fmt == TB_FMT_f16) return v16_load_f16_n(row + 2 * c, n);
  return v16_load_n((const float *)(const void *)row + c, n);
}

/* ---------------------------------------------------------------------------------------------------- score */

/* sum += rows × heads products of 16 channels; everything but the pointers is constant after inlining. */
TB_INLINE void score_step(v16 *sum, const v16 *kv, const v16 *qv, int rows, int heads) {
  TB_UNROLL for (int g = 0; g < heads; g++) {
    TB_UNROLL for (int r = 0; r < rows; r++) sum[g * rows + r] = v16_fma(kv[r], qv[g], sum[g * rows + r]);
  }
}

TB_INLINE void score_tile(enum tb_format fmt, int rows, int heads, float *s, size_t lds, const float *q, size_t ldq,
                          const unsigned char *k, size_t stride, size_t d, size_t ahead) {
  v16 sum[16], kv[4], qv[4];
  TB_UNROLL for (int i = 0; i < 16; i++) sum[i] = v16_zero();
  size_t c = 0;
  for (; c + 16 <= d; c += 16) {
    fetch_ahead(k + c * (size_t)rows * value_bytes(fmt), 16 * (size_t)rows * value_bytes(fmt), ahead);
    TB_UNROLL for (int r = 0; r < rows; r++) kv[r] = load_values(fmt, k + (size_t)r * stride, c);
    TB_UNROLL for (int g = 0; g < heads; g++) qv[g] = v16_load(q + (size_t)g * ldq + c);
    score_step(sum, kv, qv, rows, heads);
  }
  if (c < d) {
    TB_UNROLL for (int r = 0; r < rows; r++) kv[r] = load_values_n(fmt, k + (size_t)r * stride, c, d - c);
    TB_UNROLL for (int g = 0; g < heads; g++) qv[g] = v16_load_n(q + (size_t)g * ldq + c, d - c);
    score_step(sum, kv, qv, rows, heads);
  }
  float out[16];
  TB_UNROLL for (int i = 0; i < rows * heads; i += 4) v16_hsum4(out + i, sum[i], sum[i + 1], sum[i + 2], sum[i + 3]);
  TB_UNROLL for (int g = 0; g < heads; g++) memcpy(s + (size_t)g * lds, out + g * rows, (size_t)rows * sizeof *s);
}

/* All rows of a chunk for `heads` heads. */
TB_INLINE void score_rows(enum tb_format fmt, int heads, float *s, size_t lds, const float *q, size_t ldq,
                          const unsigned char *k, size_t stride, size_t n, size_t d, size_t ahead) {
  const int rows = TB_WIDE || heads == 1 ? 4 : 2;
  size_t t = 0;
  for (; t + (size_t)rows <= n; t += (size_t)rows)
    score_tile(fmt, rows, heads, s + t, lds, q, ldq, k + t * stride, stride, d, ahead);
  for (; t < n; t++) score_tile(fmt, 1, heads, s + t, lds, q, ldq, k + t * stride, stride, d, ahead);
}

TB_INLINE void score(enum tb_format fmt, float *s, size_t lds, const struct tb_acts *q, size_t n_q, const void *k,
                     size_t stride, size_t n, size_t d) {
  const size_t ahead = ahead_of(n);
  for (size_t t = 0; t < n; t += SCORE_CHUNK) {
    const size_t m = n - t < SCORE_CHUNK ? n - t : SCORE_CHUNK;
    const unsigned char *rows = (const unsigned char *)k + t * stride;
    size_t g = 0;
    for (; g + SCORE_HEADS <= n_q; g += SCORE_HEADS)
      score_rows(fmt, SCORE_HEADS, s + g * lds + t, lds, q->f + g * q->ldf, q->ldf, rows, stride, m, d, ahead);
    float *rest = s + g * lds + t;
    const float *f = q->f + g * q->ldf;
    if (SCORE_HEADS > 3 && n_q - g == 3) score_rows(fmt, 3, rest, lds, f, q->ldf, rows, stride, m, d, ahead);
    if (SCORE_HEADS > 2 && n_q - g == 2) score_rows(fmt, 2, rest, lds, f, q->ldf, rows, stride, m, d, ahead);
    if (n_q - g == 1) score_rows(fmt, 1, rest, lds, f, q->ldf, rows, stride, m, d, ahead);
  }
}

/* ---------------------------------------------------------------------------------------------------- accum */

/* acc[g·ld + c + …] += Σ_t w[g·ldw + t] · values of row t, t < n ≤ ACCUM_CHUNK; `width` v16, the last of `last` lanes. */
TB_INLINE void accum_tile(enum tb_format fmt, int heads, int width, float *acc, size_t ld, const float *w, size_t ldw,
                          const unsigned char *v, size_t stride, size_t n, size_t c, size_t last, size_t ahead) {
  v16 sum[ACCUM_HEADS * ACCUM_WIDTH > ACCUM_HEADS * 2 ? ACCUM_HEADS * ACCUM_WIDTH : ACCUM_HEADS * 2];
  TB_UNROLL for (int i = 0; i < heads * width; i++) sum[i] = v16_zero();
  for (size_t t = 0; t < n; t++) {
    const unsigned char *row = v + t * stride;
    fetch_ahead(row + c * value_bytes(fmt), 16 * (size_t)width * value_bytes(fmt), ahead);
    v16 weight[ACCUM_HEADS];
    TB_UNROLL for (int g = 0; g < heads; g++) weight[g] = v16_set1(w[(size_t)g * ldw + t]);
    TB_UNROLL for (int j = 0; j < width; j++) {
      v16 x = last < 16 ? load_values_n(fmt, row, c, last) : load_values(fmt, row, c + (size_t)j * 16);
      TB_UNROLL for (int g = 0; g < heads; g++) sum[g * width + j] = v16_fma(weight[g], x, sum[g * width + j]);
    }
  }
  TB_UNROLL for (int g = 0; g < heads; g++) {
    TB_UNROLL for (int j = 0; j < width; j++) {
      float *p = acc + (size_t)g * ld + (size_t)j * 16;
      if (last < 16) v16_store_n(p, v16_add(v16_load_n(p, last), sum[g]), last);
      else v16_store(p, v16_add(v16_load(p), sum[g * width + j]));
    }
  }
}

TB_INLINE void accum_heads(enum tb_format fmt, int heads, float *acc, const float *p, size_t ldp,
                           const unsigned char *v, size_t stride, size_t n, size_t d, size_t ahead) {
  size_t c = 0;
  for (; c + 16 * ACCUM_WIDTH <= d; c += 16 * ACCUM_WIDTH)
    accum_tile(fmt, heads, ACCUM_WIDTH, acc + c, d, p, ldp, v, stride, n, c, 16, ahead);
  for (; ACCUM_WIDTH > 1 && c + 16 <= d; c += 16)
    accum_tile(fmt, heads, 1, acc + c, d, p, ldp, v, stride, n, c, 16, ahead);
  if (c < d) accum_tile(fmt, heads, 1, acc + c, d, p, ldp, v, stride, n, c, d - c, ahead);
}

TB_INLINE void accum(enum tb_format fmt, float *acc, const float *p, size_t ldp, size_t n_q, const void *v,
                     size_t stride, size_t n, size_t d) {
  const size_t ahead = ahead_of(n);
  for (size_t t = 0; t < n; t += ACCUM_CHUNK) {
    const size_t m = n - t < ACCUM_CHUNK ? n - t : ACCUM_CHUNK;
    const unsigned char *rows = (const unsigned char *)v + t * stride;
    size_t g = 0;
    for (; g + ACCUM_HEADS <= n_q; g += ACCUM_HEADS)
      accum_heads(fmt, ACCUM_HEADS, acc + g * d, p + g * ldp + t, ldp, rows, stride, m, d, ahead);
    const float *w = p + g * ldp + t;
    if (n_q - g == 3) accum_heads(fmt, 3, acc + g * d, w, ldp, rows, stride, m, d, ahead);
    if (n_q - g == 2) accum_heads(fmt, 2, acc + g * d, w, ldp, rows, stride, m, d, ahead);
    if (n_q - g == 1) accum_heads(fmt, 1, acc + g * d, w, ldp, rows, stride, m, d, ahead);
  }
}

/* One block column (32 channels) of a chunk for `heads` heads: the block scales go into the weights. */
TB_INLINE void accum_block(enum tb_format fmt, int heads, float *acc, size_t ld, const float *p, size_t ldp, v16 scale0,
                           v16 scale1, const unsigned char *v, size_t stride, size_t n, size_t ahead) {
  float w[ACCUM_HEADS * ACCUM_CHUNK];
  const size_t first = n < 16 ? n : 16;
  TB_UNROLL for (int g = 0; g < heads; g++) {
    const float *pg = p + (size_t)g * ldp;
    v16_store(w + g * ACCUM_CHUNK, v16_mul(v16_load_n(pg, first), scale0));
    if (n > 16) v16_store(w + g * ACCUM_CHUNK + 16, v16_mul(v16_load_n(pg + 16, n - 16), scale1));
  }
  for (size_t half = 0; half < 32; half += 16 * ACCUM_HALVES)
    accum_tile(fmt, heads, ACCUM_HALVES, acc + half, ld, w, ACCUM_CHUNK, v, stride, n, half, 16, ahead);
}

TB_INLINE void accum_blocks(enum tb_format fmt, float *acc, const float *p, size_t ldp, size_t n_q, const void *v,
                            size_t stride, size_t n, size_t d) {
  const size_t ahead = ahead_of(n);
  for (size_t t = 0; t < n; t += ACCUM_CHUNK) {
    const size_t m = n - t < ACCUM_CHUNK ? n - t : ACCUM_CHUNK;
    for (size_t b = 0; b < d / 32; b++) {
      const unsigned char *column = (const unsigned char *)v + t * stride + tb_row_bytes(fmt, b * 32);
      uint16_t h[ACCUM_CHUNK] = {0};
      for (size_t i = 0; i < m; i++) memcpy(h + i, column + i * stride, sizeof *h);
      const v16 s0 = v16_load_f16(h), s1 = v16_load_f16(h + 16);
      size_t g = 0;
      for (; g + ACCUM_HEADS <= n_q; g += ACCUM_HEADS)
        accum_block(fmt, ACCUM_HEADS, acc + g * d + b * 32, d, p + g * ldp + t, ldp, s0, s1, column, stride, m, ahead);
      float *rest = acc + g * d + b * 32;
      const float *w = p + g * ldp + t;
      if (n_q - g == 3) accum_block(fmt, 3, rest, d, w, ldp, s0, s1, column, stride, m, ahead);
      if (n_q - g == 2) accum_block(fmt, 2, rest, d, w, ldp, s0, s1, column, stride, m, ahead);
      if (n_q - g == 1) accum_block(fmt, 1, rest, d, w, ldp, s0, s1, column, stride, m, ahead);
    }
  }
}

void TB_FN(attn_score_f32) TB_ATTN_SCORE_ARGS { score(TB_FMT_f32, s, lds, q, n_q, k, stride, n, d); }
void TB_FN(attn_score_f16) TB_ATTN_SCORE_ARGS { score(TB_FMT_f16, s, lds, q, n_q, k, stride, n, d); }
void TB_FN(attn_accum_f32) TB_ATTN_ACCUM_ARGS { accum(TB_FMT_f32, acc, p, ldp, n_q, v, stride, n, d); }
void TB_FN(attn_accum_f16) TB_ATTN_ACCUM_ARGS { accum(TB_FMT_f16, acc, p, ldp, n_q, v, stride, n, d); }
void TB_FN(attn_accum_q8_0) TB_ATTN_ACCUM_ARGS { accum_blocks(TB_FMT_q8_0, acc, p, ldp, n_q, v, stride, n, d); }
void TB_FN(attn_accum_q4_0) TB_ATTN_ACCUM_ARGS { accum_blocks(TB_FMT_q4_0, acc, p, ldp, n_q, v, stride, n, d); }
