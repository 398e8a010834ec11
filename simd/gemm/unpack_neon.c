/* Unpacking for the ARM gemm kernels of every tier (plain NEON). */
#include "simd/gemm/unpack_arm.h"

#include <string.h>

#include "simd/vec/arm_codes.h"

TB_INLINE void store_codes(int8_t *codes, const int8x16_t w[8], int offset) {
  const int8x16_t off = vdupq_n_s8((int8_t)offset);
  for (int i = 0; i < 8; i++) vst1q_s8(codes + 16 * i, offset ? vsubq_s8(w[i], off) : w[i]);
}

/* ---- blocks of 32, four at a time; zeros behind the last ---- */

typedef void unpack_blocks(int8_t *codes, float *scales, float *minima, const uint8_t *b);

TB_INLINE void each_four_blocks(int8_t *codes, float *scales, float *minima, const uint8_t *w, size_t groups,
                                size_t block_bytes, unpack_blocks *unpack) {
  size_t g = 0;
  for (; g + 4 <= groups; g += 4) unpack(codes + 32 * g, scales + g, minima ? minima + g : NULL, w + g * block_bytes);
  if (g == groups) return;
  uint8_t padded[4 * 34] = {0};
  memcpy(padded, w + g * block_bytes, (groups - g) * block_bytes);
  unpack(codes + 32 * g, scales + g, minima ? minima + g : NULL, padded);
}

#define SYMMETRIC(format, bytes)                                                                                       \
  TB_INLINE void blocks_##format(int8_t *codes, float *scales, float *minima, const uint8_t *b) {                      \
    int8x16_t w[8];                                                                                                    \
    (void)minima;                                                                                                      \
    tb_codes_##format(w, b);                                                                                           \
    store_codes(codes, w, TB_OFFSET_##format);                                                                         \
    vst1q_f32(scales, tb_halves_apart(b, bytes));                                                                      \
  }                                                                                                                    \
  void tb_unpack_##format##_neon(int8_t *codes, float *scales, float *minima, const uint8_t *w, size_t groups) {       \
    (void)minima;                                                                                                      \
    each_four_blocks(codes, scales, NULL, w, groups, bytes, blocks_##format);                                          \
  }

#define WITH_MINIMUM(format, bytes)                                                                                    \
  TB_INLINE void blocks_##format(int8_t *codes, float *scales, float *minima, const uint8_t *b) {                      \
    int8x16_t w[8];                                                                                                    \
    tb_codes_##format(w, b);                                                                                           \
    store_codes(codes, w, 0);                                                                                          \
    vst1q_f32(scales, tb_halves_apart(b, bytes));                                                                      \
    vst1q_f32(minima, tb_halves_apart(b + 2, bytes));                                                                  \
  }                                                                                                                    \
  void tb_unpack_##format##_neon(int8_t *codes, float *scales, float *minima, const uint8_t *w, size_t groups) {       \
    each_four_blocks(codes, scales, minima, w, groups, bytes, blocks_##format);                                        \
  }

SYMMETRIC(q8_0, 34)
SYMMETRIC(q4_0, 18)
SYMMETRIC(q5_0, 22)
SYMMETRIC(iq4_nl, 18)
WITH_MINIMUM(q4_1, 20)
WITH_MINIMUM(q5_1, 24)

/* ---- super-blocks of 256 ---- */

/* Eight integers times d, as floats. */
TB_INLINE void store_scaled(float *out, int16x8_t v, float32x4_t d) {
  vst1q_f32(out, vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), d));
  vst1q_f32(out + 4, vmulq_f32(vcvtq_f32_s32(vmovl_high_s16(v)), d));
}

TB_INLINE void store_scaled16(float *out, int8x16_t v, float32x4_t d) {
  store_scaled(out, vmovl_s8(vget_low_s8(v)), d);
  store_scaled(out + 8, vmovl_high_s8(v), d);
}

TB_INLINE void store_same(float *out, float32x4_t d) {
  vst1q_f32(out, d);
  vst1q_f32(out + 4, d);
}

#define UNPACK(format, bytes)                                                                                          \
  void tb_unpack_##format##_neon(int8_t *codes, float *scales, float *minima, const uint8_t *w, size_t groups) {       \
    for (size_t g = 0; g < groups; g += 8, w += (bytes)) block_##format(codes + 32 * g, scales, minima, w, g);         \
  }
#define BOTH_HALVES(format)                                                                                            \
  int8x16_t v[8];                                                                                                      \
  tb_codes_##format(v, b, 0);                                                                                          \
  store_codes(codes, v, TB_OFFSET_##format);                                                                           \
  tb_codes_##format(v, b, 1);                                                                                          \
  store_codes(codes + 128, v, TB_OFFSET_##format);

/* d, dmin and six-bit scales and minima: q4_k, q5_k. */
TB_INLINE void scales_with_minima(float *scales, float *minima, const uint8_t *b) {
  int16x8_t sc, mn;
  tb_scales_q4_k(&sc, &mn, b + 4);
  store_scaled(scales, sc, tb_half_dup(b));
  store_scaled(minima, mn, vnegq_f32(tb_half_dup(b + 2)));
}

TB_INLINE void block_q4_k(int8_t *codes, float *scales, float *minima, const uint8_t *b, size_t g) {
  BOTH_HALVES(q4_k)
  scales_with_minima(scales + g, minima + g, b);
}
UNPACK(q4_k, 144)

TB_INLINE void block_q5_k(int8_t *codes, float *scales, float *minima, const uint8_t *b, size_t g) {
  BOTH_HALVES(q5_k)
  scales_with_minima(scales + g, minima + g, b);
}
UNPACK(q5_k, 176)

TB_INLINE void block_q6_k(int8_t *codes, float *scales, float *minima, const uint8_t *b, size_t g) {
  BOTH_HALVES(q6_k)
  (void)minima;
  store_scaled16(scales + 2 * g, vreinterpretq_s8_u8(vld1q_u8(b + 192)), tb_half_dup(b + 208));
}
UNPACK(q6_k, 210)

TB_INLINE void block_iq4_xs(int8_t *codes, float *scales, float *minima, const uint8_t *b, size_t g) {
  BOTH_HALVES(iq4_xs)
  (void)minima;
  store_scaled(scales + g, tb_scales_iq4_xs(b), tb_half_dup(b));
}
UNPACK(iq4_xs, 136)

/* codes of 16 groups, each times its scale: (code - offset) · scale, or (offset - code) · scale. */
TB_INLINE void store_products(int8_t *codes, const int8x16_t w[8], int8x16_t scales, int half, int offset) {
  const int8x16_t off = vdupq_n_s8((int8_t)offset);
  int8_t sc[16];
  vst1q_s8(sc, scales);
  for (int i = 0; i < 8; i++)
    vst1q_s8(codes + 16 * i, vmulq_s8(offset ? vsubq_s8(off, w[i]) : w[i], vdupq_n_s8(sc[8 * half + i])));
}

TB_INLINE void block_q2_k(int8_t *codes, float *scales, float *minima, const uint8_t *b, size_t g) {
  int8x16_t v[8], sc = tb_low_nibbles(vld1q_u8(b));
  tb_codes_q2_k(v, b, 0);
  store_products(codes, v, sc, 0, 0);
  tb_codes_q2_k(v, b, 1);
  store_products(codes + 128, v, sc, 1, 0);
  store_same(scales + g, tb_half_dup(b + 80));
  store_scaled16(minima + 2 * g, tb_high_nibbles(vld1q_u8(b)), vnegq_f32(tb_half_dup(b + 82)));
}
UNPACK(q2_k, 84)

/* Scale -32 times code -4 is 128, one too many for a byte: the products are kept negated, and so is d. */
TB_INLINE void block_q3_k(int8_t *codes, float *scales, float *minima, const uint8_t *b, size_t g) {
  int8x16_t v[8], sc = tb_scales_q3_k(b + 96);
  (void)minima;
  tb_codes_q3_k(v, b, 0);
  store_products(codes, v, sc, 0, TB_OFFSET_q3_k);
  tb_codes_q3_k(v, b, 1);
  store_products(codes + 128, v, sc, 1, TB_OFFSET_q3_k);
  store_same(scales + g, vnegq_f32(tb_half_dup(b + 108)));
}
UNPACK(q3_k, 110)
