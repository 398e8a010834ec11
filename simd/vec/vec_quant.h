/* 8-bit activation codes (simd/act.h, simd/quant/quant.h) in v16, for quant_q8 and for kernels that quantise what they
 * just computed. Include after the ISA's vec header. */
#ifndef TB_SIMD_VEC_QUANT_H
#define TB_SIMD_VEC_QUANT_H

/* Scale and reciprocal of groups whose largest magnitudes are m[0 … n-1]. The reciprocal of 0 is infinite and counts as
 * too large, like that of magnitudes below 127 · 2^-128. */
TB_INLINE void v16_group_scales(float *d, float *inverse, const float *m, int n) {
  TB_UNROLL for (int i = 0; i < n; i++) {
    float r = 127.0f / m[i];
    inverse[i] = r > 3.4e38f ? 0.0f : r;
    d[i] = m[i] / 127.0f;
  }
}

TB_INLINE v16 v16_pair_max(v16 x, v16 y) { return v16_max(v16_abs(x), v16_abs(y)); }

/* Four groups of 32 values. */
TB_INLINE void v16_quant_q8x4(int8_t *q, float *d, int16_t *s, const v16 x[8]) {
  float m[4], inverse[4];
  v16_hmax4(m, v16_pair_max(x[0], x[1]), v16_pair_max(x[2], x[3]), v16_pair_max(x[4], x[5]), v16_pair_max(x[6], x[7]));
  v16_group_scales(d, inverse, m, 4);
  v16 y[8];
  TB_UNROLL for (int i = 0; i < 8; i++) y[i] = v16_mul(x[i], v16_set1(inverse[i / 2]));
  v16_store_i8x8(q, s, y);
}

/* Not a number where a value was none: any sum will do, since what is computed from it is refused. */
TB_INLINE int16_t v16_code_sum(float sum) { return sum == sum ? (int16_t)sum : 0; }

/* One group. The codes are whole floats up to 127 until they are stored, so their sums are exact. */
TB_INLINE void v16_quant_q8(int8_t *q, float *d, int16_t *s, v16 x, v16 y) {
  float m = v16_hmax(v16_pair_max(x, y)), inverse, sums[4];
  v16_group_scales(d, &inverse, &m, 1);
  x = v16_rint(v16_mul(x, v16_set1(inverse)));
  y = v16_rint(v16_mul(y, v16_set1(inverse)));
  v16_store_i8(q, x);
  v16_store_i8(q + 16, y);
  v16_hsum4(sums, x, y, x, y);
  s[0] = v16_code_sum(sums[0]);
  s[1] = v16_code_sum(sums[1]);
}

/* k values, a multiple of 32. */
TB_INLINE void v16_quant_row(int8_t *q, float *d, int16_t *s, const float *x, size_t k) {
  size_t i = 0;
  for (; i + 128 <= k; i += 128) {
    v16 v[8];
    TB_UNROLL for (size_t j = 0; j < 8; j++) v[j] = v16_load(x + i + 16 * j);
    v16_quant_q8x4(q + i, d + i / 32, s + i / 16, v);
  }
  for (; i + 32 <= k; i += 32) v16_quant_q8(q + i, d + i / 32, s + i / 16, v16_load(x + i), v16_load(x + i + 16));
}

#endif
