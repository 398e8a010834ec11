/* keys16 of simd/kvdequant/kvdequant_v16.h for AVX2 and AVX-512. */
#ifndef TB_SIMD_KVDEQUANT_KEYS16_X86_H
#define TB_SIMD_KVDEQUANT_KEYS16_X86_H

#include "simd/vec/dword.h"

/* Dwords: the line's lane, the same for its high nibbles, the next line's lane, the same. */
TB_INLINE void keys16(const unsigned char *line, const unsigned char *next, v16 *first, v16 *second) {
  const __m128i three = _mm_set1_epi8(3);
  __m128i w = _mm_blend_epi32(_mm_set1_epi32(tb_dword(line)), _mm_set1_epi32(tb_dword(next)), 0xc);
  w = _mm_blend_epi32(w, _mm_srli_epi16(w, 4), 0xa);
  *first = v16_from_i8(_mm_and_si128(w, three));
  *second = v16_from_i8(_mm_and_si128(_mm_srli_epi16(w, 2), three));
}

/* (u - centre)·step of the codes 0 … 3. */
TB_INLINE __m128 levels4(float step, float centre) {
  return _mm_mul_ps(_mm_sub_ps(_mm_setr_ps(0, 1, 2, 3), _mm_set1_ps(centre)), _mm_set1_ps(step));
}

#endif
