/* attn_score over q8_0 and q4_0 rows for x86, tokens in lanes: TOKENS rows are transposed by dwords (four codes), so that
 * a dot product accumulates in the token's own lane and no register is ever summed across. The transposed codes serve all
 * query heads.
 *
 * The including file names its tier's vectors and defines
 *   v_rows(p, four)          16 bytes from p, p + four, p + 2·four … (one row per 128 bits)
 *   v_dot_q8(acc, k, q)      acc += four products of signed codes with bytes of the dword q, in every lane
 *   v_start_q8(sum)          the accumulator to begin a block with; `sum` is the block's sum of query codes
 *   v_dot_q4(acc, k, q), v_start_q4, v_finish_q4(acc, sum)      the same for codes 0 … 15, of which 8 is zero */
#include "simd/kernels.h"

#include <string.h>
#include "simd/attn/ahead.h"
#include "simd/vec/inline.h"

enum { HEADS = 16, MAX_BLOCKS = 16, Q8_BYTES = 34, Q4_BYTES = 18, AT_ONCE = 64 };

/* TOKENS rows from `row` on, `stride` bytes apart, and the scales of their blocks, `scale` + b · AT_ONCE. */
struct tokens {
  const unsigned char *row;
  size_t stride, ahead;
  const uint16_t *scale;
};

/* Dword j of 16 bytes at `p` of every row: out[j]. */
TB_INLINE void transpose16(vint *out, const unsigned char *p, size_t stride) {
  const size_t four = 4 * stride;
  vint a = v_rows(p, four), b = v_rows(p + stride, four), c = v_rows(p + 2 * stride, four),
       d = v_rows(p + 3 * stride, four);
  vint ab_lo = v_unpacklo32(a, b), ab_hi = v_unpackhi32(a, b), cd_lo = v_unpacklo32(c, d), cd_hi = v_unpackhi32(c, d);
  out[0] = v_unpacklo64(ab_lo, cd_lo);
  out[1] = v_unpackhi64(ab_lo, cd_lo);
  out[2] = v_unpacklo64(ab_hi, cd_hi);
  out[3] = v_unpackhi64(ab_hi, cd_hi);
}

/* The 32 codes of block b of every row, as v_dot_* wants them. */
TB_INLINE void load_codes(enum tb_format fmt, vint codes[8], const struct tokens *t, size_t b) {
  const size_t bytes = fmt == TB_FMT_q8_0 ? Q8_BYTES : Q4_BYTES;
  const unsigned char *codes_of_first = t->row + b * bytes + 2;
  fetch_ahead(t->row + b * TOKENS * bytes, TOKENS * bytes, t->ahead);
  transpose16(codes, codes_of_first, t->stride);
  if (fmt == TB_FMT_q8_0) {
    transpose16(codes + 4, codes_of_first + 16, t->stride);
    return;
  }
  TB_UNROLL for (int j = 0; j < 4; j++) {
    codes[4 + j] = v_high_nibbles(codes[j]);
    codes[j] = v_low_nibbles(codes[j]);
  }
}

/* sum[g] += (dK·dq)·dot of one block, for `heads` query heads whose columns are k apart. */
TB_INLINE void add_block(enum tb_format fmt, int heads, vflt *sum, const vint codes[8], vflt scale,
                         const struct tb_acts *q, size_t first, size_t b) {
  const size_t blocks = q->k / 32;
  vint acc[4];
  int total[4];
  TB_UNROLL for (int g = 0; g < heads; g++) {
    const int16_t *s = q->s + 2 * ((first + (size_t)g) * blocks + b);
    total[g] = s[0] + s[1];
    acc[g] = fmt == TB_FMT_q8_0 ? v_start_q8(total[g]) : v_start_q4(total[g]);
  }
  TB_UNROLL for (int j = 0; j < 8; j++) {
    TB_UNROLL for (int g = 0; g < heads; g++) {
      int32_t four;
      memcpy(&four, q->q + (first + (size_t)g) * q->k + 32 * b + 4 * (size_t)j, sizeof four);
      acc[g] = fmt == TB_FMT_q8_0 ? v_dot_q8(acc[g], codes[j], v_set32(four)) : v_dot_q4(acc[g], codes[j], v_set32(four));
    }
  }
  TB_UNROLL for (int g = 0; g < heads; g++) {
    vint dot = fmt == TB_FMT_q8_0 ? acc[g] : v_finish_q4(acc[g], total[g]);
    vflt d = v_mul(scale, v_setf(q->d[(first + (size_t)g) * blocks + b]));
    sum[g] = v_addf(sum[g], v_mul(d, v_float(dot)));
  }
}

/* Up to four heads keep their sums in registers; n_q is constant then. */
TB_INLINE void score_tokens(enum tb_format fmt, float *s, size_t lds, const struct tb_acts *q, size_t first, size_t n_q,
                            const struct tokens *t, size_t n) {
  vflt sum[HEADS];
  for (size_t g = 0; g < n_q; g++) sum[g] = v_setf(0);
  for (size_t b = 0; b < q->k / 32; b++) {
    vint codes[8];
    load_codes(fmt, codes, t, b);
    const vflt scale = v_half(t->scale + b * AT_ONCE);
    size_t g = 0;
    for (; g + 4 <= n_q; g += 4) add_block(fmt, 4, sum + g, codes, scale, q, first + g, b);
    if (n_q - g >= 2) {
      add_block(fmt, 2, sum + g, codes, scale, q, first + g, b);
      g += 2;
    }
    if (g < n_q) add_block(fmt, 1, sum + g, codes, scale, q, first + g, b);
  }
  for (size_t g = 0; g < n_q; g++) v_store_n(s + g * lds, sum[g], n);
}

TB_INLINE void score_heads(enum tb_format fmt, float *s, size_t lds, const struct tb_acts *q, size_t n_q,
                           const struct tokens *t, size_t n) {
  if (n_q == 4) score_tokens(fmt, s, lds, q, 0, 4, t, n);
  else if (n_q == 3) score_tokens(fmt, s, lds, q, 0, 3, t, n);
  else if (n_q == 2) score_tokens(fmt, s, lds, q, 0, 2, t, n);
  else if (n_q == 1) score_tokens(fmt, s, lds, q, 0, 1, t, n);
  else
    for (size_t g = 0; g < n_q; g += HEADS)
      score_tokens(fmt, s + g * lds, lds, q, g, n_q - g < HEADS ? n_q - g : HEADS, t, n);
}

/* The scales are gathered for many rows before they are used: read back at once, their stores would have to drain. */
TB_INLINE void score(enum tb_format fmt, float *s, size_t lds, const struct tb_acts *q, size_t n_q, const void *k,
                     size_t stride, size_t n, size_t d) {
  const size_t bytes = fmt == TB_FMT_q8_0 ? Q8_BYTES : Q4_BYTES, blocks = d / 32;
  uint16_t scale[MAX_BLOCKS * AT_ONCE];
  unsigned char copy[TOKENS * MAX_BLOCKS * Q8_BYTES];
  for (size_t from = 0; from < n; from += AT_ONCE) {
    const unsigned char *rows = (const unsigned char *)k + from * stride;
    const size_t m = n - from < AT_ONCE ? n - from : AT_ONCE;
    for (size_t t = 0; t < m; t++)
      for (size_t b = 0; b < blocks; b++) memcpy(scale + b * AT_ONCE + t, rows + t * stride + b * bytes, sizeof *scale);
    for (size_t t = 0; t < m; t += TOKENS) {
      const size_t left = m - t < TOKENS ? m - t : TOKENS;
      struct tokens tokens = {rows + t * stride, stride, ahead_of(n), scale + t};
      if (left < TOKENS) { /* nothing is read past the last row: zeros stand for those behind it */
        memset(copy, 0, sizeof copy);
        for (size_t i = 0; i < left; i++) memcpy(copy + i * blocks * bytes, tokens.row + i * stride, blocks * bytes);
        for (size_t b = 0; b < blocks; b++) memset(scale + b * AT_ONCE + m, 0, (TOKENS - left) * sizeof *scale);
        tokens.row = copy;
        tokens.stride = blocks * bytes;
      }
      score_heads(fmt, s + from + t, lds, q, n_q, &tokens, left);
    }
  }
}

void TB_FN(attn_score_q8_0) TB_ATTN_SCORE_ARGS { score(TB_FMT_q8_0, s, lds, q, n_q, k, stride, n, d); }
void TB_FN(attn_score_q4_0) TB_ATTN_SCORE_ARGS { score(TB_FMT_q4_0, s, lds, q, n_q, k, stride, n, d); }
