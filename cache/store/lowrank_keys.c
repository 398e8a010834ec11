/* Blocks of key codes: one step and midpoint per channel, chosen for the least squared error of the block. */
#include <math.h>
#include <string.h>
#include "cache/store/fetch.h"
#include "cache/store/lowrank.h"
#include "simd/half.h"

static size_t parameter_bytes(const struct tb_lowrank *l) {
  return tb_round_up(2 * sizeof(uint16_t) * (size_t)l->rank, TB_ALIGN);
}

size_t tb_lowrank_keys_bytes(const struct tb_lowrank *l) {
  return tb_keys2_bytes(l->planes) + parameter_bytes(l);
}

/* Steps of plane 0, then midpoints. */
static uint16_t *parameters(const struct tb_lowrank *l, const unsigned char *block) {
  return (uint16_t *)(void *)(uintptr_t)(block + tb_keys2_bytes(l->planes));
}

/* --------------------------------------------------------------------------------------------------------- encoding */

/* lo if x is not a number. */
static float clamp(float x, float lo, float hi) {
  return !(x > lo) ? lo : x > hi ? hi : x;
}

static uint32_t code_of(float x, float mid, float inverse, float top) {
  return (uint32_t)clamp(rintf((x - mid) * inverse + top / 2), 0, top);
}

static float squared_error(const float *x, float mid, float fine, float top) {
  const float inverse = fine > 0 ? 1 / fine : 0;
  float sum = 0;
  for (uint32_t t = 0; t < TB_KV_BLOCK; t++) {
    const float e = x[t] - (mid + fine * ((float)code_of(x[t], mid, inverse, top) - top / 2));
    sum += e * e;
  }
  return sum;
}

static uint16_t half(float x) {
  return tb_f32_to_f16(clamp(x, -65504, 65504));
}

/* Step of plane 0 and midpoint of a channel: the part of its range that the levels span is searched, because with few
 * levels the ends of the range are worth less than finer steps in the middle. */
static void fit(const float *x, uint32_t k, uint16_t *step, uint16_t *mid) {
  float lo = x[0], hi = x[0], best = INFINITY;
  for (uint32_t t = 1; t < TB_KV_BLOCK; t++) {
    lo = x[t] < lo ? x[t] : lo;
    hi = x[t] > hi ? x[t] : hi;
  }
  *mid = half(lo / 2 + hi / 2);
  *step = 0;
  const float top = (float)((1u << 2 * k) - 1), coarse = (float)(1u << 2 * (k - 1));
  for (float span = 1; span > 0.45f; span -= k == 1 ? 0.0625f : 0.125f) {
    const uint16_t tried = half(span * (hi - lo) / top * coarse);
    const float error = squared_error(x, tb_f16_to_f32(*mid), tb_f16_to_f32(tried) / coarse, top);
    if (error < best) {
      best = error;
      *step = tried;
    }
  }
}

/* Codes of channel c into its planes. */
static void put(uint8_t *codes, uint32_t planes, const uint32_t *depth, uint32_t c, uint32_t k, const float *x,
                float step, float mid) {
  const float fine = step / (float)(1u << 2 * (k - 1)), top = (float)((1u << 2 * k) - 1);
  const float inverse = fine > 0 ? 1 / fine : 0;
  for (uint32_t t = 0; t < TB_KV_BLOCK; t++) {
    const uint32_t code = code_of(x[t], mid, inverse, top);
    for (uint32_t j = 0, plane = c; j < k; plane += depth[j++])
      codes[t * planes + plane] = (uint8_t)tb_lowrank_pair(code, k, j);
  }
}

void tb_lowrank_keys_encode(const struct tb_store *st, uint32_t head, unsigned char *block, const float *x, size_t ldx,
                            void *scratch) {
  const struct tb_lowrank l = tb_lowrank_of(st);
  const struct tb_lowrank_head h = tb_lowrank_head(st, &l, head);
  uint16_t *step = parameters(&l, block), *mid = step + l.rank;
  uint8_t *codes = scratch;
  memset(codes, 0, (size_t)TB_KV_BLOCK * l.planes);
  memset(step, 0, parameter_bytes(&l));
  for (uint32_t c = 0; c < h.depth[0]; c++) {
    const uint32_t k = tb_lowrank_depth_of(h.depth, c);
    float column[TB_KV_BLOCK];
    for (uint32_t t = 0; t < TB_KV_BLOCK; t++)
      column[t] = x[t * ldx + c];
    fit(column, k, &step[c], &mid[c]);
    put(codes, l.planes, h.depth, c, k, column, tb_f16_to_f32(step[c]), tb_f16_to_f32(mid[c]));
  }
  st->kernels->kvpack_keys2(block, codes, l.planes);
}

/* ---------------------------------------------------------------------------------------------------------- scoring */

/* What a kernel call needs, in the scratch. */
struct fold {
  float q[TB_LOWRANK_QUERIES * TB_LOWRANK_MAX_PLANES];
  int8_t codes[TB_LOWRANK_QUERIES * TB_LOWRANK_MAX_PLANES];
  uint16_t step[TB_LOWRANK_MAX_PLANES], mid[TB_LOWRANK_MAX_PLANES];
  float a[TB_LOWRANK_QUERIES], b[TB_LOWRANK_QUERIES];
};
_Static_assert(sizeof(struct fold) <= TB_STORE_SCRATCH, "the scratch holds a kernel call");

/* Every plane is a column of its own: plane j of a channel has the channel's step, and 4^-j of its query. */
static void spread(const struct tb_lowrank *l, const uint32_t *depth, const uint16_t *parameters_,
                   const struct tb_kv_query *q, uint32_t first, uint32_t n, struct fold *f) {
  memset(f->step, 0, l->planes * sizeof *f->step);
  memset(f->mid, 0, l->planes * sizeof *f->mid);
  memcpy(f->mid, parameters_ + l->rank, depth[0] * sizeof *f->mid);
  for (uint32_t j = 0, plane = 0; j < TB_LOWRANK_DEPTH; plane += depth[j++])
    memcpy(f->step + plane, parameters_, depth[j] * sizeof *f->step);
  for (uint32_t g = 0; g < n; g++) {
    const float *from = q->acts.f + (first + g) * q->acts.ldf;
    float *to = f->q + (size_t)g * l->planes;
    memset(to, 0, l->planes * sizeof *to);
    for (uint32_t j = 0; j < TB_LOWRANK_DEPTH; to += depth[j++])
      for (uint32_t c = 0; c < depth[j]; c++)
        to[c] = from[c] * tb_lowrank_finer(j);
  }
}

void tb_lowrank_keys_score(const struct tb_store *st, uint32_t head, const unsigned char *block, uint32_t first,
                           uint32_t n, const struct tb_kv_query *q, float *s, size_t lds, void *scratch) {
  const struct tb_lowrank l = tb_lowrank_of(st);
  const struct tb_lowrank_head h = tb_lowrank_head(st, &l, head);
  struct fold *f = scratch;
  for (uint32_t g = 0; g < q->n_q; g += TB_LOWRANK_QUERIES) {
    const uint32_t heads = q->n_q - g < TB_LOWRANK_QUERIES ? q->n_q - g : TB_LOWRANK_QUERIES;
    spread(&l, h.depth, parameters(&l, block), q, g, heads, f);
    st->kernels->attn_fold(f->codes, f->a, f->b, f->q, l.planes, heads, f->step, f->mid, l.planes);
    st->kernels->attn_score_keys2(s + g * lds, lds, f->codes, f->a, f->b, false, heads, block, l.planes, first, n);
  }
}

void tb_lowrank_keys_fetch(const struct tb_lowrank *l, const unsigned char *block, uint32_t first, uint32_t n) {
  tb_fetch((const unsigned char *)parameters(l, block), parameter_bytes(l));
  tb_fetch_keys2(block, l->planes, first, n);
}

void tb_lowrank_keys_expand(const struct tb_store *st, uint32_t head, const unsigned char *block, uint32_t first,
                            uint32_t n, float *x, size_t ldx) {
  const struct tb_lowrank l = tb_lowrank_of(st);
  const struct tb_lowrank_head h = tb_lowrank_head(st, &l, head);
  const uint16_t *step = parameters(&l, block), *mid = step + l.rank;
  for (uint32_t t = 0; t < n; t++, x += ldx) {
    memset(x, 0, st->config.d * sizeof *x);
    for (uint32_t c = 0; c < h.depth[0]; c++)
      x[c] = tb_f16_to_f32(mid[c]);
    for (uint32_t j = 0, plane = 0; j < TB_LOWRANK_DEPTH; plane += h.depth[j++])
      for (uint32_t c = 0; c < h.depth[j]; c++) {
        const struct tb_kv_place p = tb_keys2_place(l.planes, first + t, plane + c);
        x[c] += tb_f16_to_f32(step[c]) * tb_lowrank_finer(j) * ((float)(block[p.byte] >> p.at & 3) - 1.5f);
      }
  }
}
