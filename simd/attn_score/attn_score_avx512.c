#include "simd/kernels.h"
#include "simd/vec/vnni.h"

TB_INLINE void finish(float *s, __m512 dot, __m512 a, const float *b, bool add) {
  __m512 base = _mm512_set1_ps(*b);
  if (add) base = _mm512_add_ps(_mm512_loadu_ps(s), base);
  _mm512_storeu_ps(s, _mm512_fmadd_ps(a, dot, base));
}

/* n query heads, 32 tokens at a time. A nibble holds code + 4 · (code of the token 16 further): `low` sums the first
 * alone, `both` whole nibbles, so 4 · second = both - low. a/4 is exact: a is 0 or above 2^-107. */
TB_INLINE void score(float *s, size_t lds, const int8_t *codes, const float *a, const float *b, bool add, size_t n,
                     const unsigned char *block, size_t planes, size_t tokens) {
  /* The same place of the next block, fetched while this one is used; who attends to parts of blocks goes elsewhere. */
  const size_t ahead = tokens == TB_KV_BLOCK ? tb_keys2_bytes(planes) : 0;
  const __m512i three = _mm512_set1_epi8(3), fifteen = _mm512_set1_epi8(15);
  for (size_t t = 0; t < tokens; t += 32) {
    __m512i low[4], both[4];
    for (size_t g = 0; g < n; g++) low[g] = both[g] = _mm512_setzero_si512();
#pragma GCC unroll 2
    for (size_t c = 0; c < planes; c += 8, block += 64) {
      __m512i w = _mm512_load_si512((const void *)block);
      _mm_prefetch((const char *)block + ahead, _MM_HINT_T0);
      __m512i n0 = _mm512_and_si512(w, fifteen), n1 = _mm512_and_si512(_mm512_srli_epi16(w, 4), fifteen);
      __m512i u0 = _mm512_and_si512(w, three), u1 = _mm512_and_si512(n1, three);
      for (size_t g = 0; g < n; g++) {
        __m512i q0 = _mm512_set1_epi32(tb_dword(codes + g * planes + c));
        __m512i q1 = _mm512_set1_epi32(tb_dword(codes + g * planes + c + 4));
        low[g] = tb_dot512(low[g], u0, q0);
        both[g] = tb_dot512(both[g], n0, q0);
        low[g] = tb_dot512(low[g], u1, q1);
        both[g] = tb_dot512(both[g], n1, q1);
      }
    }
    for (size_t g = 0; g < n; g++) {
      __m512 second = _mm512_cvtepi32_ps(_mm512_sub_epi32(both[g], low[g]));
      finish(s + g * lds + t, _mm512_cvtepi32_ps(low[g]), _mm512_set1_ps(a[g]), b + g, add);
      finish(s + g * lds + t + 16, second, _mm512_set1_ps(a[g] * 0.25f), b + g, add);
    }
  }
}

void tb_attn_score_keys2_avx512 TB_ATTN_SCORE_KEYS2_ARGS {
  const unsigned char *part = (const unsigned char *)block + first / 32 * planes * 8;
  for (size_t g = 0; g < n_q;) {
    float *sg = s + g * lds;
    const int8_t *qg = codes + g * planes;
    const size_t heads = n_q - g < 4 ? n_q - g : 4;
    if (heads == 4) score(sg, lds, qg, a + g, b + g, add, 4, part, planes, n);
    else if (heads == 3) score(sg, lds, qg, a + g, b + g, add, 3, part, planes, n);
    else if (heads == 2) score(sg, lds, qg, a + g, b + g, add, 2, part, planes, n);
    else score(sg, lds, qg, a + g, b + g, add, 1, part, planes, n);
    g += heads;
  }
}
