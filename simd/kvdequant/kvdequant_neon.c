#include "simd/vec/vec_neon.h"

typedef uint32x4x4_t dwords;
typedef struct { float step, centre; } codebook;

TB_INLINE void keys16(const unsigned char *line, const unsigned char *next, v16 *first, v16 *second) {
  const int8_t low[16] = {0, 0, 0, 0, -4, -4, -4, -4, 0, 0, 0, 0, -4, -4, -4, -4};
  const uint8x16_t three = vdupq_n_u8(3);
  uint32_t lanes[2];
  memcpy(lanes, line, 4);
  memcpy(lanes + 1, next, 4);
  const uint32x4_t w = vcombine_u32(vdup_n_u32(lanes[0]), vdup_n_u32(lanes[1]));
  const uint8x16_t u = vshlq_u8(vreinterpretq_u8_u32(w), vld1q_s8(low));
  *first = v16_from_i8(vreinterpretq_s8_u8(vandq_u8(u, three)));
  *second = v16_from_i8(vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(u, 2), three)));
}

TB_INLINE uint32x4_t load4(const unsigned char *p) { return vreinterpretq_u32_u8(vld1q_u8(p)); }
TB_INLINE dwords dwords_load(const unsigned char *line) {
  return (dwords){{load4(line), load4(line + 16), load4(line + 32), load4(line + 48)}};
}
TB_INLINE dwords dwords_load_narrow(const unsigned char *line) {
  const uint32x4_t a = load4(line), b = load4(line + 16);
  return (dwords){{a, b, vshrq_n_u32(a, 2), vshrq_n_u32(b, 2)}};
}
TB_INLINE dwords dwords_triple(dwords y) {
  TB_UNROLL for (int i = 0; i < 4; i++)
    y.val[i] = vreinterpretq_u32_u8(vmulq_u8(vreinterpretq_u8_u32(y.val[i]), vdupq_n_u8(3)));
  return y;
}

/* The number of thresholds 256/3 and 512/3 that a byte reaches: 0 - 255 - 255. */
TB_INLINE dwords dwords_trits(dwords y) {
  TB_UNROLL for (int i = 0; i < 4; i++) {
    const uint8x16_t v = vreinterpretq_u8_u32(y.val[i]), third = vcgeq_u8(v, vdupq_n_u8(86));
    y.val[i] = vreinterpretq_u32_u8(vsubq_u8(vsubq_u8(vdupq_n_u8(0), third), vcgeq_u8(v, vdupq_n_u8(171))));
  }
  return y;
}

TB_INLINE codebook codebook_of(float step, float centre) { return (codebook){step, centre}; }
TB_INLINE float32x4_t level4(uint32x4_t w, unsigned at, codebook l) {
  const uint32x4_t u = vandq_u32(vshlq_u32(w, vdupq_n_s32(-(int)at)), vdupq_n_u32(3));
  return vmulq_n_f32(vsubq_f32(vcvtq_f32_u32(u), vdupq_n_f32(l.centre)), l.step);
}
TB_INLINE v16 dwords_level(dwords w, unsigned at, codebook l) {
  return (v16){level4(w.val[0], at, l), level4(w.val[1], at, l), level4(w.val[2], at, l), level4(w.val[3], at, l)};
}

#include "simd/kvdequant/kvdequant_v16.h"
