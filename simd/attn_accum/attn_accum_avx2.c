#include "simd/kernels.h"
#include "simd/vec/dword.h"

/* o += a·dot + b. */
TB_INLINE void add8(float *o, __m256i pairs, __m256i ones, float a, float b) {
  __m256 dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
  _mm256_storeu_ps(o, _mm256_add_ps(_mm256_loadu_ps(o), _mm256_fmadd_ps(_mm256_set1_ps(a), dot, _mm256_set1_ps(b))));
}

/* 8 lanes × 4 planes of values2, n query heads: 16-bit sums of two tokens each, at most 40 · 2·3·127 = 30480.
 * Lines are `width` bytes apart, the four planes of a lane width/4. */
TB_INLINE void values8(float *o, size_t ldo, const int8_t *w, const float *a, const float *b, size_t n,
                       const unsigned char *lines, size_t width, size_t tokens) {
  const __m256i three = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
  __m256i acc[2][4];
  for (size_t g = 0; g < n; g++)
    for (int s = 0; s < 4; s++) acc[g][s] = _mm256_setzero_si256();
  for (size_t t = 0; t < tokens; t += 4, lines += width) {
    __m256i u = _mm256_load_si256((const void *)lines);
    __m256i u0 = _mm256_and_si256(u, three), u1 = _mm256_and_si256(_mm256_srli_epi16(u, 2), three);
    __m256i u2 = _mm256_and_si256(_mm256_srli_epi16(u, 4), three), u3 = _mm256_and_si256(_mm256_srli_epi16(u, 6), three);
    for (size_t g = 0; g < n; g++) {
      __m256i weight = _mm256_set1_epi32(tb_dword(w + g * TB_KV_BLOCK + t));
      acc[g][0] = _mm256_add_epi16(acc[g][0], _mm256_maddubs_epi16(u0, weight));
      acc[g][1] = _mm256_add_epi16(acc[g][1], _mm256_maddubs_epi16(u1, weight));
      acc[g][2] = _mm256_add_epi16(acc[g][2], _mm256_maddubs_epi16(u2, weight));
      acc[g][3] = _mm256_add_epi16(acc[g][3], _mm256_maddubs_epi16(u3, weight));
    }
  }
  for (size_t g = 0; g < n; g++)
    for (size_t s = 0; s < 4; s++) add8(o + g * ldo + s * (width / 4), acc[g][s], ones, a[g], b[g]);
}

void tb_attn_accum_values2_avx2 TB_ATTN_ACCUM_BLOCK_ARGS {
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

/* 16 planes, n query heads; 20 tokens' lines are `stride` bytes apart. 16-bit sums: at most 40 · 2·2·127. */
TB_INLINE void trits16(float *o, size_t ldo, const int8_t *w, const float *a, const float *b, size_t n,
                       const unsigned char *lines, size_t stride, size_t tokens) {
  const __m256i minus_ones = _mm256_set1_epi16(-1);
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
        low[g] = _mm256_add_epi16(low[g], _mm256_maddubs_epi16(weight, u));
        high[g] = _mm256_add_epi16(high[g], _mm256_maddubs_epi16(weight, v));
      }
    }
  }
  for (size_t g = 0; g < n; g++) {
    add8(o + g * ldo, low[g], minus_ones, a[g], b[g]);
    add8(o + g * ldo + 8, high[g], minus_ones, a[g], b[g]);
  }
}

void tb_attn_accum_ternary_avx2 TB_ATTN_ACCUM_BLOCK_ARGS {
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
