/* Values of the skvqx stores. A block:
 *
 *   codes   tb_values2_bytes(d) per digit (with 16 levels first the high pairs of bits, then the low ones), or
 *           tb_ternary_bytes(d) with 3 levels
 *   scale   160 bytes, 8-bit token scales (simd/kvblock.h): x̂ = scale·(u - (levels-1)/2)
 *   base    their exponent, int8; padding to 64 bytes
 *
 * Codes and scales are simd/kvquant's: the step that is best for a normal distribution, then least squares. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "cache/store/fetch.h"
#include "cache/store/skvqx.h"
#include "simd/half.h"

static size_t codes_bytes(const struct tb_skvqx *x, uint32_t d) {
  return x->levels == 3 ? tb_ternary_bytes(d) : x->digits * tb_values2_bytes(d);
}

size_t tb_skvqx_values_bytes(const struct tb_skvqx *x, uint32_t d) {
  return codes_bytes(x, d) + tb_round_up(TB_KV_BLOCK + 1, TB_ALIGN);
}

static const uint8_t *scales_of(const struct tb_skvqx *x, const unsigned char *block, uint32_t d) {
  return block + codes_bytes(x, d);
}

static int base_of(const uint8_t *scales) {
  return (int8_t)scales[TB_KV_BLOCK];
}

/* The nearest 8-bit scale: 2^(base + e)·(1 + m/16), code 16·e + m; 0 below the range and for what is not finite. */
static uint8_t scale_code(float scale, int base) {
  int e;
  if (!(scale > 0 && scale <= FLT_MAX)) return 0;
  const float fraction = frexpf(scale, &e); /* in [1/2, 1) */
  const int code = 16 * (e - 1 - base) + (int)rintf((2 * fraction - 1) * 16);
  return (uint8_t)(code < 1 ? 0 : code > 255 ? 255 : code);
}

/* The base that puts the largest scale into the top octave. Kept within what makes normal floats of all codes. */
static int base_for(const float *scale) {
  float most = 0;
  int e = 0;
  for (int t = 0; t < TB_KV_BLOCK; t++)
    most = fmaxf(most, scale[t]);
  if (most > 0 && most <= FLT_MAX) frexpf(most, &e);
  const int base = e - 1 - 15;
  return base < -126 ? -126 : base > 111 ? 111 : base;
}

void tb_skvqx_values_encode(const struct tb_store *st, unsigned char *block, const float *x, size_t ldx,
                            void *scratch) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  const uint32_t d = st->config.d;
  uint8_t *high = scratch, *low = kind->digits == 2 ? high + (size_t)TB_KV_BLOCK * d : NULL;
  uint8_t *scales = block + codes_bytes(kind, d);
  float scale[TB_KV_BLOCK];
  st->kernels->kvquant_values(high, low, scale, x, ldx, kind->rounds, kind->levels, d);
  const int base = base_for(scale);
  memset(scales, 0, tb_round_up(TB_KV_BLOCK + 1, TB_ALIGN));
  for (int t = 0; t < TB_KV_BLOCK; t++)
    scales[t] = scale_code(scale[t], base);
  scales[TB_KV_BLOCK] = (uint8_t)(int8_t)base;
  if (kind->levels == 3)
    st->kernels->kvpack_ternary(block, high, d);
  else
    st->kernels->kvpack_values2(block, high, d);
  if (low) st->kernels->kvpack_values2(block + tb_values2_bytes(d), low, d);
}

/* Lines of ternary codes are of 20 tokens, so that a part begins and ends within one: tokens beside it get no weight.
 * w: TB_KV_BLOCK per head, of which those of the part are filled from w + before on. */
static void accum_ternary(const struct tb_kernels *k, const unsigned char *block, uint32_t d, uint32_t first, uint32_t n,
                          int8_t *w, const float *a, const float *b, uint32_t heads, float *acc) {
  const uint32_t before = first % 20, after = (20 - (first + n) % 20) % 20;
  for (uint32_t g = 0; g < heads; g++) {
    memset(w + g * TB_KV_BLOCK, 0, before);
    memset(w + g * TB_KV_BLOCK + before + n, 0, after);
  }
  k->attn_accum_ternary(acc, d, w, a, b, heads, block, d, first - before, before + n + after);
}

void tb_skvqx_values_accum(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n,
                           const float *p, size_t ldp, uint32_t n_q, float *acc, void *scratch) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  const uint32_t d = st->config.d;
  const struct tb_kernels *k = st->kernels;
  const uint8_t *scales = scales_of(kind, block, d) + first;
  const uint32_t base = tb_scale8_base_bits(base_of(scales - first));
  int8_t *w = scratch;
  float a[TB_SKVQX_QUERIES], b[TB_SKVQX_QUERIES];
  for (uint32_t g = 0; g < n_q; g += TB_SKVQX_QUERIES, p += TB_SKVQX_QUERIES * ldp, acc += TB_SKVQX_QUERIES * d) {
    const uint32_t heads = n_q - g < TB_SKVQX_QUERIES ? n_q - g : TB_SKVQX_QUERIES;
    if (kind->levels == 3) {
      k->attn_weights(w + first % 20, a, b, p, ldp, heads, scales, base, 1.0f, n);
      accum_ternary(k, block, d, first, n, w, a, b, heads, acc);
      continue;
    }
    k->attn_weights(w, a, b, p, ldp, heads, scales, base, 1.5f, n);
    if (kind->digits == 2) { /* 4·(hi - 3/2) + (lo - 3/2) = u - 15/2: both digits use the same weights */
      k->attn_accum_values2(acc, d, w, a, b, heads, block + tb_values2_bytes(d), d, first, n);
      for (uint32_t i = 0; i < heads; i++) {
        a[i] *= 4;
        b[i] *= 4;
      }
    }
    k->attn_accum_values2(acc, d, w, a, b, heads, block, d, first, n);
  }
}

void tb_skvqx_values_fetch(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  const uint32_t d = st->config.d;
  tb_fetch(scales_of(kind, block, d), TB_KV_BLOCK + 1);
  if (kind->levels == 3) {
    tb_fetch_ternary(block, d, first, n);
    return;
  }
  for (unsigned i = 0; i < kind->digits; i++)
    tb_fetch_values2(block + i * tb_values2_bytes(d), d, first, n);
}

static float token_scale(const uint8_t *scales, uint32_t t) {
  return scales[t] ? tb_bits_float(tb_scale8_base_bits(base_of(scales)) + ((uint32_t)scales[t] << 19)) : 0.0f;
}

/* A part of a block, code by code: only what a truncation puts back into the window. */
static void expand_part(const struct tb_skvqx *kind, const unsigned char *block, uint32_t d, uint32_t first, uint32_t n,
                        float *x, size_t ldx) {
  static const unsigned power[5] = {1, 3, 9, 27, 81};
  const uint8_t *scales = scales_of(kind, block, d);
  const float centre = (float)(kind->levels - 1) / 2;
  for (uint32_t t = 0; t < n; t++)
    for (uint32_t c = 0; c < d; c++) {
      const struct tb_kv_place p =
          kind->levels == 3 ? tb_ternary_place(d, first + t, c) : tb_values2_place(d, first + t, c);
      unsigned u = kind->levels == 3 ? (block[p.byte] * power[p.at] & 255) * 3 >> 8 : block[p.byte] >> p.at & 3;
      if (kind->digits == 2) u = 4 * u + (block[tb_values2_bytes(d) + p.byte] >> p.at & 3);
      x[t * ldx + c] = token_scale(scales, first + t) * ((float)u - centre);
    }
}

void tb_skvqx_values_expand(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n, float *x,
                            size_t ldx) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  const uint32_t d = st->config.d;
  if (n < TB_KV_BLOCK) {
    expand_part(kind, block, d, first, n, x, ldx);
    return;
  }
  const uint8_t *scales = scales_of(kind, block, d);
  float step[TB_KV_BLOCK], step4[TB_KV_BLOCK];
  for (uint32_t t = 0; t < TB_KV_BLOCK; t++) {
    step[t] = token_scale(scales, t);
    step4[t] = 4 * step[t];
  }
  if (kind->levels == 3) {
    st->kernels->kvdequant_ternary(x, ldx, block, step, false, d);
  } else if (kind->digits == 1) {
    st->kernels->kvdequant_values2(x, ldx, block, step, false, d);
  } else {
    st->kernels->kvdequant_values2(x, ldx, block, step4, false, d);
    st->kernels->kvdequant_values2(x, ldx, block + tb_values2_bytes(d), step, true, d);
  }
}
