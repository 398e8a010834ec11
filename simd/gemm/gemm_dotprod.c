/* gemm with dot product instructions (ARMv8.2). A vector of the panel holds four values of k of four rows; the
 * activation is taken from a lane, so that a result vector is four rows of one column. */
#define TB_TIER dotprod
enum { PANEL_ROWS = 8, SCALE_COPIES = 1 };

#include <arm_neon.h>

#include "simd/gemm/panel_arm.h"
#include "simd/vec/arm_dot.h"

/* Four rows, 16 values each, to four vectors of four values of every row. */
TB_INLINE void transpose4(int8_t *out, size_t apart, const int8_t *a, size_t row) {
  int32x4_t r0 = vreinterpretq_s32_s8(vld1q_s8(a)), r1 = vreinterpretq_s32_s8(vld1q_s8(a + row));
  int32x4_t r2 = vreinterpretq_s32_s8(vld1q_s8(a + 2 * row)), r3 = vreinterpretq_s32_s8(vld1q_s8(a + 3 * row));
  int64x2_t even01 = vreinterpretq_s64_s32(vtrn1q_s32(r0, r1)), odd01 = vreinterpretq_s64_s32(vtrn2q_s32(r0, r1));
  int64x2_t even23 = vreinterpretq_s64_s32(vtrn1q_s32(r2, r3)), odd23 = vreinterpretq_s64_s32(vtrn2q_s32(r2, r3));
  vst1q_s8(out, vreinterpretq_s8_s64(vtrn1q_s64(even01, even23)));
  vst1q_s8(out + apart, vreinterpretq_s8_s64(vtrn1q_s64(odd01, odd23)));
  vst1q_s8(out + 2 * apart, vreinterpretq_s8_s64(vtrn2q_s64(even01, even23)));
  vst1q_s8(out + 3 * apart, vreinterpretq_s8_s64(vtrn2q_s64(odd01, odd23)));
}

static void interleave(int8_t *panel, int8_t rows[PANEL_ROWS][K_SLICE], size_t groups) {
  for (size_t i = 0; i < 32 * groups; i += 16) {
    transpose4(panel + 8 * i, 32, &rows[0][i], K_SLICE);
    transpose4(panel + 8 * i + 16, 32, &rows[4][i], K_SLICE);
  }
}

static void pack_columns(int8_t *packed, const int8_t *const q[COLS], size_t groups) {
  for (size_t i = 0; i < 32 * groups; i += 16)
    for (size_t c = 0; c < COLS; c++) vst1q_s8(packed + COLS * i + 16 * c, vld1q_s8(q[c] + i));
}

#define EACH_COLUMN(DO) DO(0) DO(1) DO(2) DO(3)

/* Sixteen values of k of all rows and columns. low and high are rows 0-3 and 4-7. */
#define COLUMN(c, j)                                                                                                   \
  low##c = vdotq_laneq_s32(low##c, w0, x##c, j);                                                                       \
  high##c = vdotq_laneq_s32(high##c, w1, x##c, j);
/* Says that the sums changed in place: without it gcc moves them from register to register between the steps. */
#define KEEP __asm__("" : "+w"(low0), "+w"(low1), "+w"(low2), "+w"(low3), "+w"(high0), "+w"(high1), "+w"(high2), "+w"(high3));
#define FOUR(j)                                                                                                        \
  w0 = vld1q_s8(w + 32 * (j));                                                                                         \
  w1 = vld1q_s8(w + 32 * (j) + 16);                                                                                    \
  COLUMN(0, j) COLUMN(1, j) COLUMN(2, j) COLUMN(3, j) KEEP
#define LOAD(c) x##c = vld1q_s8(x + 16 * (c));
#define SIXTEEN                                                                                                        \
  EACH_COLUMN(LOAD)                                                                                                    \
  FOUR(0) FOUR(1) FOUR(2) FOUR(3)                                                                                      \
  w += 128;                                                                                                            \
  x += 64;

#define CLEAR(c) low##c = high##c = TB_BIAS;
#define SCALE(c)                                                                                                       \
  sum_low##c = vfmaq_f32(sum_low##c, tb_unbias(low##c), vmulq_laneq_f32(s0, d, c));                                \
  sum_high##c = vfmaq_f32(sum_high##c, tb_unbias(high##c), vmulq_laneq_f32(s1, d, c));
#define SCALE_ALL                                                                                                      \
  s0 = vld1q_f32(scales);                                                                                              \
  s1 = vld1q_f32(scales + 4);                                                                                          \
  scales += 8;                                                                                                         \
  EACH_COLUMN(SCALE)
#define MINIMUM(c)                                                                                                     \
  sum_low##c = vfmaq_laneq_f32(sum_low##c, s0, d, c);                                                                  \
  sum_high##c = vfmaq_laneq_f32(sum_high##c, s1, d, c);

TB_INLINE void micro_any(float out[COLS][PANEL_ROWS], const struct panel *p, const struct columns *columns,
                         size_t groups, int n_scales, int n_minima) {
  const int8_t *w = p->codes, *x = columns->codes;
  const float *scales = p->scales, *minima = p->minima, *ds = columns->ds;
  int8x16_t w0, w1, x0, x1, x2, x3;
  int32x4_t low0, low1, low2, low3, high0, high1, high2, high3;
  float32x4_t s0, s1, d, sum_low0 = vdupq_n_f32(0), sum_low1 = sum_low0, sum_low2 = sum_low0, sum_low3 = sum_low0;
  float32x4_t sum_high0 = sum_low0, sum_high1 = sum_low0, sum_high2 = sum_low0, sum_high3 = sum_low0;
  for (size_t g = 0; g < groups; g++) {
    d = vld1q_f32(columns->d + COLS * g);
    EACH_COLUMN(CLEAR)
    SIXTEEN
    if (n_scales == 2) {
      SCALE_ALL
      EACH_COLUMN(CLEAR)
    }
    SIXTEEN
    SCALE_ALL
    for (int i = 0; i < n_minima; i++) {
      s0 = vld1q_f32(minima);
      s1 = vld1q_f32(minima + 4);
      d = vld1q_f32(ds);
      minima += 8;
      ds += COLS;
      EACH_COLUMN(MINIMUM)
    }
  }
#define STORE(c)                                                                                                       \
  vst1q_f32(out[c], sum_low##c);                                                                                       \
  vst1q_f32(out[c] + 4, sum_high##c);
  EACH_COLUMN(STORE)
}

#define KIND(n_scales, n_minima)                                                                                       \
  static void micro_##n_scales##_##n_minima(float out[COLS][PANEL_ROWS], const struct panel *p,                        \
                                            const struct columns *columns, size_t groups) {                            \
    micro_any(out, p, columns, groups, n_scales, n_minima);                                                            \
  }
KIND(1, 0)
KIND(1, 1)
KIND(1, 2)
KIND(2, 0)

#define MICRO(fit, n_scales, n_minima) micro_##n_scales##_##n_minima
#include "simd/gemm/gemm_arm.h"
