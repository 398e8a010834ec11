#include "simd/kernels.h"
#include "simd/vec/vnni.h"

/* o += a·dot + b. */
TB_INLINE void add8(float *o, __m256i dot, float a, float b) {
  __m256 sum = _mm256_fmadd_ps(_mm256_set1_ps(a), _mm256_cvtepi32_ps(dot), _mm256_set1_ps(b));
  _mm256_storeu_ps(o, _mm256_add_ps(_mm256_loadu_ps(o), sum));
}

/* As attn_accum_avx512.c for 8 lanes × 4 planes of values2. Lines are `width` bytes apart, the four planes of a lane
 * width/4. */
TB_INLINE void values8(float *o, size_t ldo, const int8_t *w, const float *a, const float *b, size_t n,
                       const unsigned char *lines, size_t width, size_t tokens) {
  const __m256i m0 = _mm256_set1_epi8(3), m1 = _mm256_set1_epi8(15), m2 = _mm256_set1_epi8(63);
  __m256i acc[2][4];
  for (size_t g = 0; g < n; g++)
    for (int s = 0; s < 4; s++) acc[g][s] = _mm256_setzero_si256();
  for (size_t t = 0; t < tokens; t += 4, lines += width) {
    __m256i u3 = _mm256_load_si256((const void *)lines);
    __m256i u0 = _mm256_and_si256(u3, m0), u1 = _mm256_and_si256(u3, m1), u2 = _mm256_and_si256(u3, m2);
    for (size_t g = 0; g < n; g++) {
      __m256i weight = _mm256_set1_epi32(tb_dword(w + g * TB_KV_BLOCK + t));
      acc[g][0] = tb_dot256(acc[g][0], u0, weight);
      acc[g][1] = tb_dot256(acc[g][1], u1, weight);
      acc[g][2] = tb_dot256(acc[g][2], u2, weight);
      acc[g][3] = tb_dot256(acc[g][3], u3, weight);
    }
  }
  for (size_t g = 0; g < n; g++, o += ldo) {
    add8(o, acc[g][0], a[g], b[g]);
    add8(o + width / 4, _mm256_sub_epi32(acc[g][1], acc[g][0]), a[g] * 0x1p-2f, b[g]);
    add8(o + width / 2, _mm256_sub_epi32(acc[g][2], acc[g][1]), a[g] * 0x1p-4f, b[g]);
    add8(o + width / 4 * 3, _mm256_sub_epi32(acc[g][3], acc[g][2]), a[g] * 0x1p-6f, b[g]);
  }
}

void tb_attn_accum_values2_avxvnni TB_ATTN_ACCUM_BLOCK_ARGS {
  for (size_t c = 0; c < planes; c += 64) {
    const size_t width = planes - c < 64 ? 32 : 64;
    for (size_t part = 0; part < width; part += 32) {
      const unsigned char *lines = (const unsigned char *)block + c * (TB_KV_BLOCK / 4) + first / 4 * width + part;
      for (size_t g = 0; g < n_q; g += 2) {
        float *og = o + g * ldo + c + part / 4;
        const int8_t *wg = w + g * TB_KV_BLOCK;
        if (n_q - g >= 2) values8(og, ldo, wg, a + g, b + g, 2, lines, width, n);
        else values8(og, ldo, wg, a + g, b + g, 1, lines, width, n);
      }
    }
  }
}

/* ------------------------------------------------------------------------------------------------------- ternary */

/* Minus the trit of each byte: -1 where it reaches 256/3, -1 more where it reaches 512/3. */
TB_INLINE __m256i minus_trit(__m256i y) {
  __m256i third = _mm256_cmpeq_epi8(_mm256_max_epu8(y, _mm256_set1_epi8(86)), y);
  __m256i thirds = _mm256_cmpeq_epi8(_mm256_max_epu8(y, _mm256_set1_epi8((char)171)), y);
  return _mm256_add_epi8(third, thirds);
}

/* 16 planes, n query heads; 20 tokens' lines are `stride` bytes apart. The weights are the unsigned factor. */
TB_INLINE void trits16(float *o, size_t ldo, const int8_t *w, const float *a, const float *b, size_t n,
                       const unsigned char *lines, size_t stride, size_t tokens) {
  __m256i low[4], high[4];
  for (size_t g = 0; g < n; g++) low[g] = high[g] = _mm256_setzero_si256();
  for (size_t t = 0; t < tokens; t += 20, lines += stride) {
    __m256i y = _mm256_load_si256((const void *)lines), z = _mm256_load_si256((const void *)(lines + 32));
    TB_UNROLL for (size_t k = 0; k < 5; k++) {
      const __m256i u = minus_trit(y), v = minus_trit(z);
      y = _mm256_add_epi8(y, _mm256_add_epi8(y, y));
      z = _mm256_add_epi8(z, _mm256_add_epi8(z, z));
      for (size_t g = 0; g < n; g++) {
        __m256i weight = _mm256_set1_epi32(tb_dword(w + g * TB_KV_BLOCK + t + 4 * k));
        low[g] = tb_dot256(low[g], weight, u);
        high[g] = tb_dot256(high[g], weight, v);
      }
    }
  }
  for (size_t g = 0; g < n; g++) {
    add8(o + g * ldo, low[g], -a[g], b[g]);
    add8(o + g * ldo + 8, high[g], -a[g], b[g]);
  }
}

void tb_attn_accum_ternary_avxvnni TB_ATTN_ACCUM_BLOCK_ARGS {
  for (size_t c = 0; c < planes; c += 16) {
    const size_t chunk = c / 64 * 64, stride = planes - chunk < 64 ? 128 : 256;
    const unsigned char *lines = (const unsigned char *)block + chunk * (TB_KV_BLOCK / 5) + first / 20 * stride + (c - chunk) * 4;
    for (size_t g = 0; g < n_q; g += 4) {
      float *og = o + g * ldo + c;
      const int8_t *wg = w + g * TB_KV_BLOCK;
      if (n_q - g >= 4) trits16(og, ldo, wg, a + g, b + g, 4, lines, stride, n);
      else if (n_q - g == 3) trits16(og, ldo, wg, a + g, b + g, 3, lines, stride, n);
      else if (n_q - g == 2) trits16(og, ldo, wg, a + g, b + g, 2, lines, stride, n);
      else trits16(og, ldo, wg, a + g, b + g, 1, lines, stride, n);
    }
  }
}
