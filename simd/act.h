/* Quantised activations: what the weight kernels and the integer attention kernels multiply with.
 *
 * n_cols rows of k floats, each also held as 8-bit codes with one scale per 32 values (as in ggml's Q8_0, but with
 * separate arrays and a float scale):   f[i] ≈ d[i/32] · q[i],   s[j] = Σ q over the 16 values of group j.
 * Columns are contiguous: column c starts at f + c·ldf, q + c·k, d + c·k/32, s + c·k/16. When k is not a multiple of
 * 32 only f is valid (no format with blocks can have such a row). The arrays are aligned to 64 bytes. */
#ifndef TB_SIMD_ACT_H
#define TB_SIMD_ACT_H

#include <stddef.h>
#include <stdint.h>

struct tb_acts {
  size_t k;        /* values per column */
  const float *f;
  size_t ldf;      /* floats from one column of f to the next, ≥ k */
  const int8_t *q; /* -127 … 127 */
  const float *d;
  const int16_t *s;
  size_t id;       /* 0, or a number that no other columns ever have: gemm may use again what it made of them */
};

#endif
