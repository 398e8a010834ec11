#include "simd/kernels.h"
#include "simd/vec/vnni.h"

TB_INLINE void finish(float *s, __m256i dot, float a, const float *b, bool add) {
  __m256 base = _mm256_set1_ps(*b);
  if (add) base = _mm256_add_ps(_mm256_loadu_ps(s), base);
  _mm256_storeu_ps(s, _mm256_fmadd_ps(_mm256_set1_ps(a), _mm256_cvtepi32_ps(dot), base));
}

/* As attn_score_avx512.c, 8 lanes: tokens 0-7 and 16-23 of a group of 32, from the first or second half of each line. */
TB_INLINE void score8(float *s, size_t lds, const int8_t *codes, const float *a, const float *b, bool add, size_t n,
                      const unsigned char *half, size_t planes) {
  const __m256i three = _mm256_set1_epi8(3), fifteen = _mm256_set1_epi8(15);
  __m256i low[4], both[4];
  for (size_t g = 0; g < n; g++) low[g] = both[g] = _mm256_setzero_si256();
  for (size_t c = 0; c < planes; c += 8, half += 64) {
    __m256i w = _mm256_load_si256((const void *)half);
    __m256i n0 = _mm256_and_si256(w, fifteen), n1 = _mm256_and_si256(_mm256_srli_epi16(w, 4), fifteen);
    __m256i u0 = _mm256_and_si256(w, three), u1 = _mm256_and_si256(n1, three);
    for (size_t g = 0; g < n; g++) {
      __m256i q0 = _mm256_set1_epi32(tb_dword(codes + g * planes + c));
      __m256i q1 = _mm256_set1_epi32(tb_dword(codes + g * planes + c + 4));
      low[g] = tb_dot256(low[g], u0, q0);
      both[g] = tb_dot256(both[g], n0, q0);
      low[g] = tb_dot256(low[g], u1, q1);
      both[g] = tb_dot256(both[g], n1, q1);
    }
  }
  for (size_t g = 0; g < n; g++) {
    finish(s + g * lds, low[g], a[g], b + g, add);
    finish(s + g * lds + 16, _mm256_sub_epi32(both[g], low[g]), a[g] * 0.25f, b + g, add);
  }
}

void tb_attn_score_keys2_avxvnni TB_ATTN_SCORE_KEYS2_ARGS {
  for (size_t g = 0; g < n_q;) {
    const int8_t *qg = codes + g * planes;
    const size_t heads = n_q - g < 4 ? n_q - g : 4;
    for (size_t t = 0; t < n; t += t % 32 ? 24 : 8) { /* 0, 8, 32, 40, … */
      const unsigned char *half = (const unsigned char *)block + (first + t) / 32 * planes * 8 + t % 32 * 4;
      float *sg = s + g * lds + t;
      if (heads == 4) score8(sg, lds, qg, a + g, b + g, add, 4, half, planes);
      else if (heads == 3) score8(sg, lds, qg, a + g, b + g, add, 3, half, planes);
      else if (heads == 2) score8(sg, lds, qg, a + g, b + g, add, 2, half, planes);
      else score8(sg, lds, qg, a + g, b + g, add, 1, half, planes);
    }
    g += heads;
  }
}
