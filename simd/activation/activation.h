/* activation: gated activations of the feed-forward block. y may be gate or up.
 *   silu_mul: y = gate / (1 + exp(-gate)) · up          gelu_mul: y = gelu_tanh(gate) · up
 *   gelu_tanh(x) = x/2 · (1 + tanh(u)) = x / (1 + exp(-2u)),   u = sqrt(2/pi)·(x + 0.044715·x³)
 *   silu_mul_q8, gelu_mul_q8: the same floats, and their 8-bit codes as quant_q8 (simd/quant/quant.h) makes them from
 *   these floats; n is a multiple of 32
 * Contract BOUND, for finite input:
 *   silu_mul  |y - exact| ≤ 2^-21 · |exact| + 2^-120 · |up| + 2^-149
 *   gelu_mul  |y - exact| ≤ 2^-21 · |gate·up| + 2^-149 · (1 + |up|)
 * silu: with e = exp(-gate) the relative error is at most 2^-23 · e/(1+e) from exp (simd/vec/vec_math.h) and three
 * roundings of 2^-24, 5 · 2^-24 in all; where exp overflows, |exact| < 2^-121·|up|. gelu: the exponent 2u carries four
 * roundings, which move the sigmoid by at most max |t|·σ(t)·σ(-t) · 4·2^-24 < 2^-24, and 5 · 2^-24 as above.
 * The tiers of one build give the same bits, and so do builds of one SLEEF version. */
#ifndef TB_SIMD_ACTIVATION_H
#define TB_SIMD_ACTIVATION_H

#include <stddef.h>
#include <stdint.h>

#define TB_ACTIVATION_ARGS (float *y, const float *gate, const float *up, size_t n)
#define TB_ACTIVATION_Q8_ARGS (float *y, int8_t *q, float *d, int16_t *s, const float *gate, const float *up, size_t n)

typedef void tb_silu_mul_t TB_ACTIVATION_ARGS;
typedef void tb_gelu_mul_t TB_ACTIVATION_ARGS;
typedef void tb_silu_mul_q8_t TB_ACTIVATION_Q8_ARGS;
typedef void tb_gelu_mul_q8_t TB_ACTIVATION_Q8_ARGS;

#endif
