/* gemm with plain NEON (ARMv8.0): widening multiplies along k, four rows at a time; sums of 16-bit pairs are folded as
 * late as the format's `fit` allows (simd/vec/arm_dot.h). A result vector is four rows of one column. */
#define TB_TIER neon
enum { PANEL_ROWS = 4, SCALE_COPIES = 1 };

#include <arm_neon.h>

#include "simd/gemm/panel_arm.h"
#include "simd/vec/arm_dot.h"

/* Rows one after the other inside a group of 32. */
static void interleave(int8_t *panel, int8_t rows[PANEL_ROWS][K_SLICE], size_t groups) {
  for (size_t i = 0; i < 32 * groups; i += 32)
    for (size_t r = 0; r < PANEL_ROWS; r++, panel += 32) {
      vst1q_s8(panel, vld1q_s8(&rows[r][i]));
      vst1q_s8(panel + 16, vld1q_s8(&rows[r][i + 16]));
    }
}

static void pack_columns(int8_t *packed, const int8_t *const q[COLS], size_t groups) {
  for (size_t i = 0; i < 32 * groups; i += 32)
    for (size_t c = 0; c < COLS; c++, packed += 32) {
      vst1q_s8(packed, vld1q_s8(q[c] + i));
      vst1q_s8(packed + 16, vld1q_s8(q[c] + i + 16));
    }
}

#define EACH_COLUMN(DO) DO(0) DO(1) DO(2) DO(3)

/* Lane r: row r times the column, over 16 or 32 values. */
TB_INLINE int32x4_t rows16(const int8x16_t w[8], int8x16_t x, int at, int fit) {
  const int8x16_t rows[4] = {w[at], w[at + 2], w[at + 4], w[at + 6]}, same[4] = {x, x, x, x};
  return tb_dots16(rows, same, fit);
}
TB_INLINE int32x4_t rows32(const int8x16_t w[8], int8x16_t x0, int8x16_t x1, int fit) {
  const int8x16_t same[8] = {x0, x1, x0, x1, x0, x1, x0, x1};
  return tb_dots32(w, same, fit);
}

#define SCALE(c, at, dots) sum##c = vfmaq_f32(sum##c, vcvtq_f32_s32(dots), vmulq_laneq_f32(vld1q_f32(scales + (at)), d, c));
#define COLUMN(c)                                                                                                      \
  {                                                                                                                    \
    int8x16_t x0 = vld1q_s8(x + 32 * (c)), x1 = vld1q_s8(x + 32 * (c) + 16);                                           \
    if (n_scales == 1) SCALE(c, 0, rows32(w, x0, x1, fit))                                                             \
    if (n_scales == 2) {                                                                                               \
      SCALE(c, 0, rows16(w, x0, 0, fit))                                                                               \
      SCALE(c, 4, rows16(w, x1, 1, fit))                                                                               \
    }                                                                                                                  \
  }
#define MINIMUM(c) sum##c = vfmaq_laneq_f32(sum##c, m, d, c);

TB_INLINE void micro_any(float out[COLS][PANEL_ROWS], const struct panel *p, const struct columns *columns,
                         size_t groups, int fit, int n_scales, int n_minima) {
  const int8_t *codes = p->codes, *x = columns->codes;
  const float *scales = p->scales, *minima = p->minima, *ds = columns->ds;
  float32x4_t d, sum0 = vdupq_n_f32(0), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  for (size_t g = 0; g < groups; g++) {
    int8x16_t w[8];
    for (int i = 0; i < 8; i++) w[i] = vld1q_s8(codes + 16 * i);
    d = vld1q_f32(columns->d + COLS * g);
    EACH_COLUMN(COLUMN)
    codes += 128;
    x += 128;
    scales += 4 * n_scales;
    for (int i = 0; i < n_minima; i++) {
      const float32x4_t m = vld1q_f32(minima);
      d = vld1q_f32(ds);
      minima += 4;
      ds += COLS;
      EACH_COLUMN(MINIMUM)
    }
  }
#define STORE(c) vst1q_f32(out[c], sum##c);
  EACH_COLUMN(STORE)
}

#define KIND(fit, n_scales, n_minima)                                                                                  \
  static void micro_##fit##_##n_scales##_##n_minima(float out[COLS][PANEL_ROWS], const struct panel *p,                \
                                                    const struct columns *columns, size_t groups) {                    \
    micro_any(out, p, columns, groups, fit, n_scales, n_minima);                                                       \
  }
KIND(2, 1, 0)
KIND(4, 1, 2)
KIND(8, 1, 1)
KIND(8, 2, 0)
KIND(16, 1, 0)
KIND(16, 1, 1)

#define MICRO(fit, n_scales, n_minima) micro_##fit##_##n_scales##_##n_minima
#include "simd/gemm/gemm_arm.h"
