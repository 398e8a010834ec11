/* Tiles of gemm for CPUs with a dot product of bytes (AVX-512 VNNI, AVX-VNNI): GEMM_MR vectors of rows by up to six
 * columns. Twelve dot products are in flight, two weight vectors and one broadcast activation feed them; the float
 * sums take the other twelve registers of AVX-512. With 16 registers, or two parts to be scaled, they live in the
 * first-level cache. */
#ifndef TB_SIMD_GEMM_GEMM_TILE_VNNI_H
#define TB_SIMD_GEMM_GEMM_TILE_VNNI_H

#include "simd/gemm/gemm_x86.h"

enum { GEMM_NR = 6 };

/* What gemm_pack.h asks of a tier: how a group's codes are kept. Here as they are. */
#define GEMM_CODE_VECTORS(bits) 8
#define GEMM_BIAS(bits, bias) (bias)
V_INLINE void gemm_codes(vint *c, int bits) { (void)c, (void)bits; }

V_INLINE void tile(float *y, size_t ldy, size_t rows, bool first, const unsigned char *panel, size_t groups,
                   const int8_t *q, size_t k, const float *record, int nr, int parts, int adds) {
  const size_t floats = record_floats(parts);
  vflt sum[GEMM_MR][GEMM_NR], scaled[GEMM_MR][GEMM_NR];
  vint dot[GEMM_MR][GEMM_NR];
  V_UNROLL
  for (int m = 0; m < GEMM_MR; m++)
    V_UNROLL
    for (int c = 0; c < nr; c++)
      sum[m][c] = first ? v_zero() : v_loadf_n(y + (size_t)c * ldy + m * TB_LANES, tile_rows(rows, m));
  for (size_t g = 0; g < groups; g++, q += 32, record++) {
    const unsigned char *scales = panel + 8 * GEMM_MR * VECTOR_BYTES;
    V_UNROLL
    for (int p = 0; p < parts; p++) {
      V_UNROLL
      for (int c = 0; c < nr; c++) {
        const vint start = tile_start(record + (size_t)c * floats, p, adds);
        V_UNROLL
        for (int m = 0; m < GEMM_MR; m++) dot[m][c] = start;
      }
      V_UNROLL
      for (int j = 0; j < 8 / parts; j++, panel += GEMM_MR * VECTOR_BYTES) {
        vint w[GEMM_MR];
        V_UNROLL
        for (int m = 0; m < GEMM_MR; m++) w[m] = v_loadi(panel + m * VECTOR_BYTES);
        V_UNROLL
        for (int c = 0; c < nr; c++) {
          const vint x = v_broadcast32(q + (size_t)c * k + 16 * p + 4 * j);
          V_UNROLL
          for (int m = 0; m < GEMM_MR; m++) dot[m][c] = v_dot4(dot[m][c], w[m], x);
        }
      }
      tile_scale(scaled[0], scaled[1], dot[0], dot[1], scales, nr, p);
    }
    tile_add(sum[0], sum[1], scaled[0], scaled[1], scales, record, floats, nr, parts, adds);
    panel += parts * (1 + adds) * GEMM_MR * VECTOR_BYTES;
  }
  V_UNROLL
  for (int m = 0; m < GEMM_MR; m++)
    V_UNROLL
    for (int c = 0; c < nr; c++) v_storef_n(y + (size_t)c * ldy + m * TB_LANES, sum[m][c], tile_rows(rows, m));
}

#define TILE(name, nr, parts, adds)                                                                                    \
  static void name##_##nr TILE_ARGS { tile(y, ldy, rows, first, panel, groups, q, k, record, nr, parts, adds); }
#define TILE_TABLE(name, parts, adds)                                                                                  \
  TILE(name, 1, parts, adds)                                                                                           \
  TILE(name, 2, parts, adds)                                                                                           \
  TILE(name, 3, parts, adds)                                                                                           \
  TILE(name, 4, parts, adds)                                                                                           \
  TILE(name, 5, parts, adds)                                                                                           \
  TILE(name, 6, parts, adds)                                                                                           \
  static tile_fn *const name[] = {NULL, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6};

TILE_TABLE(tiles, 1, 0)          /* one scale per 32 values */
TILE_TABLE(tiles_adds, 1, 1)     /* and a minimum */
TILE_TABLE(tiles_parts, 2, 0)    /* one scale per 16 values */
TILE_TABLE(tiles_parts_adds, 2, 1)

#undef TILE
#undef TILE_TABLE

#define TILES_4 tiles
#define TILES_4_ADDS tiles_adds
#define TILES_4_PARTS tiles_parts
#define TILES_4_PARTS_ADDS tiles_parts_adds
#define TILES_5 tiles
#define TILES_5_ADDS tiles_adds
#define TILES_6_PARTS tiles_parts
#define TILES_8 tiles

#endif
