/* A group's scale and lower end, computed and stored: the same code for the reference and every tier. */
#ifndef TB_SIMD_KVROW_PARAMS_H
#define TB_SIMD_KVROW_PARAMS_H

#include <string.h>
#include "simd/half.h"
#include "simd/kvrow/kvrow.h"

struct tb_kvrow_params {
  float s, lo;
};

static inline float tb_kvrow_get(const unsigned char *p, size_t i, bool f8) {
  return f8 ? tb_f8_to_f32(p[i]) : tb_load_f16(p + 2 * i);
}

static inline float tb_kvrow_put(unsigned char *p, size_t i, bool f8, float v) {
  const uint16_t h = f8 ? tb_f32_to_f8(v) : tb_f32_to_f16(v > 65504 ? 65504 : v < -65504 ? -65504 : v);
  if (f8) p[i] = (unsigned char)h;
  else memcpy(p + 2 * i, &h, sizeof h);
  return tb_kvrow_get(p, i, f8);
}

/* Parameters of group g of a row, rounded and stored. The sums with 0 make -0 to 0. */
static inline struct tb_kvrow_params tb_kvrow_set(const struct tb_kvrow *f, unsigned char *row, size_t g, float min, float max) {
  const float clip = f->clip[g], middle = min * 0.5f + max * 0.5f, reach = clip * (max * 0.5f - min * 0.5f);
  const float lo = (f->shrink ? middle - reach : clip * min) + 0.0f, hi = f->shrink ? middle + reach : clip * max;
  const float s = (hi - lo) / (float)(f->levels - 1);
  unsigned char *params = row + tb_kvrow_code_bytes(f);
  return (struct tb_kvrow_params){tb_kvrow_put(params, g, f->f8, s > 1e-5f ? s : 1e-5f),
                                  tb_kvrow_put(params, f->n_groups + g, f->f8, lo)};
}

static inline struct tb_kvrow_params tb_kvrow_of(const struct tb_kvrow *f, const unsigned char *row, size_t g) {
  const unsigned char *params = row + tb_kvrow_code_bytes(f);
  return (struct tb_kvrow_params){tb_kvrow_get(params, g, f->f8), tb_kvrow_get(params, f->n_groups + g, f->f8)};
}

static inline float tb_kvrow_inverse(struct tb_kvrow_params p) { return p.s > 0 ? 1.0f / p.s : 0.0f; }

#endif
