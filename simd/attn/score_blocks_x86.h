/* attn_score over q8_0 and q4_0 rows for x86, tokens in lanes: TOKENS rows are transposed by dwords (four codes), so that
 * a dot product accumulates in the token's own lane and no register is ever summed across. The transposed codes serve all
 * query heads.
 *
 * The including file names its tier's vectors and defines
 *   v_rows(row, at)          16 bytes from row[0], row[4] … (one row per 128 bits)
 *   v_dot_q8(acc, k, q)      acc += four products of signed codes with bytes of the dword q, in every lane
 *   v_start_q8(sum)          the accumulator to begin a block with; `sum` is the block's sum of query codes
 *   v_dot_q4(acc, k, q), v_start_q4, v_finish_q4(acc, sum)      the same for codes 0 … 15, of which 8 is zero */
#include "simd/kernels.h"

#include <string.h>
#include "simd/vec/inline.h"

enum { HEADS = 16, MAX_BLOCKS = 16, Q8_BYTES = 34, Q4_BYTES = 18 };

struct tokens {
  const unsigned char *row[TOKENS]; /* rows that do not exist repeat the last one */
  float scale[MAX_BLOCKS][TOKENS];
};

static void find_tokens(struct tokens *t, const unsigned char *k, size_t stride, size_t n, size_t blocks, size_t bytes) {
  uint16_t h[MAX_BLOCKS][TOKENS];
  for (size_t i = 0; i < TOKENS; i++) {
    t->row[i] = k + (i < n ? i : n - 1) * stride;
    for (size_t b = 0; b < blocks; b++) memcpy(&h[b][i], t->row[i] + b * bytes, sizeof h[b][i]);
  }
  for (size_t b = 0; b < blocks; b++) v_store(t->scale[b], v_half(h[b]));
}

/* Dword j of 16 bytes at `at` of every row: out[j]. */
TB_INLINE void transpose16(vint *out, const struct tokens *t, size_t at) {
  vint a = v_rows(t->row, at), b = v_rows(t->row + 1, at), c = v_rows(t->row + 2, at), d = v_rows(t->row + 3, at);
  vint ab_lo = v_unpacklo32(a, b), ab_hi = v_unpackhi32(a, b), cd_lo = v_unpacklo32(c, d), cd_hi = v_unpackhi32(c, d);
  out[0] = v_unpacklo64(ab_lo, cd_lo);
  out[1] = v_unpackhi64(ab_lo, cd_lo);
  out[2] = v_unpacklo64(ab_hi, cd_hi);
  out[3] = v_unpackhi64(ab_hi, cd_hi);
}

/* The 32 codes of block b of every row, as v_dot_* wants them. */
TB_INLINE void load_codes(enum tb_format fmt, vint codes[8], const struct tokens *t, size_t b) {
  if (fmt == TB_FMT_q8_0) {
    transpose16(codes, t, b * Q8_BYTES + 2);
    transpose16(codes + 4, t, b * Q8_BYTES + 18);
    return;
  }
  transpose16(codes, t, b * Q4_BYTES + 2);
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

TB_INLINE void score_tokens(enum tb_format fmt, float *s, size_t lds, const struct tb_acts *q, size_t first, size_t n_q,
                            const struct tokens *t, size_t n) {
  vflt sum[HEADS];
  for (size_t g = 0; g < n_q; g++) sum[g] = v_setf(0);
  for (size_t b = 0; b < q->k / 32; b++) {
    vint codes[8];
    load_codes(fmt, codes, t, b);
    const vflt scale = v_loadf(t->scale[b]);
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

TB_INLINE void score(enum tb_format fmt, float *s, size_t lds, const struct tb_acts *q, size_t n_q, const void *k,
                     size_t stride, size_t n, size_t d) {
  struct tokens tokens;
  for (size_t t = 0; t < n; t += TOKENS) {
    const size_t m = n - t < TOKENS ? n - t : TOKENS;
    find_tokens(&tokens, (const unsigned char *)k + t * stride, stride, m, d / 32, tb_row_bytes(fmt, 32));
    for (size_t g = 0; g < n_q; g += HEADS)
      score_tokens(fmt, s + g * lds + t, lds, q, g, n_q - g < HEADS ? n_q - g : HEADS, &tokens, m);
  }
}

void TB_FN(attn_score_q8_0) TB_ATTN_SCORE_ARGS { score(TB_FMT_q8_0, s, lds, q, n_q, k, stride, n, d); }
void TB_FN(attn_score_q4_0) TB_ATTN_SCORE_ARGS { score(TB_FMT_q4_0, s, lds, q, n_q, k, stride, n, d); }
