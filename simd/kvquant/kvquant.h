/* kvquant: one block of floats to the codes that kvpack packs. TB_KV_BLOCK rows (tokens), row t at x + t·ldx, `planes`
 * channels; codes are TB_KV_BLOCK × planes bytes, token after token. With 16 levels a code u goes as two digits to two
 * blocks, high = u/4 and low = u mod 4; otherwise low is NULL. In all of it, y(v) = clamp(round-half-to-even(v +
 * centre), 0, levels - 1) - centre, centre = (levels - 1)/2, and inverse(s) = 1/s, 0 below 2^-100.
 *
 * kvquant_fit: step and midpoint of each channel, fp16, for x̂ = mid + step·y (levels 4 or 16).
 *     m = low/2 + high/2 of the channel's range, step = (high/2 - low/2)·(clip/centre), mid = m
 *     `rounds` times the least squares fit to the codes that these give (Lloyd, IEEE Trans. IT-28, 1982):
 *         y_t = y((x_t - mid)·inverse(step)),  d_t = x_t - m
 *         Sy = Σ y, Syy = Σ y², Sd = Σ d, Sdy = Σ d·y    tokens in order; y² and d·y by fma
 *         D = 160·Syy - Sy²,  step = fma(160, Sdy, -(Sd·Sy))/D (0 if D < 1/2),  mid = m + (Sd - step·Sy)·(1/160)
 *     both limited to ±65504 and rounded to fp16. Two rounds from clip 0.7 (4 levels; 0.92 with 16) reach the error of a
 *     search over clips: 0.119 of the energy for normal values, and less where a channel is not symmetric.
 * kvquant_keys: u = y((x - mid)·inverse(step)) + centre, with the rounded step and midpoint.
 *
 * kvquant_values: codes and scale of each token, for x̂ = scale·y (levels 3, 4 or 16).
 *     step = best·√(Σ x²/planes), best = 1.224, 0.9957, 0.3352: the best uniform quantiser of a normal distribution
 *     y_c = y(x_c·inverse(step)),  scale = max(Σ x·y / Σ y², 0), the least squares gain (0 if Σ y² = 0)
 *     `rounds` more times the same with step = scale: one round takes 1 to 2 % off the error.
 *     Sums over channels: 16 interleaved chains of fma (chain i: channels i, 16 + i, …), then added i + (i+8), i + (i+4),
 *     (0 + 1) + (2 + 3).
 *
 * Contract EXACT; operations without "fma" are rounded one by one. x finite, |x| < 2^55; otherwise unspecified codes in
 * range, no trap. planes: a multiple of 32, at most TB_KV_PLANES_MAX. No alignment needed. */
#ifndef TB_SIMD_KVQUANT_H
#define TB_SIMD_KVQUANT_H

#include "simd/kvblock.h"

#define TB_KVQUANT_FIT_ARGS                                                                                            \
  (uint16_t *step, uint16_t *mid, const float *x, size_t ldx, float clip, unsigned rounds, unsigned levels, size_t planes)
#define TB_KVQUANT_KEYS_ARGS                                                                                           \
  (uint8_t *high, uint8_t *low, const float *x, size_t ldx, const uint16_t *step, const uint16_t *mid, size_t planes)
#define TB_KVQUANT_VALUES_ARGS                                                                                         \
  (uint8_t *high, uint8_t *low, float *scale, const float *x, size_t ldx, unsigned rounds, unsigned levels, size_t planes)

typedef void tb_kvquant_fit_t TB_KVQUANT_FIT_ARGS;
typedef void tb_kvquant_keys_t TB_KVQUANT_KEYS_ARGS;
typedef void tb_kvquant_values_t TB_KVQUANT_VALUES_ARGS;

/* Steps in units of the standard deviation (Max, IRE Trans. IT-6, 1960, table II; three levels: ±1.224). */
static inline float tb_kvquant_best(unsigned levels) { return levels == 3 ? 1.224f : levels == 4 ? 0.9957f : 0.3352f; }

static inline float tb_kvquant_inverse(float step) { return step >= 0x1p-100f ? 1.0f / step : 0.0f; }

#endif
