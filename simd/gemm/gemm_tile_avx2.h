/* Tiles of gemm for AVX2: two vectors of rows by up to four columns. Products of codes and activations are summed in
 * 16 bits as long as they fit (a run) and widened once per run; simd/vec/lanes_256.h derives how many do. Eight-bit
 * codes do not fit even once: they are kept as two nibbles, low ones first, and summed as two passes of four bits. */
#ifndef TB_SIMD_GEMM_GEMM_TILE_AVX2_H
#define TB_SIMD_GEMM_GEMM_TILE_AVX2_H

#include "simd/gemm/gemm_x86.h"

enum { GEMM_NR = 4 };

#define GEMM_CODE_VECTORS(bits) ((bits) == 8 ? 16 : 8)
#define GEMM_BIAS(bits, bias) ((bits) == 8 ? 128 : (bias))
V_INLINE void gemm_codes(vint *c, int bits) {
  for (int j = 0; j < 8 && bits == 8; j++) {
    const vint code = v_xor(c[j], v_set8(0x80));
    c[j] = unpack_low(code);
    c[j + 8] = unpack_high(code);
  }
}

/* dot + factor · the products of `quads` vectors of codes; run: how many fit 16 bits. */
V_INLINE void tile_pass(vint dot[GEMM_MR][GEMM_NR], const unsigned char *codes, const int8_t *q, size_t k, int nr,
                        int quads, int run, int factor, bool last) {
  V_UNROLL
  for (int j = 0; j < quads; j += run) {
    vint sum[GEMM_MR][GEMM_NR];
    V_UNROLL
    for (int i = j; i < j + run; i++) {
      vint w[GEMM_MR];
      V_UNROLL
      for (int m = 0; m < GEMM_MR; m++) w[m] = v_loadi(codes + (i * GEMM_MR + m) * VECTOR_BYTES);
      V_UNROLL
      for (int c = 0; c < nr; c++) {
        const vint x = v_broadcast32(q + (size_t)c * k + 4 * i);
        V_UNROLL
        for (int m = 0; m < GEMM_MR; m++) {
          const vint pairs = _mm256_maddubs_epi16(w[m], x);
          sum[m][c] = i == j ? pairs : _mm256_add_epi16(sum[m][c], pairs);
          __asm__("" : "+x"(sum[m][c])); /* in this order: a compiler that regroups the sums runs out of registers */
        }
      }
    }
    V_UNROLL
    for (int m = 0; m < GEMM_MR; m++)
      V_UNROLL
      for (int c = 0; c < nr; c++) {
        dot[m][c] = v_add32(dot[m][c], v_madd16(sum[m][c], _mm256_set1_epi16((short)factor)));
        if (!last || j + run < quads) __asm__("" : "+m"(dot[m][c])); /* the next run needs the registers */
      }
  }
}

V_INLINE void tile(float *y, size_t ldy, size_t rows, bool first, const unsigned char *panel, size_t groups,
                   const int8_t *q, size_t k, const float *record, int nr, int bits, int parts, int adds) {
  const size_t floats = record_floats(parts);
  const int quads = 8 / parts, most = bits <= 4 || bits == 8 ? 8 : bits == 5 ? 4 : 2, run = quads < most ? quads : most;
  vflt sum[GEMM_MR][GEMM_NR], scaled[GEMM_MR][GEMM_NR];
  V_UNROLL
  for (int m = 0; m < GEMM_MR; m++)
    V_UNROLL
    for (int c = 0; c < nr; c++)
      sum[m][c] = first ? v_zero() : v_loadf_n(y + (size_t)c * ldy + m * TB_LANES, tile_rows(rows, m));
  for (size_t g = 0; g < groups; g++, q += 32, record++) {
    const unsigned char *scales = panel + GEMM_CODE_VECTORS(bits) * GEMM_MR * VECTOR_BYTES;
    V_UNROLL
    for (int p = 0; p < parts; p++) {
      const unsigned char *codes = panel + p * quads * GEMM_MR * VECTOR_BYTES;
      vint dot[GEMM_MR][GEMM_NR];
      V_UNROLL
      for (int c = 0; c < nr; c++) dot[0][c] = dot[1][c] = tile_start(record + (size_t)c * floats, p, adds);
      tile_pass(dot, codes, q + 16 * p, k, nr, quads, run, 1, bits != 8);
      if (bits == 8) tile_pass(dot, codes + 8 * GEMM_MR * VECTOR_BYTES, q, k, nr, quads, run, 16, true);
      tile_scale(scaled[0], scaled[1], dot[0], dot[1], scales, nr, p);
    }
    tile_add(sum[0], sum[1], scaled[0], scaled[1], scales, record, floats, nr, parts, adds);
    panel = scales + parts * (1 + adds) * GEMM_MR * VECTOR_BYTES;
  }
  V_UNROLL
  for (int m = 0; m < GEMM_MR; m++)
    V_UNROLL
    for (int c = 0; c < nr; c++) v_storef_n(y + (size_t)c * ldy + m * TB_LANES, sum[m][c], tile_rows(rows, m));
}

#define TILE(name, nr, bits, parts, adds)                                                                              \
  static void name##_##nr TILE_ARGS { tile(y, ldy, rows, first, panel, groups, q, k, record, nr, bits, parts, adds); }
#define TILE_TABLE(name, bits, parts, adds)                                                                            \
  TILE(name, 1, bits, parts, adds)                                                                                     \
  TILE(name, 2, bits, parts, adds)                                                                                     \
  TILE(name, 3, bits, parts, adds)                                                                                     \
  TILE(name, 4, bits, parts, adds)                                                                                     \
  static tile_fn *const name[] = {NULL, name##_1, name##_2, name##_3, name##_4};

TILE_TABLE(tiles_4, 4, 1, 0)
TILE_TABLE(tiles_4_adds, 4, 1, 1)
TILE_TABLE(tiles_4_parts, 4, 2, 0)
TILE_TABLE(tiles_4_parts_adds, 4, 2, 1)
TILE_TABLE(tiles_5, 5, 1, 0)
TILE_TABLE(tiles_5_adds, 5, 1, 1)
TILE_TABLE(tiles_6_parts, 6, 2, 0)
TILE_TABLE(tiles_8, 8, 1, 0)

#undef TILE
#undef TILE_TABLE

#define TILES_4 tiles_4
#define TILES_4_ADDS tiles_4_adds
#define TILES_4_PARTS tiles_4_parts
#define TILES_4_PARTS_ADDS tiles_4_parts_adds
#define TILES_5 tiles_5
#define TILES_5_ADDS tiles_5_adds
#define TILES_6_PARTS tiles_6_parts
#define TILES_8 tiles_8

#endif
