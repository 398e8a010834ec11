/* 16 sums16 as four registers of 4, for cluster_lanes.h. The same source serves two tiers: with dot product instructions
 * where the file is compiled for them, else with widening multiplies, whose pairs of products fit 16 bits (2·127²). */
#include <arm_neon.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

typedef struct {
  int8x16_t x[4];
} codes64;

TB_INLINE codes64 line_load(const int8_t *p) {
  return (codes64){{vld1q_s8(p), vld1q_s8(p + 16), vld1q_s8(p + 32), vld1q_s8(p + 48)}};
}
TB_INLINE int8x16_t four_codes(const int8_t *q) {
  int32_t dword;
  memcpy(&dword, q, sizeof dword);
  return vreinterpretq_s8_s32(vdupq_n_s32(dword));
}

#if defined(__ARM_FEATURE_DOTPROD)

typedef struct {
  int32x4_t s[4];
} sums16;
TB_INLINE sums16 lanes_zero(void) { return (sums16){{vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}}; }
TB_INLINE int32x4_t lanes_sum(const sums16 *acc, int i) { return acc->s[i]; }
TB_INLINE sums16 lanes_step(sums16 acc, codes64 x, int8x16_t q) {
  TB_UNROLL for (int i = 0; i < 4; i++) acc.s[i] = vdotq_s32(acc.s[i], x.x[i], q);
  return acc;
}

#else

typedef struct {
  int32x4_t low[4], high[4]; /* a lane's sum in two halves */
} sums16;
TB_INLINE sums16 lanes_zero(void) {
  const int32x4_t z = vdupq_n_s32(0);
  return (sums16){{z, z, z, z}, {z, z, z, z}};
}
TB_INLINE int32x4_t lanes_sum(const sums16 *acc, int i) { return vpaddq_s32(acc->low[i], acc->high[i]); }
TB_INLINE sums16 lanes_step(sums16 acc, codes64 x, int8x16_t q) {
  TB_UNROLL for (int i = 0; i < 4; i++) {
    acc.low[i] = vpadalq_s16(acc.low[i], vmull_s8(vget_low_s8(x.x[i]), vget_low_s8(q)));
    acc.high[i] = vpadalq_s16(acc.high[i], vmull_high_s8(x.x[i], q));
  }
  return acc;
}

#endif

#define LANES_STEP(acc, x, q) lanes_step(acc, x, four_codes(q))
TB_INLINE void lanes_scores(sums16 acc, int32_t sum, float scale, const float *dx, float offset, const float *bx,
                            float *s) {
  (void)sum;
  TB_UNROLL for (int i = 0; i < 4; i++) {
    const float32x4_t a = vmulq_n_f32(vld1q_f32(dx + 4 * i), scale), b = vmulq_n_f32(vld1q_f32(bx + 4 * i), offset);
    vst1q_f32(s + 4 * i, vfmaq_f32(b, a, vcvtq_f32_s32(lanes_sum(&acc, i))));
  }
}
