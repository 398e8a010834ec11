/* The specification of scoring packed keys (simd/attn_score/attn_score.h). */
#include "simd/attn_score/attn_score.h"

#include <math.h>
#include "simd/half.h"
#include "simd/kernels.h"

static float midpoint(const float *q, const uint16_t *mid, size_t planes) {
  float part[16] = {0};
  for (size_t c = 0; c < planes && mid; c++) part[c % 16] = fmaf(q[c], tb_f16_to_f32(mid[c]), part[c % 16]);
  for (size_t i = 0; i < 8; i++) part[i] += part[i + 8];
  for (size_t i = 0; i < 4; i++) part[i] += part[i + 4];
  return (part[0] + part[1]) + (part[2] + part[3]);
}

void tb_attn_fold_ref TB_ATTN_FOLD_ARGS {
  for (size_t g = 0; g < n_q; g++, q += ldq, codes += planes) {
    float m = 0, sum = 0;
    for (size_t c = 0; c < planes; c++) m = fmaxf(m, fabsf(q[c] * tb_f16_to_f32(step[c])));
    const float inverse = m >= 0x1p-100f ? 127.0f / m : 0.0f;
    for (size_t c = 0; c < planes; c++) {
      float v = q[c] * tb_f16_to_f32(step[c]);
      codes[c] = (int8_t)fminf(fmaxf(rintf(v * inverse), -127.0f), 127.0f);
      sum += codes[c];
    }
    a[g] = inverse > 0 ? m / 127.0f : 0.0f;
    float centre = 1.5f * a[g] * sum;
    b[g] = midpoint(q, mid, planes) - centre;
  }
}

void tb_attn_score_keys2_ref TB_ATTN_SCORE_KEYS2_ARGS {
  const unsigned char *bytes = block;
  for (size_t g = 0; g < n_q; g++)
    for (size_t t = 0; t < n; t++) {
      int dot = 0;
      for (size_t c = 0; c < planes; c++) {
        struct tb_kv_place p = tb_keys2_place(planes, first + t, c);
        dot += codes[g * planes + c] * (bytes[p.byte] >> p.at & 3);
      }
      s[g * lds + t] = fmaf(a[g], (float)dot, add ? s[g * lds + t] + b[g] : b[g]);
    }
}
