/* kvpack and kvdequant for every ISA (simd/attn/attn.h; the rounding rules are in simd/attn/attn_ref.c): include after
 * the ISA's vec header. */
#include "simd/kernels.h"

#include <math.h>
#include <string.h>
#include "simd/half.h"

void TB_FN(kvpack_f16)(void *row, const float *x, size_t d) {
  uint16_t *h = row;
  size_t i = 0;
  for (; i + 16 <= d; i += 16) v16_store_f16(h + i, v16_load(x + i));
  if (i < d) v16_store_f16_n(h + i, v16_load_n(x + i, d - i), d - i);
}

void TB_FN(kvdequant_f16)(float *x, const void *row, size_t d) {
  const uint16_t *h = row;
  size_t i = 0;
  for (; i + 16 <= d; i += 16) v16_store(x + i, v16_load_f16(h + i));
  if (i < d) v16_store_n(x + i, v16_load_f16_n(h + i, d - i), d - i);
}

static void store_scale(unsigned char *block, float d) {
  uint16_t h = tb_f32_to_f16(d);
  memcpy(block, &h, sizeof h);
}

void TB_FN(kvpack_q8_0)(void *row, const float *x, size_t d) {
  unsigned char *b = row;
  for (size_t i = 0; i < d; i += 32, b += 34) {
    v16 lo = v16_load(x + i), hi = v16_load(x + i + 16);
    float m = v16_hmax(v16_max(v16_abs(lo), v16_abs(hi)));
    float inverse = m > 0 ? 127.0f / m : 0.0f;
    if (inverse > 3.4e38f) inverse = 0.0f;
    store_scale(b, m / 127.0f);
    v16_store_i8(b + 2, v16_rint(v16_mul(lo, v16_set1(inverse))));
    v16_store_i8(b + 18, v16_rint(v16_mul(hi, v16_set1(inverse))));
  }
}

/* The value of largest magnitude, the first of equals. */
TB_INLINE float extreme(const float *x, v16 lo, v16 hi) {
  v16 a = v16_abs(lo), b = v16_abs(hi);
  float m = v16_hmax(v16_max(a, b));
  unsigned at = v16_equal_bits(a, m) | v16_equal_bits(b, m) << 16;
  return m > 0 ? x[__builtin_ctz(at)] : 0.0f;
}

void TB_FN(kvpack_q4_0)(void *row, const float *x, size_t d) {
  unsigned char *b = row;
  const v16 middle = v16_set1(8.5f);
  for (size_t i = 0; i < d; i += 32, b += 18) {
    v16 lo = v16_load(x + i), hi = v16_load(x + i + 16);
    float scale = extreme(x + i, lo, hi) / -8.0f;
    float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    if (fabsf(inverse) > 3.4e38f) inverse = 0.0f;
    store_scale(b, scale);
    const v16 f = v16_set1(inverse);
    v16_store_nibbles(b + 2, v16_add(v16_mul(lo, f), middle), v16_add(v16_mul(hi, f), middle));
  }
}

void TB_FN(kvdequant_q8_0)(float *x, const void *row, size_t d) {
  const unsigned char *b = row;
  for (size_t i = 0; i < d; i += 32, b += 34) {
    const v16 scale = v16_set1(tb_load_f16(b));
    v16_store(x + i, v16_mul(scale, v16_load_i8(b + 2)));
    v16_store(x + i + 16, v16_mul(scale, v16_load_i8(b + 18)));
  }
}

void TB_FN(kvdequant_q4_0)(float *x, const void *row, size_t d) {
  const unsigned char *b = row;
  for (size_t i = 0; i < d; i += 32, b += 18) {
    const v16 scale = v16_set1(tb_load_f16(b));
    v16 lo, hi;
    v16_load_nibbles(b + 2, 8, &lo, &hi);
    v16_store(x + i, v16_mul(scale, lo));
    v16_store(x + i + 16, v16_mul(scale, hi));
  }
}
