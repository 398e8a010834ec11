/* Not from attn_fold_v16.h: with so few instructions per head the latency of its maximum, division and sums would show;
 * four heads take each step together. */
#include "simd/kernels.h"
#include "simd/vec/reduce_avx512.h"
#include "simd/vec/vec_avx512.h"
#include "simd/vec/vnni.h"

/* n ≤ 4 heads; `steps` and `mids` are the channels' floats. */
TB_INLINE void fold(int8_t *codes, float *a, float *b, const float *q, size_t ldq, size_t n, const float *steps,
                    const float *mids, size_t planes) {
  __m512 most[4], middle[4];
  __m512i total[4];
  for (size_t g = 0; g < 4; g++) {
    most[g] = middle[g] = _mm512_setzero_ps();
    total[g] = _mm512_setzero_si512();
  }
  for (size_t c = 0; c < planes; c += 16) {
    const __m512 step = _mm512_loadu_ps(steps + c), mid = _mm512_loadu_ps(mids + c);
    for (size_t g = 0; g < n; g++) {
      const __m512 x = _mm512_loadu_ps(q + g * ldq + c);
      most[g] = _mm512_range_ps(_mm512_mul_ps(x, step), most[g], 0x0b); /* the larger magnitude, without sign */
      middle[g] = _mm512_fmadd_ps(x, mid, middle[g]);
    }
  }
  const __m128 m = tb_max4(most), as = tb_scale4(m);
  float inverse[4], sums[4];
  _mm_storeu_ps(inverse, tb_inverse4(m));
  for (size_t g = 0; g < n; g++)
    for (size_t c = 0; c < planes; c += 32) {
      const float *x = q + g * ldq + c;
      const __m512 v0 = _mm512_mul_ps(_mm512_loadu_ps(x), _mm512_loadu_ps(steps + c));
      const __m512 v1 = _mm512_mul_ps(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(steps + c + 16));
      const __m512i i0 = _mm512_cvtps_epi32(_mm512_mul_ps(v0, _mm512_set1_ps(inverse[g])));
      const __m512i i1 = _mm512_cvtps_epi32(_mm512_mul_ps(v1, _mm512_set1_ps(inverse[g])));
      const __m512i bytes = tb_pack64(i0, i1, i0, i1);
      _mm256_storeu_si256((void *)(codes + g * planes + c), _mm512_castsi512_si256(bytes));
      total[g] = _mm512_add_epi32(total[g], _mm512_add_epi32(i0, i1));
    }
  v16_hsum4(sums, v16_of(middle[0]), v16_of(middle[1]), v16_of(middle[2]), v16_of(middle[3]));
  const __m128 centre = _mm_mul_ps(_mm_mul_ps(_mm_set1_ps(1.5f), as), _mm_cvtepi32_ps(tb_sum4(total)));
  _mm_mask_storeu_ps(a, (__mmask8)((1u << n) - 1), as);
  _mm_mask_storeu_ps(b, (__mmask8)((1u << n) - 1), _mm_sub_ps(_mm_loadu_ps(sums), centre));
}

void tb_attn_fold_avx512 TB_ATTN_FOLD_ARGS {
  float steps[TB_KV_PLANES_MAX], mids[TB_KV_PLANES_MAX];
  for (size_t c = 0; c < planes; c += 16) {
    v16_store(steps + c, v16_load_f16(step + c));
    v16_store(mids + c, mid ? v16_load_f16(mid + c) : v16_zero());
  }
  for (; n_q >= 4; n_q -= 4, codes += 4 * planes, a += 4, b += 4, q += 4 * ldq)
    fold(codes, a, b, q, ldq, 4, steps, mids, planes);
  if (n_q == 3) fold(codes, a, b, q, ldq, 3, steps, mids, planes);
  else if (n_q == 2) fold(codes, a, b, q, ldq, 2, steps, mids, planes);
  else if (n_q == 1) fold(codes, a, b, q, ldq, 1, steps, mids, planes);
}
