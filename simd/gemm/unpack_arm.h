/* Rows of weights as 8-bit codes with float scales: what the ARM gemm kernels build their panels from. */
#ifndef TB_SIMD_GEMM_UNPACK_ARM_H
#define TB_SIMD_GEMM_UNPACK_ARM_H

#include <stddef.h>
#include <stdint.h>

/* Unpacks groups · 32 weights that start at a block boundary:
 *   weight i = scale · codes[i] + minimum,   scale and minimum one per 32 or per 16 weights (TB_UNPACK_KINDS).
 * What the format subtracts from a code is already off. codes and the float arrays are written in whole runs of 128
 * weights: they need room up to the next multiple. minima may be NULL where the format has none. */
typedef void tb_unpack_t(int8_t *codes, float *scales, float *minima, const uint8_t *w, size_t groups);

/* KIND(format, fit, scales per 32 weights, minima per 32 weights). fit as in simd/vec/arm_dot.h, for the codes given
 * here: |code| is at most 8 in q4_0, 16 in q5_0, 15 and 31 where there are minima, 32 in q6_k. q2_k and q3_k have the
 * integer part of their scales multiplied in (at most 45 and 128), which leaves one scale for a super-block. */
#define TB_UNPACK_KINDS(KIND)                                                                                          \
  KIND(q8_0, 2, 1, 0)                                                                                                  \
  KIND(q4_0, 16, 1, 0)                                                                                                 \
  KIND(q4_1, 16, 1, 1)                                                                                                 \
  KIND(q5_0, 16, 1, 0)                                                                                                 \
  KIND(q5_1, 8, 1, 1)                                                                                                  \
  KIND(iq4_nl, 2, 1, 0)                                                                                                \
  KIND(q2_k, 4, 1, 2)                                                                                                  \
  KIND(q3_k, 2, 1, 0)                                                                                                  \
  KIND(q4_k, 16, 1, 1)                                                                                                 \
  KIND(q5_k, 8, 1, 1)                                                                                                  \
  KIND(q6_k, 8, 2, 0)                                                                                                  \
  KIND(iq4_xs, 2, 1, 0)

#define TB_UNPACK_DECLARE(format, fit, scales, minima) tb_unpack_t tb_unpack_##format##_neon;
TB_UNPACK_KINDS(TB_UNPACK_DECLARE)
#undef TB_UNPACK_DECLARE

#endif
