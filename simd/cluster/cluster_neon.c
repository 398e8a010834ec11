#include "simd/vec/vec_neon.h"

#include "simd/cluster/cluster_arm.h"

TB_INLINE int16x4_t bins4(const float *p) {
  int32x4_t at = vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_f32(vld1q_f32(p)), 20));
  at = vmaxq_s32(vsubq_s32(at, vdupq_n_s32(761)), vdupq_n_s32(0));
  return vmovn_s32(vminq_s32(at, vdupq_n_s32(255)));
}
TB_INLINE void bins16(uint8_t *bin, const float *p) {
  const uint8x8_t low = vmovn_u16(vreinterpretq_u16_s16(vcombine_s16(bins4(p), bins4(p + 4))));
  const uint8x8_t high = vmovn_u16(vreinterpretq_u16_s16(vcombine_s16(bins4(p + 8), bins4(p + 12))));
  vst1q_u8(bin, vcombine_u8(low, high));
}

#include "simd/cluster/cluster_lanes.h"
#include "simd/cluster/cluster_v16.h"
