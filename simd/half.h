/* Scalar conversions between float and the 16-bit formats, bit-exact on every machine (IEEE 754 binary16, bfloat16). */
#ifndef TB_SIMD_HALF_H
#define TB_SIMD_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t tb_float_bits(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return u;
}

static inline float tb_bits_float(uint32_t u) {
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

static inline float tb_f16_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = (h >> 10) & 31, man = h & 0x3ff;
  if (exp == 31) return tb_bits_float(sign | 0x7f800000 | man << 13 | (man ? 0x400000 : 0)); /* inf; quieted NaN */
  if (exp == 0) {
    float f = (float)man * 0x1p-24f; /* zero and subnormals: exact */
    return sign ? -f : f;
  }
  return tb_bits_float(sign | (exp + 112) << 23 | man << 13);
}

/* Round to nearest even, as F16C and NEON do. */
static inline uint16_t tb_f32_to_f16(float f) {
  uint32_t u = tb_float_bits(f), sign = u >> 16 & 0x8000, mag = u & 0x7fffffff;
  if (mag > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (mag >> 13 & 0x3ff)); /* NaN, quieted */
  if (mag >= 0x477ff000) return (uint16_t)(sign | 0x7c00);                      /* rounds to infinity */
  if (mag < 0x38800000) {                                                       /* subnormal or zero */
    float scaled = tb_bits_float(mag) + 0.5f; /* 0.5 has an ulp of 2^-24: the addition rounds to a multiple of it */
    return (uint16_t)(sign | (tb_float_bits(scaled) - 0x3f000000));
  }
  uint32_t even = mag >> 13 & 1;
  return (uint16_t)(sign | (mag - 0x38000000 + 0xfff + even) >> 13);
}

static inline float tb_bf16_to_f32(uint16_t h) { return tb_bits_float((uint32_t)h << 16); }

static inline uint16_t tb_f32_to_bf16(float f) {
  uint32_t u = tb_float_bits(f);
  if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* FP8 E4M3 (OCP 8-bit floating point specification, the form without infinities): 4 bits of exponent with bias 7, 3 of
 * mantissa, largest 448, 0x7f is NaN. */
static inline float tb_f8_to_f32(uint8_t h) {
  uint32_t sign = (uint32_t)(h & 0x80) << 24, mag = h & 0x7f;
  if (mag < 8) return tb_bits_float(tb_float_bits((float)mag * 0x1p-9f) | sign);
  return tb_bits_float(mag == 0x7f ? sign | 0x7fc00000 : sign | ((mag << 20) + (120u << 23)));
}

/* Round to nearest even; beyond 448 the largest value. */
static inline uint8_t tb_f32_to_f8(float f) {
  uint32_t u = tb_float_bits(f), sign = u >> 24 & 0x80, mag = u & 0x7fffffff;
  if (mag > 0x7f800000) return (uint8_t)(sign | 0x7f);
  if (mag >= 0x43e00000) return (uint8_t)(sign | 0x7e);
  if (mag < 0x3c800000) { /* below 2^-6: 2^14 has an ulp of 2^-9 */
    float scaled = tb_bits_float(mag) + 0x1p14f;
    return (uint8_t)(sign | (tb_float_bits(scaled) - 0x46800000));
  }
  return (uint8_t)(sign | (mag - (120u << 23) + 0x7ffff + (mag >> 20 & 1)) >> 20);
}

/* Unaligned little-endian loads from blocks. */
static inline uint16_t tb_load_u16(const void *p) {
  uint16_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static inline float tb_load_f16(const void *p) { return tb_f16_to_f32(tb_load_u16(p)); }

#endif
