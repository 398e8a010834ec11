/* activation: gated activations of the feed-forward block. y may be gate or up.
 *   silu_mul: y = gate / (1 + exp(-gate)) · up          gelu_mul: y = gelu_tanh(gate) · up
 *   gelu_tanh(x) = x/2 · (1 + tanh(sqrt(2/pi)·(x + 0.044715·x³)))
 * Contract BOUND: |y - exact| ≤ 2^-20 · |exact| + 2^-120 for |gate| ≤ 80 (exp and tanh of SLEEF's 1.0-ULP family or
 * our polynomial of simd/vec, then three roundings; gelu_tanh cancels in 1 + tanh for negative x, so there the bound
 * is 2^-20 · |gate·up|). */
#ifndef TB_SIMD_ACTIVATION_H
#define TB_SIMD_ACTIVATION_H

#include <stddef.h>

#define TB_ACTIVATION_ARGS (float *y, const float *gate, const float *up, size_t n)
typedef void tb_silu_mul_t TB_ACTIVATION_ARGS;
typedef void tb_gelu_mul_t TB_ACTIVATION_ARGS;

#endif
