#include "simd/kernels.h"
#include "simd/vec/vnni.h"

/* Prefetch distances in bytes: 64 planes of the next block, fetched while this one is used; who attends to parts of
 * blocks goes elsewhere. */
enum { AHEAD2 = 64 * TB_KV_BLOCK / 4, AHEAD3 = 64 * TB_KV_BLOCK / 5 };

/* o += a·dot + b, where dot comes 4^shift times too large: a/4^shift is exact, a is 0 or above 2^-107. */
TB_INLINE void add16(float *o, __m512i dot, float a, float b) {
  __m512 sum = _mm512_fmadd_ps(_mm512_set1_ps(a), _mm512_cvtepi32_ps(dot), _mm512_set1_ps(b));
  _mm512_storeu_ps(o, _mm512_add_ps(_mm512_loadu_ps(o), sum));
}

TB_INLINE void add8(float *o, __m256i dot, float a, float b) {
  __m256 sum = _mm256_fmadd_ps(_mm256_set1_ps(a), _mm256_cvtepi32_ps(dot), _mm256_set1_ps(b));
  _mm256_storeu_ps(o, _mm256_add_ps(_mm256_loadu_ps(o), sum));
}

/* ------------------------------------------------------------------------------------------------------- values2 */

/* 64 planes, n query heads. The codes of a byte share their weight, so whole bytes are summed under growing masks; what a
 * wider mask adds is the next plane times 4, 16, 64. */
TB_INLINE void values64(float *o, size_t ldo, const int8_t *w, const float *a, const float *b, size_t n,
                        const unsigned char *lines, size_t tokens) {
  const size_t ahead = tokens == TB_KV_BLOCK ? AHEAD2 : 0;
  const __m512i m0 = _mm512_set1_epi8(3), m1 = _mm512_set1_epi8(15), m2 = _mm512_set1_epi8(63);
  __m512i acc[4][4];
  for (size_t g = 0; g < n; g++)
    for (int s = 0; s < 4; s++) acc[g][s] = _mm512_setzero_si512();
  for (size_t t = 0; t < tokens; t += 4, lines += 64) {
    __m512i u3 = _mm512_load_si512((const void *)lines);
    _mm_prefetch((const char *)lines + ahead, _MM_HINT_T0);
    __m512i u0 = _mm512_and_si512(u3, m0), u1 = _mm512_and_si512(u3, m1), u2 = _mm512_and_si512(u3, m2);
    for (size_t g = 0; g < n; g++) {
      __m512i weight = _mm512_set1_epi32(tb_dword(w + g * TB_KV_BLOCK + t));
      acc[g][0] = tb_dot512(acc[g][0], u0, weight);
      acc[g][1] = tb_dot512(acc[g][1], u1, weight);
      acc[g][2] = tb_dot512(acc[g][2], u2, weight);
      acc[g][3] = tb_dot512(acc[g][3], u3, weight);
    }
  }
  for (size_t g = 0; g < n; g++, o += ldo) {
    add16(o, acc[g][0], a[g], b[g]);
    add16(o + 16, _mm512_sub_epi32(acc[g][1], acc[g][0]), a[g] * 0x1p-2f, b[g]);
    add16(o + 32, _mm512_sub_epi32(acc[g][2], acc[g][1]), a[g] * 0x1p-4f, b[g]);
    add16(o + 48, _mm512_sub_epi32(acc[g][3], acc[g][2]), a[g] * 0x1p-6f, b[g]);
  }
}

/* The last 32 planes of a size that is not a multiple of 64. */
static void values32(float *o, const int8_t *w, float a, float b, const unsigned char *lines, size_t tokens) {
  const __m256i m0 = _mm256_set1_epi8(3), m1 = _mm256_set1_epi8(15), m2 = _mm256_set1_epi8(63);
  __m256i acc0 = _mm256_setzero_si256(), acc1 = acc0, acc2 = acc0, acc3 = acc0;
  for (size_t t = 0; t < tokens; t += 4, lines += 32) {
    __m256i u = _mm256_load_si256((const void *)lines), weight = _mm256_set1_epi32(tb_dword(w + t));
    acc0 = tb_dot256(acc0, _mm256_and_si256(u, m0), weight);
    acc1 = tb_dot256(acc1, _mm256_and_si256(u, m1), weight);
    acc2 = tb_dot256(acc2, _mm256_and_si256(u, m2), weight);
    acc3 = tb_dot256(acc3, u, weight);
  }
  add8(o, acc0, a, b);
  add8(o + 8, _mm256_sub_epi32(acc1, acc0), a * 0x1p-2f, b);
  add8(o + 16, _mm256_sub_epi32(acc2, acc1), a * 0x1p-4f, b);
  add8(o + 24, _mm256_sub_epi32(acc3, acc2), a * 0x1p-6f, b);
}

/* Whole blocks have a loop of their own, whose length the compiler knows: 5 to 9 % of the time. */
#define VALUES64(heads)                                                                                                \
  (n == TB_KV_BLOCK ? values64(og, ldo, wg, a + g, b + g, heads, part, TB_KV_BLOCK)                                    \
                    : values64(og, ldo, wg, a + g, b + g, heads, part, n))
void tb_attn_accum_values2_avx512 TB_ATTN_ACCUM_BLOCK_ARGS {
  const unsigned char *lines = block;
  size_t c = 0;
  for (; c + 64 <= planes; c += 64, lines += tb_values2_bytes(64)) {
    const unsigned char *part = lines + first * 16;
    for (size_t g = 0; g < n_q;) {
      float *og = o + g * ldo + c;
      const int8_t *wg = w + g * TB_KV_BLOCK;
      const size_t heads = n_q - g < 4 ? n_q - g : 4;
      if (heads == 4) VALUES64(4);
      else if (heads == 3) VALUES64(3);
      else if (heads == 2) VALUES64(2);
      else VALUES64(1);
      g += heads;
    }
  }
  if (c < planes)
    for (size_t g = 0; g < n_q; g++) values32(o + g * ldo + c, w + g * TB_KV_BLOCK, a[g], b[g], lines + first * 8, n);
}

/* ------------------------------------------------------------------------------------------------------- ternary */

/* `width` lines (16 planes each) of 20 tokens at a time, n query heads. A trit is the number of thresholds 256/3 and
 * 512/3 that the byte exceeds; tripling the byte brings the next one. */
TB_INLINE void trits(float *o, size_t ldo, const int8_t *w, const float *a, const float *b, size_t n, size_t width,
                     const unsigned char *lines, size_t tokens) {
  const size_t ahead = tokens == TB_KV_BLOCK ? AHEAD3 : 0;
  const __m512i one = _mm512_set1_epi8(1), two = _mm512_set1_epi8(2);
  const __m512i third = _mm512_set1_epi8(85), thirds = _mm512_set1_epi8((char)170);
  __m512i acc[4][4];
  for (size_t g = 0; g < n; g++)
    for (size_t j = 0; j < width; j++) acc[g][j] = _mm512_setzero_si512();
  for (size_t t = 0; t < tokens; t += 20, lines += 64 * width) {
    __m512i y[4];
    for (size_t j = 0; j < width; j++) y[j] = _mm512_load_si512((const void *)(lines + 64 * j));
    for (size_t j = 0; j < width; j++) _mm_prefetch((const char *)lines + 64 * j + ahead, _MM_HINT_T0);
    TB_UNROLL for (size_t k = 0; k < 5; k++) {
      __m512i weight[4];
      for (size_t g = 0; g < n; g++) weight[g] = _mm512_set1_epi32(tb_dword(w + g * TB_KV_BLOCK + t + 4 * k));
      for (size_t j = 0; j < width; j++) {
        __m512i u = _mm512_maskz_mov_epi8(_mm512_cmpgt_epu8_mask(y[j], third), one);
        u = _mm512_mask_mov_epi8(u, _mm512_cmpgt_epu8_mask(y[j], thirds), two);
        y[j] = _mm512_add_epi8(y[j], _mm512_add_epi8(y[j], y[j]));
        for (size_t g = 0; g < n; g++) acc[g][j] = tb_dot512(acc[g][j], u, weight[g]);
      }
    }
  }
  for (size_t g = 0; g < n; g++)
    for (size_t j = 0; j < width; j++) add16(o + g * ldo + 16 * j, acc[g][j], a[g], b[g]);
}

#define TRITS(heads, width) trits(og, ldo, wg, a + g, b + g, heads, width, lines + first / 20 * 64 * (width), n)
void tb_attn_accum_ternary_avx512 TB_ATTN_ACCUM_BLOCK_ARGS {
  const unsigned char *lines = block;
  for (size_t c = 0; c < planes; c += 64, lines += tb_ternary_bytes(64))
    for (size_t g = 0; g < n_q;) {
      float *og = o + g * ldo + c;
      const int8_t *wg = w + g * TB_KV_BLOCK;
      const bool full = planes - c >= 64;
      const size_t heads = n_q - g < 4 ? n_q - g : 4;
      if (heads == 4) full ? TRITS(4, 4) : TRITS(4, 2);
      else if (heads == 3) full ? TRITS(3, 4) : TRITS(3, 2);
      else if (heads == 2) full ? TRITS(2, 4) : TRITS(2, 2);
      else full ? TRITS(1, 4) : TRITS(1, 2);
      g += heads;
    }
}
