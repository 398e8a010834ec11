/* The specification of scoring packed keys (simd/attn_score/attn_score.h). */
#include "simd/attn_score/attn_score.h"

#include <math.h>
#include "simd/half.h"
#include "simd/kernels.h"

static float midpoint(const float *q, const uint16_t *mid, size_t planes) {
  float part[16] = {0};
  for (size_t c = 0; c < planes; c++) {
    float product = q[c] * tb_f16_to_f32(mid[c]);
    part[c % 16] += product;
  }
  for (size_t half = 8; half; half /= 2)
    for (size_t i = 0; i < half; i++) part[i] += part[i + half];
  return part[0];
}

void tb_attn_fold_ref TB_ATTN_FOLD_ARGS {
  for (size_t g = 0; g < n_q; g++, q += ldq, codes += planes) {
    float m = 0;
    for (size_t c = 0; c < planes; c++) m = fmaxf(m, fabsf(q[c] * tb_f16_to_f32(step[c])));
    float inverse = m > 0 ? 127.0f / m : 0.0f;
    if (inverse > 3.4e38f) inverse = 0.0f;
    a[g] = inverse > 0 ? m / 127.0f : 0.0f;
    sum[g] = 0;
    for (size_t c = 0; c < planes; c++) {
      float v = q[c] * tb_f16_to_f32(step[c]) * inverse;
      codes[c] = (int8_t)rintf(fminf(fmaxf(v, -127.0f), 127.0f));
      sum[g] += codes[c];
    }
    b[g] = midpoint(q, mid, planes);
  }
}

void tb_attn_score_keys2_ref TB_ATTN_SCORE_KEYS2_ARGS {
  const unsigned char *bytes = block;
  for (size_t g = 0; g < n_q; g++)
    for (size_t t = 0; t < TB_KV_BLOCK; t++) {
      int32_t dot = 0;
      for (size_t c = 0; c < planes; c++) {
        struct tb_kv_place p = tb_keys2_place(planes, t, c);
        dot += codes[g * planes + c] * (bytes[p.byte] >> p.at & 3);
      }
      float product = a[g] * 0.5f * (float)(2 * dot - 3 * sum[g]);
      s[g * lds + t] = product + (b ? b[g] : s[g * lds + t]);
    }
}
