/* The exponential of attention: every ISA does these very steps, so its bits are the same everywhere.
 *
 *   x·log2(e) = n + f, n integer, |f| ≤ 1/2;   exp(x) = 2^n · p(f),   p of degree 4 with p(0) = 1
 *
 * p minimises the relative error over |f| ≤ 1/2: 2^-18.1 (Remez). n comes from adding 1.5·2^23, which leaves round(x·
 * log2 e) in the low bits of the sum; f is then rounded once. log2(e) as a float is off by a relative 2^-25.7, which
 * at x = -80 moves the result by 80 · 2^-25.7 = 2^-19.4. Together with six roundings: error below 2^-17. */
#ifndef TB_SIMD_VEC_EXP_FAST_H
#define TB_SIMD_VEC_EXP_FAST_H

#define TB_EXP_SHIFT 0x1.8p23f
#define TB_EXP_LOG2E 0x1.715476p0f
#define TB_EXP_C1 0.693113604403908f
#define TB_EXP_C2 0.24020711078853454f
#define TB_EXP_C3 0.05597688362709462f
#define TB_EXP_C4 0.009782912553481137f
#define TB_EXP_ZERO (-80.0f) /* below it the result is 0: exp(-80) = 2^-115 */

#endif
