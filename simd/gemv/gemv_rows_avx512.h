/* gemv for AVX-512 VNNI: what the block formats share. A row is read along k, whole vectors of codes at a time: four
 * rows share what is computed from the activations (a span), and the lanes of a row's sum are added at its end. Rows
 * are summed in the same order wherever they stand.
 *
 * A format has a span of activations with its loader,
 *   load_<format>(x, acts, i, blocks)      from value i on, for so many blocks
 * a preparation of what is decoded for all rows at once, the blocks of row r at w + r · gap,
 *   heads_<format>(x, w, gap, rows)
 * and a step that adds the products of row r's blocks with it,
 *   acc = step_<format>(acc, w, x, blocks, r).
 * Scales and codes all lie at even bytes: vpermw brings them from one or two vectors to their lanes. */
#ifndef TB_SIMD_GEMV_GEMV_ROWS_AVX512_H
#define TB_SIMD_GEMV_GEMV_ROWS_AVX512_H

#include "simd/kernels.h"
#include "simd/vec/lanes_avx512.h"

#define LANES_OF(a, b, c, d) _mm512_setr_epi32(a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d)

/* 0 - offset · Σ over the four activations of every lane: where a dot product of codes that are stored with an offset
 * starts. */
V_INLINE vint row_start(vint x, int offset) {
  return _mm512_sub_epi32(_mm512_setzero_si512(), v_dot4(_mm512_setzero_si512(), v_set8(offset), x));
}

/* A half-precision number in all lanes. */
V_INLINE vflt row_half(const unsigned char *p) {
  short v;
  memcpy(&v, p, sizeof v);
  return _mm512_cvtph_ps(_mm256_set1_epi16(v));
}

/* acc + dots · scale, lane by lane. */
V_INLINE vflt row_add(vflt acc, vint dots, vflt scale) { return v_fma(v_float(dots), scale, acc); }

/* Nibbles as the 16 levels of iq4_nl and iq4_xs, with an offset of V_BIAS8. */
V_INLINE vint row_levels(vint nibbles) {
  static const signed char levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  return v_shuffle8(v_code8(v_table((const unsigned char *)levels)), nibbles);
}

V_INLINE vint row_low(vint a) { return v_and(a, v_set8(15)); }
V_INLINE vint row_high(vint a) { return v_and(v_srl(a, 4), v_set8(15)); }

/* The lines of a span of `bytes` bytes at p. */
V_INLINE void row_fetch(const unsigned char *p, int bytes) {
  V_UNROLL
  for (int at = 0; at < bytes; at += 64) v_prefetch(p + at);
}

/* Rows are read as four streams that lie a quarter of the matrix apart, each of them without a gap: prefetchers follow
 * such streams, and lose those of neighbouring rows, which advance together within one page. What they bring to the
 * second-level cache is asked for this many bytes ahead: the best of 512 to 4096 on Zen 5. */
#define STREAMS TB_GEMV_RUNS
#define AHEAD 2048
#define AHEAD_FLOATS 1024

/* Every row is decoded alone. */
#define NO_HEADS(format, span)                                                                                         \
  V_INLINE void heads_##format(span *s, const unsigned char *w, size_t gap, int rows) { (void)s, (void)w, (void)gap, (void)rows; }

/* tb_gemv_<format>_avx512: spans of `many` blocks of `bytes` bytes and `values` values, and a shorter one at the end. */
#define ROWS_GEMV(format, span, values, bytes, many)                                                                   \
  V_INLINE void rows_##format(float *y, const unsigned char *w, const struct tb_acts *x, int rows, size_t apart,       \
                              size_t gap) {                                                                            \
    enum { SPAN_BYTES = (many) * (bytes) };                                                                            \
    const size_t rest = x->k / (values) % (many);                                                                      \
    vflt acc[STREAMS] = {v_zero(), v_zero(), v_zero(), v_zero()};                                                      \
    span s;                                                                                                            \
    size_t i = 0;                                                                                                      \
    for (; i + (many) * (values) <= x->k; i += (many) * (values), w += SPAN_BYTES) {                                   \
      load_##format(&s, x, i, many);                                                                                   \
      heads_##format(&s, w, gap, rows);                                                                                \
      V_UNROLL                                                                                                         \
      for (int r = 0; r < rows; r++) {                                                                                 \
        row_fetch(w + (size_t)r * gap + AHEAD, SPAN_BYTES);                                                            \
        acc[r] = step_##format(acc[r], w + (size_t)r * gap, &s, many, r);                                              \
      }                                                                                                                \
    }                                                                                                                  \
    if (rest) {                                                                                                        \
      load_##format(&s, x, i, rest);                                                                                   \
      heads_##format(&s, w, gap, rows);                                                                                \
      for (int r = 0; r < rows; r++) acc[r] = step_##format(acc[r], w + (size_t)r * gap, &s, rest, r);                 \
    }                                                                                                                  \
    for (int r = 0; r < rows; r++) y[(size_t)r * apart] = v_sum(acc[r]);                                               \
  }                                                                                                                    \
  void tb_gemv_runs_##format##_avx512 TB_GEMV_RUNS_ARGS {                                                              \
    const unsigned char *p = w;                                                                                        \
    for (size_t r = 0; r < rows; r++) rows_##format(y + r, p + r * row_bytes, x, STREAMS, ldy, apart * row_bytes);     \
  }                                                                                                                    \
  void tb_gemv_##format##_avx512 TB_GEMV_ARGS {                                                                        \
    const unsigned char *p = w;                                                                                        \
    const size_t apart = rows / STREAMS;                                                                               \
    tb_gemv_runs_##format##_avx512(y, apart, p, row_bytes, apart, apart, x);                                           \
    for (size_t r = apart * STREAMS; r < rows; r++) rows_##format(y + r, p + r * row_bytes, x, 1, 0, 0);               \
  }

#endif
