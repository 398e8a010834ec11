#include "simd/vec/vec_avx512.h"
#include "simd/kvdequant/keys16_x86.h"

typedef __m512i dwords;
typedef __m512 codebook;

TB_INLINE dwords dwords_load(const unsigned char *line) { return _mm512_load_si512((const void *)line); }
TB_INLINE dwords dwords_load_narrow(const unsigned char *line) {
  const __m512i w = _mm512_broadcast_i64x4(_mm256_load_si256((const void *)line));
  return _mm512_mask_srli_epi32(w, 0xff00, w, 2);
}
TB_INLINE dwords dwords_triple(dwords y) { return _mm512_add_epi8(y, _mm512_add_epi8(y, y)); }

/* The number of thresholds 256/3 and 512/3 that a byte exceeds. */
TB_INLINE dwords dwords_trits(dwords y) {
  const __mmask64 third = _mm512_cmpgt_epu8_mask(y, _mm512_set1_epi8(85));
  const __mmask64 thirds = _mm512_cmpgt_epu8_mask(y, _mm512_set1_epi8((char)170));
  return _mm512_mask_mov_epi8(_mm512_maskz_mov_epi8(third, _mm512_set1_epi8(1)), thirds, _mm512_set1_epi8(2));
}

TB_INLINE codebook codebook_of(float step, float centre) { return _mm512_broadcast_f32x4(levels4(step, centre)); }
TB_INLINE v16 dwords_level(dwords w, unsigned at, codebook l) {
  return v16_of(_mm512_permutevar_ps(l, _mm512_srli_epi32(w, at)));
}

#include "simd/kvdequant/kvdequant_v16.h"
