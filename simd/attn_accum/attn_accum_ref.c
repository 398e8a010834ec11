/* The specification of summing packed values (simd/attn_accum/attn_accum.h). */
#include "simd/attn_accum/attn_accum.h"

#include <math.h>
#include "simd/half.h"
#include "simd/kernels.h"

static float token_scale(uint8_t code, uint32_t base_bits) {
  return code ? tb_bits_float(base_bits + ((uint32_t)code << 19)) : 0.0f;
}

void tb_attn_weights_ref TB_ATTN_WEIGHTS_ARGS {
  for (size_t g = 0; g < n_q; g++, p += ldp, w += TB_KV_BLOCK) {
    float m = 0;
    for (size_t t = 0; t < TB_KV_BLOCK; t++) { /* no fmaxf: gcc 12 for ARM fails to compile this loop with it */
      float x = p[t] * token_scale(scale[t], base_bits);
      m = x > m ? x : m;
    }
    float inverse = m > 0 ? 127.0f / m : 0.0f;
    if (inverse > 3.4e38f) inverse = 0.0f;
    a[g] = inverse > 0 ? m / 127.0f : 0.0f;
    sum[g] = 0;
    for (size_t t = 0; t < TB_KV_BLOCK; t++) {
      float x = p[t] * token_scale(scale[t], base_bits) * inverse;
      w[t] = (int8_t)rintf(fminf(fmaxf(x, 0.0f), 127.0f));
      sum[g] += w[t];
    }
  }
}

void tb_attn_accum_values2_ref TB_ATTN_ACCUM_BLOCK_ARGS {
  const unsigned char *bytes = block;
  for (size_t g = 0; g < n_q; g++)
    for (size_t c = 0; c < planes; c++) {
      int32_t dot = 0;
      for (size_t t = 0; t < TB_KV_BLOCK; t++) {
        struct tb_kv_place p = tb_values2_place(planes, t, c);
        dot += w[g * TB_KV_BLOCK + t] * (bytes[p.byte] >> p.at & 3);
      }
      float product = a[g] * 0.5f * (float)(2 * dot - 3 * sum[g]);
      o[g * ldo + c] += product;
    }
}

void tb_attn_accum_ternary_ref TB_ATTN_ACCUM_BLOCK_ARGS {
  static const unsigned power[5] = {1, 3, 9, 27, 81};
  const unsigned char *bytes = block;
  for (size_t g = 0; g < n_q; g++)
    for (size_t c = 0; c < planes; c++) {
      int32_t dot = 0;
      for (size_t t = 0; t < TB_KV_BLOCK; t++) {
        struct tb_kv_place p = tb_ternary_place(planes, t, c);
        int trit = (int)((bytes[p.byte] * power[p.at] & 255) * 3 >> 8);
        dot += w[g * TB_KV_BLOCK + t] * trit;
      }
      float product = a[g] * 0.5f * (float)(2 * dot - 2 * sum[g]);
      o[g * ldo + c] += product;
    }
}
