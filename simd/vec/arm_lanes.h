/* Sums of four bytes times four bytes in each 32-bit lane, for kernels whose lanes are tokens or channels. The same source
 * serves two tiers: with dot product instructions where the file is compiled for them, else with widening multiplies into
 * 16-bit sums (the user bounds how many products meet there, lanes_sum empties them). */
#ifndef TB_SIMD_VEC_ARM_LANES_H
#define TB_SIMD_VEC_ARM_LANES_H

#include <arm_neon.h>
#include "simd/vec/inline.h"

#if defined(__ARM_FEATURE_DOTPROD)

typedef int32x4_t lanes;

TB_INLINE lanes lanes_zero(void) { return vdupq_n_s32(0); }
TB_INLINE int32x4_t lanes_sum(lanes x) { return x; }
/* acc += u · (dword `lane` of s, 8 bytes); _Q: of 16 bytes. */
#define LANES_DOT(acc, u, s, lane) vdotq_lane_s32(acc, vreinterpretq_s8_u8(u), s, lane)
#define LANES_DOT_Q(acc, u, s, lane) vdotq_laneq_s32(acc, vreinterpretq_s8_u8(u), s, lane)

#else

typedef struct {
  int16x8_t low, high;
} lanes;

TB_INLINE lanes lanes_zero(void) { return (lanes){vdupq_n_s16(0), vdupq_n_s16(0)}; }
TB_INLINE int32x4_t lanes_sum(lanes x) { return vpaddq_s32(vpaddlq_s16(x.low), vpaddlq_s16(x.high)); }
TB_INLINE lanes lanes_dot(lanes acc, int8x16_t u, int8x16_t four) {
  acc.low = vmlal_s8(acc.low, vget_low_s8(u), vget_low_s8(four));
  acc.high = vmlal_high_s8(acc.high, u, four);
  return acc;
}
#define LANES_DOT(acc, u, s, lane)                                                                                     \
  lanes_dot(acc, vreinterpretq_s8_u8(u), vreinterpretq_s8_s32(vdupq_lane_s32(vreinterpret_s32_s8(s), lane)))
#define LANES_DOT_Q(acc, u, s, lane)                                                                                   \
  lanes_dot(acc, vreinterpretq_s8_u8(u), vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(s), lane)))

#endif

#endif
