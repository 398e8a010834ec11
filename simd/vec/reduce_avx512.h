/* Four rows at a time for AVX-512: the quantisers of attention need a maximum, a division and a sum per query head, whose
 * latencies would show one after the other. */
#ifndef TB_SIMD_VEC_REDUCE_AVX512_H
#define TB_SIMD_VEC_REDUCE_AVX512_H

#include <immintrin.h>
#include "simd/vec/inline.h"

/* Lane i: the largest (the sum) of the 16 lanes of v[i]. */
TB_INLINE __m128 tb_max4(const __m512 v[4]) {
  __m512 x = _mm512_max_ps(_mm512_shuffle_f32x4(v[0], v[1], 0x44), _mm512_shuffle_f32x4(v[0], v[1], 0xee));
  __m512 y = _mm512_max_ps(_mm512_shuffle_f32x4(v[2], v[3], 0x44), _mm512_shuffle_f32x4(v[2], v[3], 0xee));
  __m512 q = _mm512_max_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xdd));
  q = _mm512_max_ps(q, _mm512_permute_ps(q, 0xb1));
  q = _mm512_max_ps(q, _mm512_permute_ps(q, 0x4e));
  return _mm512_castps512_ps128(_mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), q));
}
TB_INLINE __m128i tb_sum4(const __m512i v[4]) {
  __m512i x = _mm512_add_epi32(_mm512_shuffle_i32x4(v[0], v[1], 0x44), _mm512_shuffle_i32x4(v[0], v[1], 0xee));
  __m512i y = _mm512_add_epi32(_mm512_shuffle_i32x4(v[2], v[3], 0x44), _mm512_shuffle_i32x4(v[2], v[3], 0xee));
  __m512i q = _mm512_add_epi32(_mm512_shuffle_i32x4(x, y, 0x88), _mm512_shuffle_i32x4(x, y, 0xdd));
  q = _mm512_add_epi32(q, _mm512_shuffle_epi32(q, 0xb1));
  q = _mm512_add_epi32(q, _mm512_shuffle_epi32(q, 0x4e));
  return _mm512_castsi512_si128(_mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), q));
}

/* 64 dwords of -128 … 127 to bytes, in order. */
TB_INLINE __m512i tb_pack64(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)));
}

/* The 8-bit scales of four maxima m (simd/attn_score/attn_score.h): 127/m and m/127, both 0 below 2^-100. */
TB_INLINE __m128 tb_inverse4(__m128 m) {
  return _mm_and_ps(_mm_cmpge_ps(m, _mm_set1_ps(0x1p-100f)), _mm_div_ps(_mm_set1_ps(127.0f), m));
}
TB_INLINE __m128 tb_scale4(__m128 m) {
  return _mm_and_ps(_mm_cmpge_ps(m, _mm_set1_ps(0x1p-100f)), _mm_div_ps(m, _mm_set1_ps(127.0f)));
}

#endif
