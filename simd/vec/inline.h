/* Inlining and unrolling that the vector code relies on: small arrays of vectors must end up in registers. */
#ifndef TB_SIMD_VEC_INLINE_H
#define TB_SIMD_VEC_INLINE_H

#define TB_INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define TB_UNROLL _Pragma("clang loop unroll(full)")
#pragma clang diagnostic ignored "-Wpass-failed" /* sanitizers' checks can keep a loop from being unrolled */
#else
#define TB_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
