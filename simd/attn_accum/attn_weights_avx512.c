/* Not from attn_weights_v16.h: with so few instructions per head the latency of its maximum, division and sum would show;
 * four heads take each step together. */
#include "simd/kernels.h"
#include "simd/vec/reduce_avx512.h"
#include "simd/vec/vec_avx512.h"
#include "simd/vec/vnni.h"

enum { VECTORS = TB_KV_BLOCK / 16 };

/* 160 weights of one head; returns lanes whose sum is theirs. */
TB_INLINE __m512i quantise(int8_t *w, const float *p, const float *scales, float inverse) {
  __m512i code[VECTORS + 2], total = _mm512_setzero_si512();
  TB_UNROLL for (int i = 0; i < VECTORS; i++) {
    __m512 x = _mm512_mul_ps(_mm512_loadu_ps(p + 16 * i), _mm512_loadu_ps(scales + 16 * i));
    code[i] = _mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(inverse)));
  }
  code[VECTORS] = code[VECTORS + 1] = _mm512_setzero_si512();
  TB_UNROLL for (int i = 0; i < VECTORS; i += 4) {
    __m512i bytes = tb_pack64(code[i], code[i + 1], code[i + 2], code[i + 3]);
    total = tb_dot512(total, bytes, _mm512_set1_epi8(1));
    if (i + 4 <= VECTORS) _mm512_storeu_si512(w + 16 * i, bytes);
    else _mm256_storeu_si256((void *)(w + 16 * i), _mm512_castsi512_si256(bytes));
  }
  return total;
}

/* n ≤ 4 heads. */
TB_INLINE void weights(int8_t *w, float *a, float *b, const float *p, size_t ldp, size_t n, const float *scales, float centre) {
  __m512 most[4];
  __m512i total[4];
  for (size_t g = 0; g < 4; g++) {
    most[g] = _mm512_setzero_ps();
    total[g] = _mm512_setzero_si512();
  }
  TB_UNROLL for (int i = 0; i < VECTORS; i++) {
    const __m512 scale = _mm512_loadu_ps(scales + 16 * i);
    for (size_t g = 0; g < n; g++) most[g] = _mm512_max_ps(_mm512_mul_ps(_mm512_loadu_ps(p + g * ldp + 16 * i), scale), most[g]);
  }
  const __m128 m = tb_max4(most), as = tb_scale4(m);
  float inverse[4];
  _mm_storeu_ps(inverse, tb_inverse4(m));
  for (size_t g = 0; g < n; g++) total[g] = quantise(w + g * TB_KV_BLOCK, p + g * ldp, scales, inverse[g]);
  const __m128 offset = _mm_xor_ps(_mm_mul_ps(_mm_set1_ps(centre), as), _mm_set1_ps(-0.0f));
  _mm_mask_storeu_ps(a, (__mmask8)((1u << n) - 1), as);
  _mm_mask_storeu_ps(b, (__mmask8)((1u << n) - 1), _mm_mul_ps(offset, _mm_cvtepi32_ps(tb_sum4(total))));
}

void tb_attn_weights_avx512 TB_ATTN_WEIGHTS_ARGS {
  float scales[TB_KV_BLOCK];
  for (int i = 0; i < VECTORS; i++) v16_store(scales + 16 * i, v16_load_scale8(scale + 16 * i, base_bits));
  for (; n_q >= 4; n_q -= 4, w += 4 * TB_KV_BLOCK, a += 4, b += 4, p += 4 * ldp) weights(w, a, b, p, ldp, 4, scales, centre);
  if (n_q == 3) weights(w, a, b, p, ldp, 3, scales, centre);
  else if (n_q == 2) weights(w, a, b, p, ldp, 2, scales, centre);
  else if (n_q == 1) weights(w, a, b, p, ldp, 1, scales, centre);
}
