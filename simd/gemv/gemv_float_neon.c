/* gemv of the float formats with NEON. Four rows share the activations; a row is summed in 16 chains, four vectors
 * wide, whatever the number of rows. */
#include "simd/gemv/gemv.h"

#include <string.h>

#include "simd/kernels.h"
#include "simd/vec/arm_floats.h"

#define EACH_ROW(n, DO)                                                                                                \
  do {                                                                                                                 \
    DO(0) if ((n) > 1) { DO(1) DO(2) DO(3) }                                                                           \
  } while (0)

enum { AHEAD = 512 };

/* Sixteen weights of a row as floats. */
typedef void load16(float32x4_t v[4], const uint8_t *w);

TB_INLINE void accumulate(float32x4_t acc[4], const float32x4_t w[4], const float32x4_t x[4]) {
  acc[0] = vfmaq_f32(acc[0], w[0], x[0]);
  acc[1] = vfmaq_f32(acc[1], w[1], x[1]);
  acc[2] = vfmaq_f32(acc[2], w[2], x[2]);
  acc[3] = vfmaq_f32(acc[3], w[3], x[3]);
}

/* The last 1 … 15 values of a row, zeros behind them. */
TB_INLINE void accumulate_tail(float32x4_t acc[4], const uint8_t *w, size_t bytes, const float32x4_t x[4], load16 *load) {
  uint8_t padded[64] = {0};
  float32x4_t v[4];
  memcpy(padded, w, bytes);
  load(v, padded);
  accumulate(acc, v, x);
}

TB_INLINE void rows_n(float *y, const uint8_t *w, size_t row_bytes, const struct tb_acts *x, size_t size, load16 *load,
                      int n) {
  const float32x4_t zero = vdupq_n_f32(0);
  float32x4_t a0[4] = {zero, zero, zero, zero}, a1[4] = {zero, zero, zero, zero};
  float32x4_t a2[4] = {zero, zero, zero, zero}, a3[4] = {zero, zero, zero, zero}, v[4], f[4];
  const uint8_t *w0 = w, *w1 = w + row_bytes, *w2 = w1 + row_bytes, *w3 = w2 + row_bytes;
  const size_t whole = x->k / 16 * 16, rest = x->k - whole;
  for (size_t i = 0; i < whole; i += 16) {
    tb_load16_f32(f, (const uint8_t *)(x->f + i));
#define STEP(r)                                                                                                        \
  __builtin_prefetch(w##r + AHEAD);                                                                                    \
  load(v, w##r);                                                                                                       \
  accumulate(a##r, v, f);                                                                                              \
  w##r += 16 * size;
    EACH_ROW(n, STEP);
#undef STEP
  }
  if (rest) {
    float padded[16] = {0};
    memcpy(padded, x->f + whole, rest * sizeof *padded);
    tb_load16_f32(f, (const uint8_t *)padded);
#define TAIL(r) accumulate_tail(a##r, w##r, rest * size, f, load);
    EACH_ROW(n, TAIL);
#undef TAIL
  }
#define STORE(r) y[r] = vaddvq_f32(vaddq_f32(vaddq_f32(a##r[0], a##r[1]), vaddq_f32(a##r[2], a##r[3])));
  EACH_ROW(n, STORE);
#undef STORE
}

#define FLOAT_GEMV(format, size)                                                                                       \
  void tb_gemv_##format##_neon TB_GEMV_ARGS {                                                                          \
    size_t r = 0;                                                                                                      \
    for (; r + 4 <= rows; r += 4)                                                                                      \
      rows_n(y + r, (const uint8_t *)w + r * row_bytes, row_bytes, x, size, tb_load16_##format, 4);                    \
    for (; r < rows; r++)                                                                                              \
      rows_n(y + r, (const uint8_t *)w + r * row_bytes, row_bytes, x, size, tb_load16_##format, 1);                    \
  }
FLOAT_GEMV(f32, 4)
FLOAT_GEMV(f16, 2)
FLOAT_GEMV(bf16, 2)
