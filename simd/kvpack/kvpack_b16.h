/* kvpack for every ISA (simd/kvpack/kvpack.h), on registers of 16 bytes: what packing costs is loads and stores, and the
 * rows of a block are of any length. Include after these, named the same for every ISA:
 *
 *   b16, b16_load, b16_store, b16_or
 *   b16_up2, b16_up4            each byte shifted left; no bit leaves its byte
 *   b16_high                    bytes 8-15 as bytes 0-7
 *   b16_add3(v, c)              3·v + c, at most 255
 *   b16_trits(v)                ⌈256·v/243⌉ of v < 243
 *   b16_columns(r)              transposes 4 × 4 dwords in place
 *   b16_interleave(p, v)        64 bytes: v[0][0], v[1][0], v[2][0], v[3][0], v[0][1] …
 *   b16_interleave_low(p, v)    32 bytes: the same of bytes 0-7 */
#include "simd/kernels.h"

/* Two lines at a time, four lanes of both. */
void TB_FN(kvpack_keys2) TB_KVPACK_BLOCK_ARGS {
  unsigned char *line = block;
  for (size_t t = 0; t < TB_KV_BLOCK; t += 32, codes += 32 * planes)
    for (size_t c = 0; c < planes; c += 16, line += 128)
      for (size_t i = 0; i < 16; i += 4) {
        b16 r[4];
        for (size_t j = 0; j < 4; j++) {
          const uint8_t *row = codes + (i + j) * planes + c;
          r[j] = b16_or(b16_load(row), b16_up2(b16_load(row + 16 * planes)));
        }
        b16_columns(r);
        b16_store(line + 4 * i, b16_or(r[0], b16_up4(r[1])));
        b16_store(line + 64 + 4 * i, b16_or(r[2], b16_up4(r[3])));
      }
}

/* One token's bytes of a line. */
TB_INLINE b16 values64(const uint8_t *row) {
  const b16 low = b16_or(b16_load(row), b16_up2(b16_load(row + 16)));
  return b16_or(low, b16_up4(b16_or(b16_load(row + 32), b16_up2(b16_load(row + 48)))));
}
TB_INLINE b16 values32(const uint8_t *row) {
  const b16 pairs = b16_or(b16_load(row), b16_up4(b16_load(row + 16))); /* planes i and 16 + i */
  return b16_or(pairs, b16_up2(b16_high(pairs)));
}

void TB_FN(kvpack_values2) TB_KVPACK_BLOCK_ARGS {
  unsigned char *line = block;
  size_t c = 0;
  for (; c + 64 <= planes; c += 64)
    for (const uint8_t *row = codes + c; line < (unsigned char *)block + (c + 64) * (TB_KV_BLOCK / 4); row += 4 * planes, line += 64)
      b16_interleave(line, (b16[4]){values64(row), values64(row + planes), values64(row + 2 * planes), values64(row + 3 * planes)});
  if (c == planes) return;
  for (const uint8_t *row = codes + c; line < (unsigned char *)block + planes * (TB_KV_BLOCK / 4); row += 4 * planes, line += 32)
    b16_interleave_low(line, (b16[4]){values32(row), values32(row + planes), values32(row + 2 * planes), values32(row + 3 * planes)});
}

void TB_FN(kvpack_ternary) TB_KVPACK_BLOCK_ARGS {
  unsigned char *line = block;
  for (size_t first = 0; first < planes; first += 64)
    for (size_t t = 0; t < TB_KV_BLOCK; t += 20)
      for (size_t c = first; c < planes && c < first + 64; c += 16, line += 64) {
        b16 y[4];
        for (size_t b = 0; b < 4; b++) {
          const uint8_t *row = codes + (t + b) * planes + c;
          b16 v = b16_load(row);
          for (size_t k = 1; k < 5; k++) v = b16_add3(v, b16_load(row + 4 * k * planes));
          y[b] = b16_trits(v);
        }
        b16_interleave(line, y);
      }
}
