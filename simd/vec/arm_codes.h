/* Codes and scales of the block formats on ARM, in registers. The layouts are described in simd/dequant/dequant_ref.c.
 *
 * tb_codes_<format>(w, b) gives 128 codes as eight vectors, w[i] holding values 16i … 16i + 15: four blocks of 32, or
 * one half of a super-block (argument `half`). Codes are as stored; the offset that the format subtracts is in
 * TB_OFFSET_<format> (0 where the codes come signed) and TB_FIT_<format> is the `fit` of simd/vec/arm_dot.h. */
#ifndef TB_SIMD_VEC_ARM_CODES_H
#define TB_SIMD_VEC_ARM_CODES_H

#include <stdint.h>
#include <string.h>

#include "simd/vec/arm_dot.h"

enum {
  TB_OFFSET_q8_0 = 0, TB_FIT_q8_0 = 2,
  TB_OFFSET_q4_0 = 8, TB_FIT_q4_0 = 16,
  TB_OFFSET_q4_1 = 0, TB_FIT_q4_1 = 16,
  TB_OFFSET_q5_0 = 0, TB_FIT_q5_0 = 16,
  TB_OFFSET_q5_1 = 0, TB_FIT_q5_1 = 8,
  TB_OFFSET_iq4_nl = 0, TB_FIT_iq4_nl = 2,
  TB_OFFSET_q2_k = 0, TB_FIT_q2_k = 16,
  TB_OFFSET_q3_k = 4, TB_FIT_q3_k = 16,
  TB_OFFSET_q4_k = 0, TB_FIT_q4_k = 16,
  TB_OFFSET_q5_k = 0, TB_FIT_q5_k = 8,
  TB_OFFSET_q6_k = 32, TB_FIT_q6_k = 4,
  TB_OFFSET_iq4_xs = 0, TB_FIT_iq4_xs = 2,
};

TB_INLINE uint32_t tb_load_u32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

TB_INLINE uint64_t tb_load_u64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

TB_INLINE float32x4_t tb_halves(uint64_t bits) { return vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(bits))); }

/* The fp16 number at p, in every lane. */
TB_INLINE float32x4_t tb_half_dup(const uint8_t *p) {
  uint16_t h;
  memcpy(&h, p, sizeof h);
  return vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h)));
}

/* Four fp16 numbers, `stride` bytes apart. Collected in a general register: that leaves the vector pipes alone. */
TB_INLINE float32x4_t tb_halves_apart(const uint8_t *p, size_t stride) {
  uint16_t h[4];
  for (size_t i = 0; i < 4; i++) memcpy(&h[i], p + i * stride, sizeof *h);
  return tb_halves((uint32_t)(h[0] | (uint32_t)h[1] << 16) | (uint64_t)(h[2] | (uint32_t)h[3] << 16) << 32);
}

TB_INLINE int8x16_t tb_low_nibbles(uint8x16_t v) { return vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15))); }
TB_INLINE int8x16_t tb_high_nibbles(uint8x16_t v) { return vreinterpretq_s8_u8(vshrq_n_u8(v, 4)); }

/* v shifted right by n, a constant from -7 to 7. */
TB_INLINE uint8x16_t tb_shift(uint8x16_t v, int n) {
  switch (n) {
  case -4: return vshlq_n_u8(v, 4);
  case -3: return vshlq_n_u8(v, 3);
  case -2: return vshlq_n_u8(v, 2);
  case -1: return vshlq_n_u8(v, 1);
  case 1: return vshrq_n_u8(v, 1);
  case 2: return vshrq_n_u8(v, 2);
  case 3: return vshrq_n_u8(v, 3);
  case 4: return vshrq_n_u8(v, 4);
  case 5: return vshrq_n_u8(v, 5);
  case 6: return vshrq_n_u8(v, 6);
  default: return v;
  }
}

/* code with the bits of `mask` taken from `bits`. */
TB_INLINE int8x16_t tb_insert(int8x16_t code, uint8x16_t bits, uint8_t mask) {
  return vreinterpretq_s8_u8(vbslq_u8(vdupq_n_u8(mask), bits, vreinterpretq_u8_s8(code)));
}

/* ---- blocks of 32: four of them, `bytes` apart ---- */

TB_INLINE void tb_nibbles(int8x16_t *w, const uint8_t *p) {
  uint8x16_t v = vld1q_u8(p);
  w[0] = tb_low_nibbles(v);
  w[1] = tb_high_nibbles(v);
}

TB_INLINE void tb_nibble_blocks(int8x16_t w[8], const uint8_t *p, size_t bytes) {
  tb_nibbles(w, p);
  tb_nibbles(w + 2, p + bytes);
  tb_nibbles(w + 4, p + 2 * bytes);
  tb_nibbles(w + 6, p + 3 * bytes);
}

TB_INLINE void tb_codes_q4_0(int8x16_t w[8], const uint8_t *b) { tb_nibble_blocks(w, b + 2, 18); }
TB_INLINE void tb_codes_q4_1(int8x16_t w[8], const uint8_t *b) { tb_nibble_blocks(w, b + 4, 20); }

TB_INLINE void tb_bytes(int8x16_t *w, const uint8_t *p) {
  w[0] = vreinterpretq_s8_u8(vld1q_u8(p));
  w[1] = vreinterpretq_s8_u8(vld1q_u8(p + 16));
}

TB_INLINE void tb_codes_q8_0(int8x16_t w[8], const uint8_t *b) {
  tb_bytes(w, b + 2);
  tb_bytes(w + 2, b + 36);
  tb_bytes(w + 4, b + 70);
  tb_bytes(w + 6, b + 104);
}

/* Bytes `at` and at + 1 of `word`, each in eight lanes; TB_BIT_OF_LANE picks lane i's bit. */
TB_INLINE uint8x16_t tb_spread(uint8x16_t word, uint8_t at) {
  return vqtbl1q_u8(word, vcombine_u8(vdup_n_u8(at), vdup_n_u8((uint8_t)(at + 1))));
}
TB_INLINE uint8x16_t tb_word(uint32_t word) { return vreinterpretq_u8_u32(vdupq_n_u32(word)); }
#define TB_BIT_OF_LANE vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u))

/* Signed: the nibble, less 16 where the fifth bit is clear (a mask shifted into the upper half of the byte). `word` is
 * the complement of the fifth bits. */
TB_INLINE int8x16_t tb_fifth_signed(int8x16_t nibble, uint8x16_t word, uint8_t at) {
  uint8x16_t clear = vtstq_u8(tb_spread(word, at), TB_BIT_OF_LANE);
  return vreinterpretq_s8_u8(vsliq_n_u8(vreinterpretq_u8_s8(nibble), clear, 4));
}

TB_INLINE void tb_block_q5_0(int8x16_t *w, const uint8_t *b) {
  tb_nibbles(w, b + 6);
  uint8x16_t high = tb_word(~tb_load_u32(b + 2));
  w[0] = tb_fifth_signed(w[0], high, 0);
  w[1] = tb_fifth_signed(w[1], high, 2);
}

TB_INLINE void tb_codes_q5_0(int8x16_t w[8], const uint8_t *b) {
  tb_block_q5_0(w, b);
  tb_block_q5_0(w + 2, b + 22);
  tb_block_q5_0(w + 4, b + 44);
  tb_block_q5_0(w + 6, b + 66);
}

TB_INLINE int8x16_t tb_fifth(int8x16_t nibble, uint8x16_t word, uint8_t at) {
  return tb_insert(nibble, vtstq_u8(tb_spread(word, at), TB_BIT_OF_LANE), 16);
}

TB_INLINE void tb_block_q5_1(int8x16_t *w, const uint8_t *b) {
  tb_nibbles(w, b + 8);
  uint8x16_t high = tb_word(tb_load_u32(b + 4));
  w[0] = tb_fifth(w[0], high, 0);
  w[1] = tb_fifth(w[1], high, 2);
}

TB_INLINE void tb_codes_q5_1(int8x16_t w[8], const uint8_t *b) {
  tb_block_q5_1(w, b);
  tb_block_q5_1(w + 2, b + 24);
  tb_block_q5_1(w + 4, b + 48);
  tb_block_q5_1(w + 6, b + 72);
}

/* The 16 levels of iq4_nl and iq4_xs (a constant of the format). */
static const int8_t tb_iq4_levels_arm[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

TB_INLINE void tb_levels(int8x16_t w[8]) {
  const int8x16_t levels = vld1q_s8(tb_iq4_levels_arm);
  for (int i = 0; i < 8; i++) w[i] = vqtbl1q_s8(levels, vreinterpretq_u8_s8(w[i]));
}

TB_INLINE void tb_codes_iq4_nl(int8x16_t w[8], const uint8_t *b) {
  tb_nibble_blocks(w, b + 2, 18);
  tb_levels(w);
}

/* ---- super-blocks of 256: one half ---- */

/* 64 values share 32 bytes: the first 32 in the low nibbles. */
TB_INLINE void tb_nibbles64(int8x16_t *w, const uint8_t *p) {
  uint8x16_t a = vld1q_u8(p), b = vld1q_u8(p + 16);
  w[0] = tb_low_nibbles(a);
  w[1] = tb_low_nibbles(b);
  w[2] = tb_high_nibbles(a);
  w[3] = tb_high_nibbles(b);
}

TB_INLINE void tb_codes_q4_k(int8x16_t w[8], const uint8_t *b, int half) {
  tb_nibbles64(w, b + 16 + 64 * half);
  tb_nibbles64(w + 4, b + 48 + 64 * half);
}

TB_INLINE void tb_codes_q5_k(int8x16_t w[8], const uint8_t *b, int half) {
  uint8x16_t high0 = vld1q_u8(b + 16), high1 = vld1q_u8(b + 32);
  tb_nibbles64(w, b + 48 + 64 * half);
  tb_nibbles64(w + 4, b + 80 + 64 * half);
  if (half) {
    high0 = vshrq_n_u8(high0, 4);
    high1 = vshrq_n_u8(high1, 4);
  }
  for (int run = 0; run < 4; run++) {
    w[2 * run] = tb_insert(w[2 * run], tb_shift(high0, run - 4), 16);
    w[2 * run + 1] = tb_insert(w[2 * run + 1], tb_shift(high1, run - 4), 16);
  }
}

TB_INLINE void tb_codes_q6_k(int8x16_t w[8], const uint8_t *b, int half) {
  const uint8_t *low = b + 64 * half, *high = b + 128 + 32 * half;
  uint8x16_t high0 = vld1q_u8(high), high1 = vld1q_u8(high + 16);
  for (int i = 0; i < 4; i++) {
    uint8x16_t v = vld1q_u8(low + 16 * i);
    w[i] = tb_low_nibbles(v);
    w[i + 4] = tb_high_nibbles(v);
  }
  for (int run = 0; run < 4; run++) {
    w[2 * run] = tb_insert(w[2 * run], tb_shift(high0, 2 * run - 4), 0x30);
    w[2 * run + 1] = tb_insert(w[2 * run + 1], tb_shift(high1, 2 * run - 4), 0x30);
  }
}

TB_INLINE void tb_pairs(int8x16_t w[8], const uint8_t *p) {
  uint8x16_t a = vld1q_u8(p), b = vld1q_u8(p + 16), three = vdupq_n_u8(3);
  for (int run = 0; run < 4; run++) {
    w[2 * run] = vreinterpretq_s8_u8(run < 3 ? vandq_u8(tb_shift(a, 2 * run), three) : vshrq_n_u8(a, 6));
    w[2 * run + 1] = vreinterpretq_s8_u8(run < 3 ? vandq_u8(tb_shift(b, 2 * run), three) : vshrq_n_u8(b, 6));
  }
}

TB_INLINE void tb_codes_q2_k(int8x16_t w[8], const uint8_t *b, int half) { tb_pairs(w, b + 16 + 32 * half); }

TB_INLINE void tb_codes_q3_k(int8x16_t w[8], const uint8_t *b, int half) {
  uint8x16_t high0 = vld1q_u8(b), high1 = vld1q_u8(b + 16);
  tb_pairs(w, b + 32 + 32 * half);
  if (half) {
    high0 = vshrq_n_u8(high0, 4);
    high1 = vshrq_n_u8(high1, 4);
  }
  for (int run = 0; run < 4; run++) {
    w[2 * run] = tb_insert(w[2 * run], tb_shift(high0, run - 2), 4);
    w[2 * run + 1] = tb_insert(w[2 * run + 1], tb_shift(high1, run - 2), 4);
  }
}

TB_INLINE void tb_codes_iq4_xs(int8x16_t w[8], const uint8_t *b, int half) {
  tb_nibble_blocks(w, b + 8 + 64 * half, 16);
  tb_levels(w);
}

/* ---- scales of a super-block ---- */

/* Eight six-bit scales and minima of q4_k and q5_k, from the 12 bytes at s. */
TB_INLINE void tb_scales_q4_k(int16x8_t *scales, int16x8_t *minima, const uint8_t *s) {
  uint64_t first = tb_load_u64(s), rest = tb_load_u32(s + 8);
  uint64_t low = first & 0x3f3f3f3f3f3f3f3fu; /* scales 0-3 and minima 0-3 */
  uint64_t high = ((rest | rest << 28) & 0x0f0f0f0f0f0f0f0fu) | (first >> 2 & 0x3030303030303030u); /* those of 4-7 */
  *scales = vreinterpretq_s16_u16(vmovl_u8(vcreate_u8((uint32_t)low | high << 32)));
  *minima = vreinterpretq_s16_u16(vmovl_u8(vcreate_u8(low >> 32 | (high >> 32) << 32)));
}

/* Sixteen six-bit scales of q3_k from the 12 bytes at s, offset taken off. */
TB_INLINE int8x16_t tb_scales_q3_k(const uint8_t *s) {
  uint8x8_t low = vld1_u8(s);
  uint8x16_t nibbles = vcombine_u8(vand_u8(low, vdup_n_u8(15)), vshr_n_u8(low, 4));
  uint32x4_t word = vdupq_n_u32(tb_load_u32(s + 8));
  static const int32_t by[4] = {4, 2, 0, -2}; /* left shifts that bring the pair of each word to bits 4 and 5 */
  uint8x16_t pairs = vandq_u8(vreinterpretq_u8_u32(vshlq_u32(word, vld1q_s32(by))), vdupq_n_u8(0x30));
  return vsubq_s8(vreinterpretq_s8_u8(vorrq_u8(nibbles, pairs)), vdupq_n_s8(32));
}

/* Eight six-bit scales of iq4_xs, offset taken off; b is the super-block. */
TB_INLINE int16x8_t tb_scales_iq4_xs(const uint8_t *b) {
  uint16_t high;
  memcpy(&high, b + 2, sizeof high);
  uint8x8_t low = vreinterpret_u8_u32(vdup_n_u32(tb_load_u32(b + 4)));
  uint8x8_t nibbles = vzip1_u8(vand_u8(low, vdup_n_u8(15)), vshr_n_u8(low, 4));
  static const int16_t by[8] = {4, 2, 0, -2, -4, -6, -8, -10};
  uint16x8_t pairs = vandq_u16(vshlq_u16(vdupq_n_u16(high), vld1q_s16(by)), vdupq_n_u16(0x30));
  return vsubq_s16(vreinterpretq_s16_u16(vorrq_u16(vmovl_u8(nibbles), pairs)), vdupq_n_s16(32));
}

#endif
