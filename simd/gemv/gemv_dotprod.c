/* gemv with dot product instructions (ARMv8.2).
 *
 * Blocks of 32: eight rows run side by side, four to a group whose sums share a vector, so that one block is scaled in
 * four rows at once. Codes stay in file order. */
#define TB_TIER dotprod
#include "simd/gemv/gemv_arm.h"

#include <stdbool.h>

/* Loads that move their pointer on: gcc makes two instructions of the same in C. A number in lane 0 begins a new vector,
 * which need not wait for the one before. */
#define READS(n, p) "m"(*(const struct { uint8_t b[n]; } *)(p))
#define TAKE_HALF(v, p) __asm__("ldr %h0, [%1], #2" : "=w"(v), "+r"(p) : READS(2, p))
#define TAKE_HALF_LANE(v, lane, p) __asm__("ld1 {%0.h}[" #lane "], [%1], #2" : "+w"(v), "+r"(p) : READS(2, p))
#define TAKE_PAIR(v, p) __asm__("ldr %s0, [%1], #4" : "=w"(v), "+r"(p) : READS(4, p))
#define TAKE_PAIR_LANE(v, lane, p) __asm__("ld1 {%0.s}[" #lane "], [%1], #4" : "+w"(v), "+r"(p) : READS(4, p))
#define TAKE_16(v, p) __asm__("ldr %q0, [%1], #16" : "=w"(v), "+r"(p) : READS(16, p))
#define TAKE_32(v0, v1, p) __asm__("ldp %q0, %q1, [%2], #32" : "=w"(v0), "=w"(v1), "+r"(p) : READS(32, p))
#define TAKE_SPREAD(v, p) __asm__("ld1r {%0.4s}, [%1], #4" : "=w"(v), "+r"(p) : READS(4, p))

/* Four blocks of activations: scales, sums of 32 codes. */
struct span {
  float32x4_t d, s;
  float32x4_t ds; /* d · s, the factor of a minimum */
};

TB_INLINE void take_span(struct span *v, const float **d, const int16_t **s) {
  int16x8_t sums;
  TAKE_16(v->d, *d);
  TAKE_16(sums, *s);
  v->s = vcvtq_f32_s32(vpaddlq_s16(sums));
  v->ds = vmulq_f32(v->d, v->s);
}

/* Four rows: where they are, and their sums. */
struct group {
  const uint8_t *p[4];
  struct tb_sums sums;
  float32x4_t acc;
  uint16x8_t d; /* fp16 numbers of the current block: scales, or scales and minima by turns */
};

TB_INLINE void take_nibbles(int8x16_t w[2], const uint8_t **p) {
  uint8x16_t v;
  TAKE_16(v, *p);
  w[0] = tb_low_nibbles(v);
  w[1] = tb_high_nibbles(v);
}

/* Codes with a fifth bit, 0 … 31. */
TB_INLINE void take_five(int8x16_t w[2], const uint8_t **p) {
  uint8x16_t high;
  TAKE_SPREAD(high, *p);
  take_nibbles(w, p);
  w[0] = tb_fifth(w[0], high, 0);
  w[1] = tb_fifth(w[1], high, 2);
}

TB_INLINE void take_q8_0(int8x16_t w[2], const uint8_t **p) { TAKE_32(w[0], w[1], *p); }
TB_INLINE void take_q4_0(int8x16_t w[2], const uint8_t **p) { take_nibbles(w, p); }
TB_INLINE void take_q4_1(int8x16_t w[2], const uint8_t **p) { take_nibbles(w, p); }
TB_INLINE void take_q5_0(int8x16_t w[2], const uint8_t **p) { take_five(w, p); }
TB_INLINE void take_q5_1(int8x16_t w[2], const uint8_t **p) { take_five(w, p); }
TB_INLINE void take_iq4_nl(int8x16_t w[2], const uint8_t **p) {
  const int8x16_t levels = vld1q_s8(tb_iq4_levels_arm);
  take_nibbles(w, p);
  w[0] = vqtbl1q_s8(levels, vreinterpretq_u8_s8(w[0]));
  w[1] = vqtbl1q_s8(levels, vreinterpretq_u8_s8(w[1]));
}
typedef void take_codes(int8x16_t w[2], const uint8_t **p);

/* Running sums of codes of few bits start at the bits of the float 3 · 2^22. Up to 2^22 away from there integers and the
 * floats with their bits differ by the same amounts: one subtraction of floats gives what was added, and no conversion is
 * needed. So many spans of codes up to `top` stay that near. */
enum { FLOAT_START = 0x4b400000 };
#define FEW_BITS(top) ((top) < 32)
#define NEAR_SPANS(top) (((size_t)1 << 22) / (128 * 127 * (top)))

TB_INLINE void restart(struct tb_sums *s, int top) {
  if (!FEW_BITS(top)) return;
  for (int r = 0; r < 4; r++) s->sum[r] = vsetq_lane_s32(FLOAT_START, vdupq_n_s32(0), 0);
  s->total = vdupq_n_s32(FLOAT_START);
}

TB_INLINE float32x4_t added_as_floats(struct tb_sums *s) {
  const float32x4_t before = vreinterpretq_f32_s32(s->total);
  tb_sums_added(s);
  return vsubq_f32(vreinterpretq_f32_s32(s->total), before);
}

/* Row r: the scale of its block, and the minimum behind it, then the codes. */
#define ROW(g, r)                                                                                                      \
  if (minima && r == 0)                                                                                                \
    TAKE_PAIR((g)->d, (g)->p[r]);                                                                                      \
  else if (minima)                                                                                                     \
    TAKE_PAIR_LANE((g)->d, r, (g)->p[r]);                                                                              \
  else if (r == 0)                                                                                                     \
    TAKE_HALF((g)->d, (g)->p[r]);                                                                                      \
  else                                                                                                                 \
    TAKE_HALF_LANE((g)->d, r, (g)->p[r]);                                                                              \
  take(codes, &(g)->p[r]);                                                                                             \
  (g)->sums.sum[r] = vdotq_s32(vdotq_s32((g)->sums.sum[r], codes[0], x0), codes[1], x1);

#define FOUR_ROWS(g, j)                                                                                                \
  do {                                                                                                                 \
    int8x16_t codes[2];                                                                                                \
    ROW(g, 0) ROW(g, 1) ROW(g, 2) ROW(g, 3)                                                                            \
    float32x4_t dots = FEW_BITS(top) ? added_as_floats(&(g)->sums) : vcvtq_f32_s32(tb_sums_added(&(g)->sums));         \
    if (offset) dots = vfmsq_laneq_f32(dots, offsets, v.s, j);                                                         \
    const uint16x8_t scales = minima ? vuzp1q_u16((g)->d, (g)->d) : (g)->d;                                            \
    (g)->acc = vfmaq_f32((g)->acc, dots, vmulq_laneq_f32(halves(scales), v.d, j));                                     \
    if (minima) (g)->acc = vfmaq_laneq_f32((g)->acc, halves(vuzp2q_u16((g)->d, (g)->d)), v.ds, j);                     \
  } while (0)

/* Block j of the span in all rows. */
#define STEP(j)                                                                                                        \
  do {                                                                                                                 \
    int8x16_t x0, x1;                                                                                                  \
    TAKE_32(x0, x1, q);                                                                                                \
    FOUR_ROWS(a, j);                                                                                                   \
    if (n > 1) FOUR_ROWS(b, j);                                                                                        \
  } while (0)

TB_INLINE float32x4_t halves(uint16x8_t v) { return vcvt_f32_f16(vget_low_f16(vreinterpretq_f16_u16(v))); }

/* Rows past the last repeat it; their sums are dropped. */
TB_INLINE void begin(struct group *g, const uint8_t *w, size_t row_bytes, size_t rows) {
  g->p[0] = w;
  g->p[1] = w + (rows > 1 ? 1 : 0) * row_bytes;
  g->p[2] = w + (rows > 2 ? 2 : rows - 1) * row_bytes;
  g->p[3] = w + (rows > 3 ? 3 : rows - 1) * row_bytes;
}

/* From the ends of rows to those of the next eight. The hardware follows eight streams, but cannot know where the eight
 * behind them begin: those lines are asked for. */
#define NEXT(r)                                                                                                        \
  g->p[r] += 7 * row_bytes;                                                                                            \
  __builtin_prefetch(g->p[r] + 8 * row_bytes);
TB_INLINE void next_rows(struct group *g, size_t row_bytes) {
  EACH_ROW(4, NEXT);
}

TB_INLINE void end(float *y, const struct group *g, size_t rows) {
  if (rows >= 4) {
    vst1q_f32(y, g->acc);
    return;
  }
  float out[4];
  vst1q_f32(out, g->acc);
  memcpy(y, out, rows * sizeof *y);
}

/* The activations, and their last blocks that make no whole span, zeros behind them. */
struct column {
  const int8_t *q;
  const float *d;
  const int16_t *s;
  size_t spans, rest;
  float rest_d[4];
  int16_t rest_s[8];
};

TB_INLINE struct column column_of(const struct tb_acts *x) {
  struct column c = {.q = x->q, .d = x->d, .s = x->s, .spans = x->k / 128, .rest = x->k % 128 / 32};
  memcpy(c.rest_d, c.d + 4 * c.spans, c.rest * sizeof *c.d);
  memcpy(c.rest_s, c.s + 8 * c.spans, c.rest * 2 * sizeof *c.s);
  return c;
}

/* n groups of four rows: 2, or 1 of which not all need be there. The largest code is top. */
TB_INLINE void block_rows(float *y, size_t rows, const struct column *x, struct group *a, struct group *b, take_codes *take,
                          int top, int offset, bool minima, int n) {
  const float32x4_t offsets = vdupq_n_f32((float)offset);
  const int8_t *q = x->q, *spans_end = q + 128 * x->spans;
  const float *d = x->d;
  const int16_t *s = x->s;
  struct span v;
  a->acc = b->acc = vdupq_n_f32(0);
  while (q != spans_end) {
    const int8_t *stop = spans_end;
    if (FEW_BITS(top) && (size_t)(stop - q) > 128 * NEAR_SPANS(top)) stop = q + 128 * NEAR_SPANS(top);
    restart(&a->sums, top);
    if (n > 1) restart(&b->sums, top);
    while (q != stop) {
      take_span(&v, &d, &s);
      STEP(0);
      STEP(1);
      STEP(2);
      STEP(3);
    }
  }
  if (x->rest) {
    d = x->rest_d;
    s = x->rest_s;
    take_span(&v, &d, &s);
    restart(&a->sums, top);
    if (n > 1) restart(&b->sums, top);
    STEP(0);
    if (x->rest > 1) STEP(1);
    if (x->rest > 2) STEP(2);
  }
  end(y, a, rows);
  if (n > 1) end(y + 4, b, 4);
}

TB_INLINE void block_gemv(float *y, const uint8_t *w, size_t row_bytes, size_t rows, const struct tb_acts *acts, take_codes *take,
                          int top, int offset, bool minima) {
  const struct column x = column_of(acts);
  struct group a = {0}, b = {0};
  size_t r = 0;
  if (rows >= 8) {
    begin(&a, w, row_bytes, 4);
    begin(&b, w + 4 * row_bytes, row_bytes, 4);
  }
  for (; r + 8 <= rows; r += 8) {
    block_rows(y + r, 8, &x, &a, &b, take, top, offset, minima, 2);
    next_rows(&a, row_bytes);
    next_rows(&b, row_bytes);
  }
  for (; r < rows; r += 4) {
    begin(&a, w + r * row_bytes, row_bytes, rows - r);
    block_rows(y + r, rows - r, &x, &a, &b, take, top, offset, minima, 1);
  }
}

#define BLOCK_GEMV(format, top, offset, minima)                                                                        \
  void TB_GEMV_NAME(format) TB_GEMV_ARGS {                                                                             \
    block_gemv(y, w, row_bytes, rows, x, take_##format, top, offset, minima);                                          \
  }

BLOCK_GEMV(q8_0, 128, 0, false)
BLOCK_GEMV(q4_0, 15, 8, false)
BLOCK_GEMV(q4_1, 15, 0, true)
BLOCK_GEMV(q5_0, 31, 16, false)
BLOCK_GEMV(q5_1, 31, 0, true)
BLOCK_GEMV(iq4_nl, 127, 0, false)
