/* Blocks of value codes: one scale per token, relative steps per channel fixed by the profile. */
#include <math.h>
#include <string.h>
#include "cache/store/fetch.h"
#include "cache/store/lowrank.h"
#include "simd/half.h"

enum { PARAMETER_BYTES = 192 }; /* 160 scales and their base, in whole lines */

size_t tb_lowrank_values_bytes(const struct tb_lowrank *l) {
  return tb_values2_bytes(l->planes) + PARAMETER_BYTES;
}

/* The distance of the levels of plane 0, per standard deviation, of the best uniform quantiser for a normal variable of
 * 2, 4, 6, 8 bits (Max 1960: 0.9957, 0.3352, 0.1041, 0.0308 between neighbours, times 4^(k-1)). */
static float coarse_step(float sigma, uint32_t k) {
  static const float unit[] = {0, 0.9957f, 1.3408f, 1.6656f, 1.9712f};
  return sigma * unit[k];
}

static void steps(const struct tb_lowrank_head *h, float *step) {
  for (uint32_t c = 0; c < h->depth[0]; c++)
    step[c] = coarse_step(h->sigma[c], tb_lowrank_depth_of(h->depth, c));
}

/* --------------------------------------------------------------------------------------------------------- encoding */

/* Bits of the scale that code 0 would have, such that `most` has a code; codes cover a range of 2^16 below it. */
static uint32_t base_of(float most) {
  const uint32_t exponent = tb_float_bits(most) >> 23;
  return exponent < 16 ? 1u << 23 : (exponent - 15 + 1) << 23;
}

static uint8_t scale_code(float t, uint32_t base) {
  const uint32_t bits = tb_float_bits(t) + (1u << 18);
  if (bits < base + (1u << 19)) return 1;
  const uint32_t code = (bits - base) >> 19;
  return (uint8_t)(code < 255 ? code : 255);
}

static float scale_value(uint8_t code, uint32_t base) {
  return code ? tb_bits_float(base + ((uint32_t)code << 19)) : 0;
}

static uint32_t code_of(float x, float inverse, uint32_t k) {
  const float top = (float)((1u << 2 * k) - 1), y = rintf(x * inverse * (float)(1u << 2 * (k - 1)) + top / 2);
  return (uint32_t)(!(y > 0) ? 0 : y > top ? top : y);
}

static float squared_error(const struct tb_lowrank_head *h, const float *x, const float *step, float scale) {
  float sum = 0;
  for (uint32_t c = 0; c < h->depth[0]; c++) {
    const uint32_t k = tb_lowrank_depth_of(h->depth, c);
    const float s = step[c] * scale, fine = s * tb_lowrank_finer(k - 1);
    const float e = x[c] - fine * ((float)code_of(x[c], s > 0 ? 1 / s : 0, k) - (float)((1u << 2 * k) - 1) / 2);
    sum += e * e;
  }
  return sum;
}

/* How large a token is, in standard deviations. */
static float size_of(const struct tb_lowrank_head *h, const float *x) {
  float sum = 0;
  uint32_t n = 0;
  for (uint32_t c = 0; c < h->depth[0]; c++) {
    if (!(h->sigma[c] > 0)) continue;
    const float y = x[c] / h->sigma[c];
    sum += y * y;
    n++;
  }
  return n ? sqrtf(sum / (float)n) : 0;
}

/* The least scale at which no channel clips. */
static float reach_of(const struct tb_lowrank_head *h, const float *x, const float *step) {
  float most = 0;
  for (uint32_t c = 0; c < h->depth[0]; c++) {
    const uint32_t k = tb_lowrank_depth_of(h->depth, c);
    const float range = step[c] * tb_lowrank_finer(k - 1) * (float)((1u << 2 * k) - 1) / 2;
    if (range > 0 && fabsf(x[c]) > most * range) most = fabsf(x[c]) / range;
  }
  return most;
}

/* The scale that loses least, among some near the token's size and those at which next to nothing clips: a token that
 * others use as a place to attend to for nothing may lie far out in one channel and be small in all others, and what
 * clips there is added to every output. */
static uint8_t fit(const struct tb_lowrank_head *h, const float *x, const float *step, float size, uint32_t base) {
  static const float near[] = {1, 0.75f, 0.87f, 1.15f, 1.32f, 1.52f}, reaching[] = {0.8f, 0.9f, 1};
  enum { NEAR = sizeof near / sizeof near[0], ALL = NEAR + sizeof reaching / sizeof reaching[0] };
  uint8_t best = 0;
  float least = INFINITY;
  if (size == 0) return 0;
  const float reach = reach_of(h, x, step);
  for (size_t i = 0; i < ALL; i++) {
    const float t = i < NEAR ? size * near[i] : reach * reaching[i - NEAR];
    if (i >= NEAR && t <= size * near[NEAR - 1]) continue;
    const uint8_t code = scale_code(t, base);
    const float e = squared_error(h, x, step, scale_value(code, base));
    if (e < least) {
      least = e;
      best = code;
    }
  }
  return best;
}

static void put(uint8_t *codes, const struct tb_lowrank_head *h, const float *x, const float *step, float scale) {
  for (uint32_t c = 0; c < h->depth[0]; c++) {
    const uint32_t k = tb_lowrank_depth_of(h->depth, c);
    const float s = step[c] * scale;
    const uint32_t code = code_of(x[c], s > 0 ? 1 / s : 0, k);
    for (uint32_t j = 0, plane = c; j < k; plane += h->depth[j++])
      codes[plane] = (uint8_t)tb_lowrank_pair(code, k, j);
  }
}

void tb_lowrank_values_encode(const struct tb_store *st, uint32_t head, unsigned char *block, const float *x,
                              size_t ldx, void *scratch) {
  const struct tb_lowrank l = tb_lowrank_of(st);
  const struct tb_lowrank_head h = tb_lowrank_head(st, &l, head);
  unsigned char *scales = block + tb_values2_bytes(l.planes);
  uint8_t *codes = scratch;
  float size[TB_KV_BLOCK], step[TB_LOWRANK_MAX_HEAD], most = 0;
  steps(&h, step);
  for (uint32_t t = 0; t < TB_KV_BLOCK; t++) {
    size[t] = size_of(&h, x + t * ldx);
    most = size[t] > most ? size[t] : most;
  }
  const uint32_t base = base_of(2 * most); /* room for the search */
  memset(codes, 0, (size_t)TB_KV_BLOCK * l.planes);
  memset(scales, 0, PARAMETER_BYTES);
  memcpy(scales + TB_KV_BLOCK, &base, sizeof base);
  for (uint32_t t = 0; t < TB_KV_BLOCK; t++) {
    scales[t] = fit(&h, x + t * ldx, step, size[t], base);
    put(codes + (size_t)t * l.planes, &h, x + t * ldx, step, scale_value(scales[t], base));
  }
  st->kernels->kvpack_values2(block, codes, l.planes);
}

/* --------------------------------------------------------------------------------------------------------- summing */

struct sums {
  float o[TB_LOWRANK_QUERIES * TB_LOWRANK_MAX_PLANES];
  int8_t w[TB_LOWRANK_QUERIES * TB_KV_BLOCK];
  float a[TB_LOWRANK_QUERIES], b[TB_LOWRANK_QUERIES];
  float step[TB_LOWRANK_MAX_HEAD];
};
_Static_assert(sizeof(struct sums) <= TB_STORE_SCRATCH, "the scratch holds a kernel call");

void tb_lowrank_values_accum(const struct tb_store *st, uint32_t head, const unsigned char *block, uint32_t first,
                             uint32_t n, const float *p, size_t ldp, uint32_t n_q, float *acc, void *scratch) {
  const struct tb_lowrank l = tb_lowrank_of(st);
  const struct tb_lowrank_head h = tb_lowrank_head(st, &l, head);
  const unsigned char *scales = block + tb_values2_bytes(l.planes);
  struct sums *m = scratch;
  uint32_t base;
  memcpy(&base, scales + TB_KV_BLOCK, sizeof base);
  steps(&h, m->step);
  for (uint32_t g = 0; g < n_q; g += TB_LOWRANK_QUERIES) {
    const uint32_t heads = n_q - g < TB_LOWRANK_QUERIES ? n_q - g : TB_LOWRANK_QUERIES;
    memset(m->o, 0, (size_t)heads * l.planes * sizeof *m->o);
    st->kernels->attn_weights(m->w, m->a, m->b, p + g * ldp, ldp, heads, scales + first, base, 1.5f, n);
    st->kernels->attn_accum_values2(m->o, l.planes, m->w, m->a, m->b, heads, block, l.planes, first, n);
    for (uint32_t i = 0; i < heads; i++) {
      const float *o = m->o + (size_t)i * l.planes;
      for (uint32_t j = 0; j < TB_LOWRANK_DEPTH; o += h.depth[j++])
        for (uint32_t c = 0; c < h.depth[j]; c++)
          acc[(size_t)(g + i) * st->config.d + c] += m->step[c] * tb_lowrank_finer(j) * o[c];
    }
  }
}

void tb_lowrank_values_fetch(const struct tb_lowrank *l, const unsigned char *block, uint32_t first, uint32_t n) {
  tb_fetch(block + tb_values2_bytes(l->planes), PARAMETER_BYTES);
  tb_fetch_values2(block, l->planes, first, n);
}

void tb_lowrank_values_expand(const struct tb_store *st, uint32_t head, const unsigned char *block, uint32_t first,
                              uint32_t n, float *x, size_t ldx) {
  const struct tb_lowrank l = tb_lowrank_of(st);
  const struct tb_lowrank_head h = tb_lowrank_head(st, &l, head);
  const unsigned char *scales = block + tb_values2_bytes(l.planes);
  float step[TB_LOWRANK_MAX_HEAD];
  uint32_t base;
  memcpy(&base, scales + TB_KV_BLOCK, sizeof base);
  steps(&h, step);
  for (uint32_t t = 0; t < n; t++, x += ldx) {
    const float scale = scale_value(scales[first + t], base);
    memset(x, 0, st->config.d * sizeof *x);
    for (uint32_t j = 0, plane = 0; j < TB_LOWRANK_DEPTH; plane += h.depth[j++])
      for (uint32_t c = 0; c < h.depth[j]; c++) {
        const struct tb_kv_place p = tb_values2_place(l.planes, first + t, plane + c);
        x[c] += step[c] * scale * tb_lowrank_finer(j) * ((float)(block[p.byte] >> p.at & 3) - 1.5f);
      }
  }
}
