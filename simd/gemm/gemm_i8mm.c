/* gemm with 8-bit matrix multiplies (ARMv8.6). smmla multiplies eight values of two rows with eight values of two
 * columns: a result vector is row 0 with columns 0 and 1, then row 1 with both. Packed scales are doubled to match. */
#define TB_TIER i8mm
enum { PANEL_ROWS = 8, SCALE_COPIES = 2 };

#include <arm_neon.h>

#include "simd/gemm/panel_arm.h"
#include "simd/vec/arm_dot.h"

/* Sixteen values of rows a and b: the first eight of both, then the other eight of both, `apart` bytes on. */
TB_INLINE void pair(int8_t *out, size_t apart, const int8_t *a, const int8_t *b) {
  int64x2_t va = vreinterpretq_s64_s8(vld1q_s8(a)), vb = vreinterpretq_s64_s8(vld1q_s8(b));
  vst1q_s8(out, vreinterpretq_s8_s64(vzip1q_s64(va, vb)));
  vst1q_s8(out + apart, vreinterpretq_s8_s64(vzip2q_s64(va, vb)));
}

static void interleave(int8_t *panel, int8_t rows[PANEL_ROWS][K_SLICE], size_t groups) {
  for (size_t i = 0; i < 32 * groups; i += 16)
    for (size_t r = 0; r < PANEL_ROWS; r += 2) pair(panel + PANEL_ROWS * i + 8 * r, 64, &rows[r][i], &rows[r + 1][i]);
}

static void pack_columns(int8_t *packed, const int8_t *const q[COLS], size_t groups) {
  for (size_t i = 0; i < 32 * groups; i += 16)
    for (size_t c = 0; c < COLS; c += 2) pair(packed + COLS * i + 8 * c, 32, q[c] + i, q[c + 1] + i);
}

/* r: pair of rows, 0-3. acc##r##0 and acc##r##1: columns 0-1 and 2-3. */
#define EACH_PAIR(DO) DO(0) DO(1) DO(2) DO(3)
#define CLEAR(r) acc##r##0 = acc##r##1 = TB_BIAS;
#define MULTIPLY(r)                                                                                                    \
  w0 = vld1q_s8(w + 16 * (r));                                                                                         \
  acc##r##0 = vmmlaq_s32(acc##r##0, w0, x0);                                                                           \
  acc##r##1 = vmmlaq_s32(acc##r##1, w0, x1);
/* Says that the sums changed in place: without it gcc moves them from register to register between the steps. */
#define KEEP                                                                                                           \
  __asm__("" : "+w"(acc00), "+w"(acc01), "+w"(acc10), "+w"(acc11), "+w"(acc20), "+w"(acc21), "+w"(acc30), "+w"(acc31));
#define EIGHT                                                                                                          \
  x0 = vld1q_s8(x);                                                                                                    \
  x1 = vld1q_s8(x + 16);                                                                                               \
  EACH_PAIR(MULTIPLY) KEEP                                                                                             \
  w += 64;                                                                                                             \
  x += 32;
#define SCALE(r)                                                                                                       \
  s = vld1q_f32(scales + 4 * (r));                                                                                     \
  sum##r##0 = vfmaq_f32(sum##r##0, tb_unbias(acc##r##0), vmulq_f32(s, d0));                                        \
  sum##r##1 = vfmaq_f32(sum##r##1, tb_unbias(acc##r##1), vmulq_f32(s, d1));
#define MINIMUM(r)                                                                                                     \
  s = vld1q_f32(minima + 4 * (r));                                                                                     \
  sum##r##0 = vfmaq_f32(sum##r##0, s, d0);                                                                             \
  sum##r##1 = vfmaq_f32(sum##r##1, s, d1);

TB_INLINE void micro_any(float out[COLS][PANEL_ROWS], const struct panel *p, const struct columns *columns,
                         size_t groups, int n_scales, int n_minima) {
  const int8_t *w = p->codes, *x = columns->codes;
  const float *scales = p->scales, *minima = p->minima, *ds = columns->ds;
  int8x16_t w0, x0, x1;
  int32x4_t acc00, acc01, acc10, acc11, acc20, acc21, acc30, acc31;
  float32x4_t s, d0, d1, sum00 = vdupq_n_f32(0), sum01 = sum00, sum10 = sum00, sum11 = sum00;
  float32x4_t sum20 = sum00, sum21 = sum00, sum30 = sum00, sum31 = sum00;
  for (size_t g = 0; g < groups; g++) {
    d0 = vld1q_f32(columns->d + 8 * g);
    d1 = vld1q_f32(columns->d + 8 * g + 4);
    EACH_PAIR(CLEAR)
    EIGHT EIGHT
    if (n_scales == 2) {
      EACH_PAIR(SCALE)
      scales += 16;
      EACH_PAIR(CLEAR)
    }
    EIGHT EIGHT
    EACH_PAIR(SCALE)
    scales += 16;
    for (int i = 0; i < n_minima; i++) {
      d0 = vld1q_f32(ds);
      d1 = vld1q_f32(ds + 4);
      EACH_PAIR(MINIMUM)
      minima += 16;
      ds += 8;
    }
  }
/* Pairs a and a + 1 are four rows: even lanes column 2c, odd lanes column 2c + 1. */
#define STORE(a, b, c)                                                                                                 \
  vst1q_f32(out[2 * (c)] + 2 * (a), vuzp1q_f32(sum##a##c, sum##b##c));                                                 \
  vst1q_f32(out[2 * (c) + 1] + 2 * (a), vuzp2q_f32(sum##a##c, sum##b##c));
  STORE(0, 1, 0) STORE(0, 1, 1) STORE(2, 3, 0) STORE(2, 3, 1)
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
