/* The specification of SKVQ's rows (simd/kvrow/kvrow.h). */
#include "simd/kvrow/kvrow_params.h"

#include <math.h>
#include "simd/kernels.h"

static size_t source(const struct tb_kvrow *f, size_t c) { return f->order ? (size_t)f->order[c] : c; }

/* Codes of one row in the order of the groups. */
static void quantise(const struct tb_kvrow *f, unsigned char *row, const float *x, uint8_t *codes) {
  for (size_t g = 0, c = 0; g < f->n_groups; g++) {
    float min = x[source(f, c)], max = min;
    for (size_t i = c; i < f->ends[g]; i++) {
      const float y = x[source(f, i)];
      min = y < min ? y : min;
      max = y > max ? y : max;
    }
    const struct tb_kvrow_params p = tb_kvrow_set(f, row, g, min, max);
    const float inverse = tb_kvrow_inverse(p), top = (float)(f->levels - 1);
    for (; c < f->ends[g]; c++) {
      const float away = x[source(f, c)] - p.lo, q = rintf(away * inverse);
      codes[c] = (uint8_t)(q > 0 ? q < top ? q : top : 0);
    }
  }
}

void tb_kvrow_pack_ref TB_KVROW_PACK_ARGS {
  const size_t w = tb_kvrow_code_bytes(f);
  uint8_t codes[TB_KVROW_MAX + 4];
  for (size_t t = 0; t < n; t++) {
    unsigned char *row = (unsigned char *)rows + t * stride;
    quantise(f, row, x + t * ldx, codes);
    for (size_t c = f->width; c < 5 * w && f->levels == 3; c++) codes[c] = 0;
    for (size_t i = 0; i < w; i++) {
      unsigned v = 0;
      for (size_t k = 0; k < 5 && f->levels == 3; k++) v = 3 * v + codes[k * w + i];
      if (f->levels == 3) v = (256 * v + 242) / 243;
      else v = codes[i] | (unsigned)codes[w + i] << 2 | (unsigned)codes[2 * w + i] << 4 | (unsigned)codes[3 * w + i] << 6;
      row[i] = (unsigned char)v;
    }
  }
}

static unsigned code(const struct tb_kvrow *f, const unsigned char *row, size_t c) {
  static const unsigned power[5] = {1, 3, 9, 27, 81};
  const size_t w = tb_kvrow_code_bytes(f);
  return f->levels == 3 ? (row[c % w] * power[c / w] & 255) * 3 >> 8 : row[c % w] >> 2 * (c / w) & 3u;
}

void tb_kvrow_expand_ref TB_KVROW_EXPAND_ARGS {
  for (size_t t = 0; t < n; t++)
    for (size_t i = 0; i < count; i++) {
      const unsigned char *row = (const unsigned char *)rows + t * stride;
      const size_t c = f->place ? (size_t)f->place[first + i] : first + i;
      size_t g = 0;
      while (f->ends[g] <= c) g++;
      const struct tb_kvrow_params p = tb_kvrow_of(f, row, g);
      const float product = (float)code(f, row, c) * p.s;
      x[t * ldx + i] = product + p.lo;
    }
}
