/* One group of 8-bit activation codes (simd/act.h, simd/quant/quant.h) in v16, for kernels that quantise what they
 * just computed. Include after the ISA's vec header. */
#ifndef TB_SIMD_VEC_QUANT_H
#define TB_SIMD_VEC_QUANT_H

/* 32 values to codes, scale and the sums of 16 codes. The codes are whole floats up to 127 until they are stored, so
 * their sums are exact. */
TB_INLINE void v16_quant_q8(int8_t *q, float *d, int16_t *s, v16 x, v16 y) {
  float m = v16_hmax(v16_max(v16_abs(x), v16_abs(y)));
  float inverse = m > 0 ? 127.0f / m : 0.0f;
  if (inverse > 3.4e38f) inverse = 0.0f;
  *d = m / 127.0f;
  x = v16_rint(v16_mul(x, v16_set1(inverse)));
  y = v16_rint(v16_mul(y, v16_set1(inverse)));
  v16_store_i8(q, x);
  v16_store_i8(q + 16, y);
  float sums[4];
  v16_hsum4(sums, x, y, x, y);
  s[0] = (int16_t)sums[0];
  s[1] = (int16_t)sums[1];
}

#endif
