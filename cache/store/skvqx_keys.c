/* Keys of the skvqx stores. A block:
 *
 *   codes   tb_keys2_bytes(d) per digit; with 16 levels first the high pairs of bits, then the low ones
 *   step    fp16 × d
 *   mid     fp16 × d    x̂ = mid + step·(u - (levels-1)/2)
 *
 * With 16 levels u = 4·hi + lo: the same query codes meet hi with four times the factor and then lo. */
#include "cache/store/fetch.h"
#include "cache/store/skvqx.h"
#include "simd/half.h"

size_t tb_skvqx_keys_bytes(const struct tb_skvqx *x, uint32_t d) {
  return x->digits * tb_keys2_bytes(d) + 2 * sizeof(uint16_t) * d;
}

static const uint16_t *steps_of(const struct tb_skvqx *x, const unsigned char *block, uint32_t d) {
  return (const uint16_t *)(const void *)(block + x->digits * tb_keys2_bytes(d));
}

void tb_skvqx_keys_encode(const struct tb_store *st, unsigned char *block, const float *x, size_t ldx, void *scratch) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  const uint32_t d = st->config.d;
  uint8_t *high = scratch, *low = kind->digits == 2 ? high + (size_t)TB_KV_BLOCK * d : NULL;
  uint16_t *step = (uint16_t *)(void *)(block + kind->digits * tb_keys2_bytes(d)), *mid = step + d;
  st->kernels->kvquant_fit(step, mid, x, ldx, kind->clip, kind->rounds, kind->levels, d);
  st->kernels->kvquant_keys(high, low, x, ldx, step, mid, d);
  st->kernels->kvpack_keys2(block, high, d);
  if (low) st->kernels->kvpack_keys2(block + tb_keys2_bytes(d), low, d);
}

/* From the factors of u - 3/2 (one digit) to those of 4·(hi - 3/2) and lo - 3/2, whose sum is u - 15/2. fold's
 * b = Σ q·mid - 3/2·a·Σ code; without the midpoints it is b_low. */
static void split_digits(const int8_t *codes, uint32_t d, uint32_t n, float *a, float *b, float *a_low, float *b_low) {
  for (uint32_t g = 0; g < n; g++) {
    int sum = 0;
    for (uint32_t c = 0; c < d; c++)
      sum += codes[g * d + c];
    a_low[g] = a[g];
    b_low[g] = -1.5f * a[g] * (float)sum;
    a[g] *= 4;
    b[g] += 3 * b_low[g];
  }
}

void tb_skvqx_keys_score(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n,
                         const struct tb_kv_query *q, float *s, size_t lds, void *scratch) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  const uint32_t d = st->config.d;
  const uint16_t *step = steps_of(kind, block, d);
  int8_t *codes = scratch;
  float a[TB_SKVQX_QUERIES], b[TB_SKVQX_QUERIES], a_low[TB_SKVQX_QUERIES], b_low[TB_SKVQX_QUERIES];
  for (uint32_t g = 0; g < q->n_q; g += TB_SKVQX_QUERIES, s += TB_SKVQX_QUERIES * lds) {
    const uint32_t heads = q->n_q - g < TB_SKVQX_QUERIES ? q->n_q - g : TB_SKVQX_QUERIES;
    st->kernels->attn_fold(codes, a, b, q->acts.f + g * q->acts.ldf, q->acts.ldf, heads, step, step + d, d);
    if (kind->digits == 2) split_digits(codes, d, heads, a, b, a_low, b_low);
    st->kernels->attn_score_keys2(s, lds, codes, a, b, false, heads, block, d, first, n);
    if (kind->digits == 2)
      st->kernels->attn_score_keys2(s, lds, codes, a_low, b_low, true, heads, block + tb_keys2_bytes(d), d, first, n);
  }
}

void tb_skvqx_keys_fetch(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  const uint32_t d = st->config.d;
  tb_fetch((const unsigned char *)steps_of(kind, block, d), 2 * sizeof(uint16_t) * d);
  for (unsigned i = 0; i < kind->digits; i++)
    tb_fetch_keys2(block + i * tb_keys2_bytes(d), d, first, n);
}

/* A part of a block, code by code: only what a truncation puts back into the window. */
static void expand_part(const struct tb_skvqx *kind, const unsigned char *block, uint32_t d, uint32_t first, uint32_t n,
                        float *x, size_t ldx) {
  const uint16_t *step = steps_of(kind, block, d);
  const float centre = (float)(kind->levels - 1) / 2;
  for (uint32_t t = 0; t < n; t++)
    for (uint32_t c = 0; c < d; c++) {
      const struct tb_kv_place p = tb_keys2_place(d, first + t, c);
      unsigned u = block[p.byte] >> p.at & 3;
      if (kind->digits == 2) u = 4 * u + (block[tb_keys2_bytes(d) + p.byte] >> p.at & 3);
      x[t * ldx + c] = tb_f16_to_f32(step[d + c]) + tb_f16_to_f32(step[c]) * ((float)u - centre);
    }
}

void tb_skvqx_keys_expand(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n, float *x,
                          size_t ldx) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  const uint32_t d = st->config.d;
  if (n < TB_KV_BLOCK) {
    expand_part(kind, block, d, first, n, x, ldx);
    return;
  }
  const uint16_t *step16 = steps_of(kind, block, d);
  const float centre = (float)(kind->levels - 1) / 2;
  float step[TB_SKVQX_MAX_HEAD] = {0}, low[TB_SKVQX_MAX_HEAD] = {0};
  for (uint32_t c = 0; c < d; c++) {
    step[c] = tb_f16_to_f32(step16[c]);
    low[c] = tb_f16_to_f32(step16[d + c]) - centre * step[c];
    if (kind->digits == 2) step[c] *= 4;
  }
  st->kernels->kvdequant_keys2(x, ldx, block, step, low, d);
  if (kind->digits == 1) return;
  for (uint32_t c = 0; c < d; c++)
    step[c] /= 4;
  st->kernels->kvdequant_keys2(x, ldx, block + tb_keys2_bytes(d), step, NULL, d);
}
