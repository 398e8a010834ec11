/* kvdequant for every ISA (simd/kvdequant/kvdequant.h): include after the ISA's vec header and these of its own.
 *
 *   keys16(line, next, u, v)   16 planes, 8 of the line's lane and 8 of the next line's, of two tokens 16 apart: codes
 *   dwords                     the 16 lanes of a line; _narrow: 8 lanes, and again shifted right by 2
 *   dwords_triple, _trits      each byte times 3; the leading trit of each byte
 *   codebook                   (u - centre)·step for every code u
 *   dwords_level(w, at, l)     what the codes at bits `at`, `at`+1 of each lane stand for; bits above are ignored */
#include "simd/kernels.h"

TB_INLINE void keys_out(float *x, v16 u, const float *step, const float *low) {
  const v16 product = v16_mul(u, v16_load(step));
  v16_store(x, v16_add(product, v16_load(low ? low : x)));
}

void TB_FN(kvdequant_keys2) TB_KVDEQUANT_KEYS_ARGS {
  for (size_t t = 0; t < TB_KV_BLOCK; t += t % 32 == 15 ? 17 : 1) { /* 0-15, 32-47, … */
    const unsigned char *line = (const unsigned char *)block + t / 32 * planes * 8 + t % 32 * 4;
    for (size_t c = 0; c < planes; c += 16, line += 128) {
      v16 first, second;
      keys16(line, line + 64, &first, &second);
      keys_out(x + t * ldx + c, first, step + c, low ? low + c : NULL);
      keys_out(x + (t + 16) * ldx + c, second, step + c, low ? low + c : NULL);
    }
  }
}

TB_INLINE void values_out(float *x, v16 value, bool add) { v16_store(x, add ? v16_add(v16_load(x), value) : value); }

/* A line of `width` planes: 4 tokens. */
TB_INLINE void values_line(float *x, size_t ldx, dwords w, const float *step, bool add, unsigned width) {
  TB_UNROLL for (unsigned b = 0; b < 4; b++) {
    const codebook l = codebook_of(step[b], 1.5f);
    TB_UNROLL for (unsigned s = 0; s < width / 16; s++)
      values_out(x + b * ldx + 16 * s, dwords_level(w, 8 * b + s * (width == 64 ? 2 : 4), l), add);
  }
}

TB_INLINE void values2(float *x, size_t ldx, const unsigned char *line, const float *step, bool add, size_t planes) {
  for (size_t c = 0; c < planes; c += 64)
    for (size_t t = 0; t < TB_KV_BLOCK; t += 4) {
      float *xt = x + t * ldx + c;
      if (planes - c >= 64) {
        values_line(xt, ldx, dwords_load(line), step + t, add, 64);
        line += 64;
      } else {
        values_line(xt, ldx, dwords_load_narrow(line), step + t, add, 32);
        line += 32;
      }
    }
}

void TB_FN(kvdequant_values2) TB_KVDEQUANT_VALUES_ARGS {
  if (add) values2(x, ldx, block, step, true, planes);
  else values2(x, ldx, block, step, false, planes);
}

/* A line of 16 planes: 20 tokens. */
TB_INLINE void ternary_line(float *x, size_t ldx, dwords y, const float *step, bool add) {
  for (size_t t = 0; t < 20; t += 4, y = dwords_triple(y)) {
    const dwords u = dwords_trits(y);
    TB_UNROLL for (unsigned b = 0; b < 4; b++)
      values_out(x + (t + b) * ldx, dwords_level(u, 8 * b, codebook_of(step[t + b], 1.0f)), add);
  }
}

TB_INLINE void ternary(float *x, size_t ldx, const unsigned char *line, const float *step, bool add, size_t planes) {
  for (size_t c = 0; c < planes; c += 64)
    for (size_t t = 0; t < TB_KV_BLOCK; t += 20)
      for (size_t j = c; j < planes && j < c + 64; j += 16, line += 64)
        ternary_line(x + t * ldx + j, ldx, dwords_load(line), step + t, add);
}

void TB_FN(kvdequant_ternary) TB_KVDEQUANT_VALUES_ARGS {
  if (add) ternary(x, ldx, block, step, true, planes);
  else ternary(x, ldx, block, step, false, planes);
}
