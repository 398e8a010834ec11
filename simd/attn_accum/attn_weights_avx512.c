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

/* The same for a part of a block. */
TB_INLINE __m512i quantise_part(int8_t *w, const float *p, const float *scales, float inverse, size_t tokens) {
  __m512i total = _mm512_setzero_si512();
  for (size_t t = 0; t < tokens; t += 32) {
    const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(p + t), _mm512_loadu_ps(scales + t));
    const __m512 y = _mm512_mul_ps(_mm512_loadu_ps(p + t + 16), _mm512_loadu_ps(scales + t + 16));
    const __m512i i = _mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(inverse)));
    const __m512i j = _mm512_cvtps_epi32(_mm512_mul_ps(y, _mm512_set1_ps(inverse)));
    _mm256_storeu_si256((void *)(w + t), _mm512_castsi512_si256(tb_pack64(i, j, i, j)));
    total = _mm512_add_epi32(total, _mm512_add_epi32(i, j));
  }
  return total;
}

/* The larger of 16 weights and those before. */
TB_INLINE void larger16(__m512 *most, size_t n, const float *p, size_t ldp, const float *scales) {
  const __m512 scale = _mm512_loadu_ps(scales);
  for (size_t g = 0; g < n; g++) most[g] = _mm512_max_ps(_mm512_mul_ps(_mm512_loadu_ps(p + g * ldp), scale), most[g]);
}

/* n ≤ 4 heads. */
TB_INLINE void weights(int8_t *w, float *a, float *b, const float *p, size_t ldp, size_t n, const float *scales, float centre,
                       size_t tokens) {
  __m512 most[4];
  __m512i total[4];
  for (size_t g = 0; g < 4; g++) {
    most[g] = _mm512_setzero_ps();
    total[g] = _mm512_setzero_si512();
  }
  if (tokens == TB_KV_BLOCK)
    TB_UNROLL for (size_t t = 0; t < TB_KV_BLOCK; t += 16) larger16(most, n, p + t, ldp, scales + t);
  else
    for (size_t t = 0; t < tokens; t += 16) larger16(most, n, p + t, ldp, scales + t);
  const __m128 m = tb_max4(most), as = tb_scale4(m);
  float inverse[4];
  _mm_storeu_ps(inverse, tb_inverse4(m));
  for (size_t g = 0; g < n; g++)
    total[g] = tokens == TB_KV_BLOCK ? quantise(w + g * TB_KV_BLOCK, p + g * ldp, scales, inverse[g])
                                     : quantise_part(w + g * TB_KV_BLOCK, p + g * ldp, scales, inverse[g], tokens);
  const __m128 offset = _mm_xor_ps(_mm_mul_ps(_mm_set1_ps(centre), as), _mm_set1_ps(-0.0f));
  _mm_mask_storeu_ps(a, (__mmask8)((1u << n) - 1), as);
  _mm_mask_storeu_ps(b, (__mmask8)((1u << n) - 1), _mm_mul_ps(offset, _mm_cvtepi32_ps(tb_sum4(total))));
}

TB_INLINE void all_heads(int8_t *w, float *a, float *b, const float *p, size_t ldp, size_t n_q, const float *scales,
                         float centre, size_t tokens) {
  for (; n_q >= 4; n_q -= 4, w += 4 * TB_KV_BLOCK, a += 4, b += 4, p += 4 * ldp)
    weights(w, a, b, p, ldp, 4, scales, centre, tokens);
  if (n_q == 3) weights(w, a, b, p, ldp, 3, scales, centre, tokens);
  else if (n_q == 2) weights(w, a, b, p, ldp, 2, scales, centre, tokens);
  else if (n_q == 1) weights(w, a, b, p, ldp, 1, scales, centre, tokens);
}

void tb_attn_weights_avx512 TB_ATTN_WEIGHTS_ARGS {
  float scales[TB_KV_BLOCK];
  for (size_t t = 0; t < n; t += 16) v16_store(scales + t, v16_load_scale8(scale + t, base_bits));
  if (n == TB_KV_BLOCK) all_heads(w, a, b, p, ldp, n_q, scales, centre, TB_KV_BLOCK);
  else all_heads(w, a, b, p, ldp, n_q, scales, centre, n);
}
