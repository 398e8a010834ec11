/* kvrow for every ISA (simd/kvrow/kvrow.h): include after the ISA's vec header. Rows pass through buffers with room for
 * whole vectors at the end: a group may be of any size, and what is written past its end the next one overwrites. Codes are
 * packed and unpacked 16 bytes at a time, the rest one by one. */
#include "simd/kvrow/kvrow_params.h"

#include "simd/kernels.h"

enum { ROOM = TB_KVROW_MAX + 16 };

typedef uint8_t b16 __attribute__((vector_size(16)));

TB_INLINE b16 b16_load(const uint8_t *p) {
  b16 v;
  memcpy(&v, p, sizeof v);
  return v;
}
TB_INLINE void b16_store(uint8_t *p, b16 v) { memcpy(p, &v, sizeof v); }

/* Smallest and largest of n values. */
TB_INLINE void range(const float *y, size_t n, float *min, float *max) {
  if (n < 16) {
    *min = *max = y[0];
    for (size_t i = 1; i < n; i++) {
      *min = y[i] < *min ? y[i] : *min;
      *max = y[i] > *max ? y[i] : *max;
    }
    return;
  }
  v16 least = v16_load(y + n - 16), most = least; /* overlaps the last whole vector */
  for (size_t i = 0; i + 16 <= n; i += 16) {
    const v16 v = v16_load(y + i);
    least = v16_min(v, least);
    most = v16_max(v, most);
  }
  *min = -v16_hmax(v16_sub(v16_zero(), least));
  *max = v16_hmax(most);
}

static void quantise(const struct tb_kvrow *f, unsigned char *row, const float *y, uint8_t *codes) {
  const v16 top = v16_set1((float)(f->levels - 1));
  for (size_t g = 0, c = 0; g < f->n_groups; c = f->ends[g++]) {
    float min, max;
    range(y + c, f->ends[g] - c, &min, &max);
    const struct tb_kvrow_params p = tb_kvrow_set(f, row, g, min, max);
    const v16 lo = v16_set1(p.lo), inverse = v16_set1(tb_kvrow_inverse(p));
    for (size_t i = c; i < f->ends[g]; i += 16) {
      const v16 q = v16_rint(v16_mul(v16_sub(v16_load(y + i), lo), inverse));
      v16_store_i8(codes + i, v16_min(v16_max(q, v16_zero()), top));
    }
  }
}

static void pack2(unsigned char *row, const uint8_t *codes, size_t w) {
  size_t i = 0;
  for (; i + 16 <= w; i += 16) {
    const b16 high = b16_load(codes + 2 * w + i) | b16_load(codes + 3 * w + i) << 2;
    b16_store(row + i, b16_load(codes + i) | b16_load(codes + w + i) << 2 | high << 4);
  }
  for (; i < w; i++) row[i] = (uint8_t)(codes[i] | codes[w + i] << 2 | codes[2 * w + i] << 4 | codes[3 * w + i] << 6);
}

/* ⌈256·v/243⌉ = v + ⌊(13·v + 242)/243⌋, the quotient as in simd/kvpack. */
static void pack3(unsigned char *restrict row, const uint8_t *restrict codes, size_t w) {
  for (size_t i = 0; i < w; i++) {
    const unsigned v = 81u * codes[i] + 27u * codes[w + i] + 9u * codes[2 * w + i] + 3u * codes[3 * w + i] + codes[4 * w + i];
    row[i] = (uint8_t)(v + ((13 * v + 242) * 69051 >> 24));
  }
}

void TB_FN(kvrow_pack) TB_KVROW_PACK_ARGS {
  const size_t w = tb_kvrow_code_bytes(f);
  float y[ROOM];
  uint8_t codes[ROOM];
  memset(y + f->width, 0, 16 * sizeof *y);
  for (size_t t = 0; t < n; t++, x += ldx) {
    unsigned char *row = (unsigned char *)rows + t * stride;
    if (f->order)
      for (size_t c = 0; c < f->width; c++) y[c] = x[f->order[c]];
    else memcpy(y, x, f->width * sizeof *y);
    quantise(f, row, y, codes);
    memset(codes + f->width, 0, 16);
    (f->levels == 3 ? pack3 : pack2)(row, codes, w);
  }
}

static void unpack2(uint8_t *codes, const unsigned char *row, size_t w) {
  size_t i = 0;
  for (; i + 16 <= w; i += 16) {
    const b16 b = b16_load(row + i);
    b16_store(codes + i, b & 3);
    b16_store(codes + w + i, b >> 2 & 3);
    b16_store(codes + 2 * w + i, b >> 4 & 3);
    b16_store(codes + 3 * w + i, b >> 6);
  }
  for (; i < w; i++)
    for (size_t k = 0; k < 4; k++) codes[k * w + i] = row[i] >> 2 * k & 3;
}

/* A trit is the number of thresholds 256/3 and 512/3 that the byte exceeds; tripling the byte brings the next one. */
static void unpack3(uint8_t *codes, const unsigned char *row, size_t w) {
  size_t i = 0;
  for (; i + 16 <= w; i += 16) {
    b16 y = b16_load(row + i);
    for (size_t k = 0; k < 5; k++, y = y + y + y) b16_store(codes + k * w + i, ((b16)(y > 85) & 1) + ((b16)(y > 170) & 1));
  }
  for (; i < w; i++) {
    unsigned y = row[i];
    for (size_t k = 0; k < 5; k++, y = 3 * y & 255) codes[k * w + i] = (uint8_t)(3 * y >> 8);
  }
}

void TB_FN(kvrow_expand) TB_KVROW_EXPAND_ARGS {
  const size_t w = tb_kvrow_code_bytes(f), from = f->place ? 0 : first, to = f->place ? f->width : first + count;
  float y[ROOM];
  uint8_t codes[ROOM];
  memset(codes + f->width, 0, 16);
  for (size_t t = 0; t < n; t++, x += ldx) {
    const unsigned char *row = (const unsigned char *)rows + t * stride;
    (f->levels == 3 ? unpack3 : unpack2)(codes, row, w);
    for (size_t g = 0, c = 0; g < f->n_groups; c = f->ends[g++]) {
      if (f->ends[g] <= from || c >= to) continue;
      const struct tb_kvrow_params p = tb_kvrow_of(f, row, g);
      const v16 s = v16_set1(p.s), lo = v16_set1(p.lo);
      for (size_t i = c; i < f->ends[g]; i += 16) v16_store(y + i, v16_add(v16_mul(v16_load_i8(codes + i), s), lo));
    }
    if (f->place)
      for (size_t i = 0; i < count; i++) x[i] = y[f->place[first + i]];
    else memcpy(x, y + first, count * sizeof *x);
  }
}
