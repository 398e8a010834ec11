/* The packed operands of the ARM gemm kernels. The including file defines PANEL_ROWS (rows of a panel, 4 or 8) and
 * SCALE_COPIES (how often a scale is repeated in a packed array, 1 or 2: what the tier's accumulators need). */
#ifndef TB_SIMD_GEMM_PANEL_ARM_H
#define TB_SIMD_GEMM_PANEL_ARM_H

#include <stddef.h>
#include <stdint.h>

enum { COLS = 4, K_SLICE = 1024, SLICE_GROUPS = K_SLICE / 32 };

/* A panel of rows over one slice. */
struct panel {
  int8_t codes[PANEL_ROWS * K_SLICE];
  float scales[2 * SLICE_GROUPS * PANEL_ROWS * SCALE_COPIES]; /* [group of 32 or 16][row] */
  float minima[2 * SLICE_GROUPS * PANEL_ROWS * SCALE_COPIES];
};

/* COLS columns over one slice. With two copies the scales of an item are in the order 0 1 0 1 2 3 2 3. */
struct columns {
  int8_t codes[COLS * K_SLICE];
  float d[SLICE_GROUPS * COLS * SCALE_COPIES];       /* [group of 32][column] */
  float ds[2 * SLICE_GROUPS * COLS * SCALE_COPIES];  /* d · (sum of codes): the factor of a minimum */
};

/* out[c][r] = this slice's part of column c, row r. */
typedef void micro(float out[COLS][PANEL_ROWS], const struct panel *p, const struct columns *x, size_t groups);

#endif
