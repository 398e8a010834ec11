/* Inlining and unrolling that the vector code relies on: small arrays of vectors must end up in registers. */
#ifndef TB_SIMD_VEC_INLINE_H
#define TB_SIMD_VEC_INLINE_H

#define TB_INLINE static inline __attribute__((always_inline))

/* Under a sanitizer speed does not matter, and unrolling all its checks takes the compiler half an hour. */
#if defined(__has_feature)
#if __has_feature(undefined_behavior_sanitizer) || __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TB_UNROLL
#endif
#endif

#if defined(TB_UNROLL)
#elif defined(__clang__)
#define TB_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TB_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
