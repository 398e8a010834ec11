#include <arm_neon.h>
#include "simd/vec/inline.h"

#define TB_FN(name) tb_##name##_neon

typedef uint8x16_t b16;

TB_INLINE b16 b16_load(const unsigned char *p) { return vld1q_u8(p); }
TB_INLINE void b16_store(unsigned char *p, b16 v) { vst1q_u8(p, v); }
TB_INLINE b16 b16_or(b16 x, b16 y) { return vorrq_u8(x, y); }
TB_INLINE b16 b16_up2(b16 v) { return vshlq_n_u8(v, 2); }
TB_INLINE b16 b16_up4(b16 v) { return vshlq_n_u8(v, 4); }
TB_INLINE b16 b16_high(b16 v) { return vextq_u8(v, v, 8); }
TB_INLINE b16 b16_add3(b16 v, b16 c) { return vmlaq_u8(c, v, vdupq_n_u8(3)); }

/* ⌈256·v/243⌉ = v + ⌊(13·v + 242)/243⌋; the quotient of n ≤ 3388 by 243 is n · 69051 >> 24, as 69051 exceeds 2^24/243 by
 * less than 1/5000 of it. */
TB_INLINE uint16x4_t thirteenths(uint16x4_t v) {
  const uint32x4_t n = vmlal_n_u16(vdupq_n_u32(242), v, 13);
  return vmovn_u32(vshrq_n_u32(vmulq_n_u32(n, 69051), 24));
}
TB_INLINE uint8x8_t trits8(uint8x8_t v) {
  const uint16x8_t w = vmovl_u8(v);
  return vmovn_u16(vcombine_u16(thirteenths(vget_low_u16(w)), thirteenths(vget_high_u16(w))));
}
TB_INLINE b16 b16_trits(b16 v) { return vaddq_u8(v, vcombine_u8(trits8(vget_low_u8(v)), trits8(vget_high_u8(v)))); }

TB_INLINE void b16_columns(b16 r[4]) {
  const uint32x4_t a = vzip1q_u32(vreinterpretq_u32_u8(r[0]), vreinterpretq_u32_u8(r[2]));
  const uint32x4_t b = vzip1q_u32(vreinterpretq_u32_u8(r[1]), vreinterpretq_u32_u8(r[3]));
  const uint32x4_t c = vzip2q_u32(vreinterpretq_u32_u8(r[0]), vreinterpretq_u32_u8(r[2]));
  const uint32x4_t d = vzip2q_u32(vreinterpretq_u32_u8(r[1]), vreinterpretq_u32_u8(r[3]));
  r[0] = vreinterpretq_u8_u32(vzip1q_u32(a, b));
  r[1] = vreinterpretq_u8_u32(vzip2q_u32(a, b));
  r[2] = vreinterpretq_u8_u32(vzip1q_u32(c, d));
  r[3] = vreinterpretq_u8_u32(vzip2q_u32(c, d));
}

/* Stores are macros in clang's header: no commas in their arguments. */
TB_INLINE void b16_interleave(unsigned char *p, const b16 v[4]) {
  const uint8x16x4_t all = {{v[0], v[1], v[2], v[3]}};
  vst4q_u8(p, all);
}
TB_INLINE void b16_interleave_low(unsigned char *p, const b16 v[4]) {
  const uint8x8x4_t all = {{vget_low_u8(v[0]), vget_low_u8(v[1]), vget_low_u8(v[2]), vget_low_u8(v[3])}};
  vst4_u8(p, all);
}

#include "simd/kvpack/kvpack_b16.h"
