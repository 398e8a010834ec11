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
    float m = 0, sum = 0;
    for (size_t t = 0; t < n; t++) { /* no fmaxf: gcc 12 for ARM fails to compile this loop with it */
      float x = p[t] * token_scale(scale[t], base_bits);
      m = x > m ? x : m;
    }
    const float inverse = m >= 0x1p-100f ? 127.0f / m : 0.0f;
    for (size_t t = 0; t < n; t++) {
      float x = p[t] * token_scale(scale[t], base_bits);
      w[t] = (int8_t)fminf(fmaxf(rintf(x * inverse), 0.0f), 127.0f);
      sum += w[t];
    }
    a[g] = inverse > 0 ? m / 127.0f : 0.0f;
    b[g] = -(centre * a[g]) * sum;
  }
}

/* Trit `at` of a byte (simd/kvblock.h). */
static int trit(unsigned byte, unsigned at) {
  static const unsigned power[5] = {1, 3, 9, 27, 81};
  return (int)((byte * power[at] & 255) * 3 >> 8);
}

static void accum(float *o, size_t ldo, const int8_t *w, const float *a, const float *b, size_t n_q,
                  const unsigned char *bytes, size_t planes, size_t first, size_t n, int ternary) {
  for (size_t g = 0; g < n_q; g++)
    for (size_t c = 0; c < planes; c++) {
      int dot = 0;
      for (size_t t = 0; t < n; t++) {
        struct tb_kv_place p = (ternary ? tb_ternary_place : tb_values2_place)(planes, first + t, c);
        dot += w[g * TB_KV_BLOCK + t] * (ternary ? trit(bytes[p.byte], p.at) : bytes[p.byte] >> p.at & 3);
      }
      o[g * ldo + c] += fmaf(a[g], (float)dot, b[g]);
    }
}

void tb_attn_accum_values2_ref TB_ATTN_ACCUM_BLOCK_ARGS { accum(o, ldo, w, a, b, n_q, block, planes, first, n, 0); }
void tb_attn_accum_ternary_ref TB_ATTN_ACCUM_BLOCK_ARGS { accum(o, ldo, w, a, b, n_q, block, planes, first, n, 1); }
