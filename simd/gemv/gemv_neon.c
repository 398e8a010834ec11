/* gemv with plain NEON (ARMv8.0). Blocks of 32, four at a time: four rows run side by side, as in gemv_arm.h. */
#define TB_TIER neon
#include "simd/gemv/gemv_arm.h"

/* 128 activations: codes, scales, sums of 32 codes; all of them zero past the end of a row. */
struct span {
  int8x16_t x[8];
  float32x4_t d;
  int32x4_t bias; /* TB_BIAS - offset · s: what turns sums of codes into sums of signed codes, ready for tb_unbias() */
  float32x4_t ds; /* d · s, the factor of a minimum */
};

/* The last, incomplete span of a column. */
struct tail {
  int8_t q[128];
  float d[4];
  int16_t s[8];
};

TB_INLINE void load_span(struct span *v, const int8_t *q, const float *d, const int16_t *s, int offset) {
  const int32x4_t sums = vpaddlq_s16(vld1q_s16(s));
  load_codes(v->x, q);
  v->d = vld1q_f32(d);
  v->bias = vmlsq_n_s32(TB_BIAS, sums, offset);
  v->ds = vmulq_f32(v->d, vcvtq_f32_s32(sums));
}

/* The blocks b (four) times the span, added to acc; one of these per format. */
typedef float32x4_t block_step(float32x4_t acc, const uint8_t *b, const struct span *v);

static inline void load_tail(struct tail *t, const struct tb_acts *x) {
  const size_t at = x->k / 128 * 128, n = x->k - at;
  *t = (struct tail){{0}, {0}, {0}};
  memcpy(t->q, x->q + at, n);
  memcpy(t->d, x->d + at / 32, n / 32 * sizeof *t->d);
  memcpy(t->s, x->s + at / 16, n / 16 * sizeof *t->s);
}

TB_INLINE float32x4_t tail_step(float32x4_t acc, const uint8_t *b, size_t bytes, const struct span *v, block_step *step) {
  uint8_t padded[4 * 34] = {0}; /* 34: the largest block of 32 values */
  memcpy(padded, b, bytes);
  return step(acc, padded, v);
}

TB_INLINE void block_rows(float *y, const uint8_t *w, size_t row_bytes, const struct tb_acts *x, const struct tail *tail,
                          size_t block_bytes, int offset, block_step *step, int n) {
  float32x4_t acc0 = vdupq_n_f32(0), acc1 = acc0, acc2 = acc0, acc3 = acc0;
  const uint8_t *w0 = w, *w1 = w + row_bytes, *w2 = w1 + row_bytes, *w3 = w2 + row_bytes;
  const size_t spans = x->k / 128, rest = x->k % 128 / 32 * block_bytes;
  struct span v;
  for (size_t i = 0; i < spans; i++) {
    load_span(&v, x->q + 128 * i, x->d + 4 * i, x->s + 8 * i, offset);
#define STEP(r)                                                                                                        \
  __builtin_prefetch(w##r + AHEAD);                                                                                    \
  acc##r = step(acc##r, w##r, &v);                                                                                     \
  w##r += 4 * block_bytes;
    EACH_ROW(n, STEP);
#undef STEP
  }
  if (rest) {
    load_span(&v, tail->q, tail->d, tail->s, offset);
#define TAIL(r) acc##r = tail_step(acc##r, w##r, rest, &v, step);
    EACH_ROW(n, TAIL);
#undef TAIL
  }
#define STORE(r) y[r] = vaddvq_f32(acc##r);
  EACH_ROW(n, STORE);
#undef STORE
}

#define BLOCK_GEMV(format, bytes)                                                                                      \
  void TB_GEMV_NAME(format) TB_GEMV_ARGS {                                                                             \
    struct tail tail;                                                                                                  \
    load_tail(&tail, x);                                                                                               \
    size_t r = 0;                                                                                                      \
    for (; r + 4 <= rows; r += 4)                                                                                      \
      block_rows(y + r, (const uint8_t *)w + r * row_bytes, row_bytes, x, &tail, bytes, TB_OFFSET_##format,            \
                 step_##format, 4);                                                                                    \
    for (; r < rows; r++)                                                                                              \
      block_rows(y + r, (const uint8_t *)w + r * row_bytes, row_bytes, x, &tail, bytes, TB_OFFSET_##format,            \
                 step_##format, 1);                                                                                    \
  }

/* value = d·(code - offset) */
#define SYMMETRIC(format, bytes)                                                                                       \
  TB_INLINE float32x4_t step_##format(float32x4_t acc, const uint8_t *b, const struct span *v) {                       \
    int8x16_t w[8];                                                                                                    \
    tb_codes_##format(w, b);                                                                                           \
    int32x4_t dots = tb_dots32(w, v->x, TB_FIT_##format);                                                              \
    float32x4_t sums = TB_OFFSET_##format ? tb_unbias(vaddq_s32(dots, v->bias)) : vcvtq_f32_s32(dots);                 \
    return vfmaq_f32(acc, sums, vmulq_f32(tb_halves_apart(b, bytes), v->d));                                           \
  }                                                                                                                    \
  BLOCK_GEMV(format, bytes)

/* value = d·code + m */
#define WITH_MINIMUM(format, bytes)                                                                                    \
  TB_INLINE float32x4_t step_##format(float32x4_t acc, const uint8_t *b, const struct span *v) {                       \
    int8x16_t w[8];                                                                                                    \
    tb_codes_##format(w, b);                                                                                           \
    float32x4_t dots = vcvtq_f32_s32(tb_dots32(w, v->x, TB_FIT_##format));                                             \
    acc = vfmaq_f32(acc, dots, vmulq_f32(tb_halves_apart(b, bytes), v->d));                                            \
    return vfmaq_f32(acc, tb_halves_apart(b + 2, bytes), v->ds);                                                       \
  }                                                                                                                    \
  BLOCK_GEMV(format, bytes)

SYMMETRIC(q8_0, 34)
SYMMETRIC(q4_0, 18)
SYMMETRIC(q5_0, 22)
SYMMETRIC(iq4_nl, 18)
WITH_MINIMUM(q4_1, 20)
WITH_MINIMUM(q5_1, 24)
