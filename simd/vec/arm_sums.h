/* Integer sums that become floats without a conversion, whose throughput on ARM cores is a quarter of an addition's. A sum
 * starts at the bits of 1.5 · 2^23 (2^23 for sums that are not negative): after n, |n| < 2^22 (n < 2^23), was added, its
 * bits are those of the float start + n, and differences of such floats are exact. */
#ifndef TB_SIMD_VEC_ARM_SUMS_H
#define TB_SIMD_VEC_ARM_SUMS_H

#include <arm_neon.h>
#include <stddef.h>
#include <string.h>
#include "simd/vec/inline.h"

#define SUMS_SIGNED 0x1.8p23f
#define SUMS_UNSIGNED 0x1p23f

/* Starts of 16 sums, to load: copying a register would take a place of the unit that multiplies. */
struct sums_starts {
  float start[16][4];
};
TB_INLINE void sums_fill(struct sums_starts *s, float start) {
  for (int i = 0; i < 16; i++) vst1q_f32(s->start[i], vdupq_n_f32(start));
}
TB_INLINE int32x4_t sums_start(const struct sums_starts *s, int i) { return vreinterpretq_s32_f32(vld1q_f32(s->start[i])); }

TB_INLINE float32x4_t sums_minus(int32x4_t sum, float start) { return vsubq_f32(vreinterpretq_f32_s32(sum), vdupq_n_f32(start)); }
TB_INLINE float32x4_t sums_between(int32x4_t sum, int32x4_t other) {
  return vsubq_f32(vreinterpretq_f32_s32(sum), vreinterpretq_f32_s32(other));
}

/* Up to four values, then zeros. */
TB_INLINE float32x4_t first4(const float *p, size_t n) {
  if (n >= 4) return vld1q_f32(p);
  float values[4] = {0};
  memcpy(values, p, n * sizeof *values);
  return vld1q_f32(values);
}

/* Lane `lane` everywhere, and z + x · that: lane is a constant once inlined. */
TB_INLINE float32x4_t lane_f32(float32x4_t v, int lane) {
  switch (lane) {
    case 0: return vdupq_laneq_f32(v, 0);
    case 1: return vdupq_laneq_f32(v, 1);
    case 2: return vdupq_laneq_f32(v, 2);
    default: return vdupq_laneq_f32(v, 3);
  }
}
TB_INLINE float32x4_t fma_lane(float32x4_t z, float32x4_t x, float32x4_t v, int lane) {
  switch (lane) {
    case 0: return vfmaq_laneq_f32(z, x, v, 0);
    case 1: return vfmaq_laneq_f32(z, x, v, 1);
    case 2: return vfmaq_laneq_f32(z, x, v, 2);
    default: return vfmaq_laneq_f32(z, x, v, 3);
  }
}

/* sum += u · (dword `lane` of s), per 32-bit lane; lane is a constant once inlined. */
TB_INLINE int32x4_t sums_dot(int32x4_t sum, uint8x16_t u, int8x16_t s, int lane) {
  const int8x16_t codes = vreinterpretq_s8_u8(u);
  switch (lane) {
    case 0: return vdotq_laneq_s32(sum, codes, s, 0);
    case 1: return vdotq_laneq_s32(sum, codes, s, 1);
    case 2: return vdotq_laneq_s32(sum, codes, s, 2);
    default: return vdotq_laneq_s32(sum, codes, s, 3);
  }
}
/* The same of unsigned bytes. */
TB_INLINE int32x4_t sums_dot_unsigned(int32x4_t sum, uint8x16_t u, int8x16_t s, int lane) {
  const uint32x4_t acc = vreinterpretq_u32_s32(sum);
  const uint8x16_t codes = vreinterpretq_u8_s8(s);
  switch (lane) {
    case 0: return vreinterpretq_s32_u32(vdotq_laneq_u32(acc, u, codes, 0));
    case 1: return vreinterpretq_s32_u32(vdotq_laneq_u32(acc, u, codes, 1));
    case 2: return vreinterpretq_s32_u32(vdotq_laneq_u32(acc, u, codes, 2));
    default: return vreinterpretq_s32_u32(vdotq_laneq_u32(acc, u, codes, 3));
  }
}

#endif
