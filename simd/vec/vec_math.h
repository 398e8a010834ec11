/* Exponentials in v16, for every ISA: include after one of vec_avx2.h, vec_avx512.h, vec_neon.h.
 *
 * v16_exp       within 1.01 ulp (relative 1.01 · 2^-23) in the normal range, 0 or subnormal below, inf above. SLEEF
 *               where there is one (0.988 ulp), otherwise v16_exp_ours (1.009 ulp; both measured on every float). Each
 *               gives the same bits on every ISA; they differ from one another by at most one unit in the last place,
 *               for 0.15 % of all arguments.
 * v16_exp_fast  the exponential of attention, x ≤ 88; its steps are written in simd/vec/exp_fast.h. */
#ifndef TB_SIMD_VEC_MATH_H
#define TB_SIMD_VEC_MATH_H

#include "simd/vec/exp_fast.h"

#if defined(TB_HAVE_SLEEF)
#include <sleef.h>
#endif

/* exp(x) = 2^n · exp(r), n = round(x / ln 2), |r| ≤ 0.3467. ln 2 is split into a part of 15 bits, whose product with n
 * is exact, and a rest. exp(r) = 1 + r + r²·p(r), p minimising the relative error of the whole (2^-28.3; Remez). 2^n is
 * applied in two halves, so that overflow and gradual underflow come out right. |x| > 104 behaves like 104. */
TB_INLINE v16 v16_exp_ours(v16 x) {
  const v16 to_int = v16_set1(0x1.8p23f);
  x = v16_max(v16_set1(-104.0f), v16_min(v16_set1(104.0f), x));
  v16 n = v16_sub(v16_fma(x, v16_set1(0x1.715476p0f), to_int), to_int);
  v16 r = v16_fma(n, v16_set1(-0x1.62e4p-1f), x);
  r = v16_fma(n, v16_set1(-0x1.7f7d1cp-20f), r);
  v16 p = v16_set1(1.381455986589229e-3f);
  p = v16_fma(p, r, v16_set1(8.368735560742187e-3f));
  p = v16_fma(p, r, v16_set1(4.166838985897e-2f));
  p = v16_fma(p, r, v16_set1(0.16666520477763883f));
  p = v16_fma(p, r, v16_set1(0.4999999343742214f));
  p = v16_add(v16_set1(1.0f), v16_fma(p, v16_mul(r, r), r));
  v16 t = v16_fma(n, v16_set1(0.5f), to_int);
  v16 rest = v16_add(v16_sub(n, v16_sub(t, to_int)), to_int);
  return v16_mul(v16_mul(p, v16_exp2i(t)), v16_exp2i(rest));
}

#if !defined(TB_HAVE_SLEEF)
TB_INLINE v16 v16_exp(v16 x) { return v16_exp_ours(x); }
#elif defined(TB_SIMD_VEC_AVX512_H)
TB_INLINE v16 v16_exp(v16 x) { return v16_of(Sleef_expf16_u10avx512f(x.a)); }
#elif defined(TB_SIMD_VEC_AVX2_H)
TB_INLINE v16 v16_exp(v16 x) { return v16_of(Sleef_expf8_u10avx2(x.a), Sleef_expf8_u10avx2(x.b)); }
#else
TB_INLINE v16 v16_exp(v16 x) { return V16_EACH1(Sleef_expf4_u10advsimd, x); }
#endif

TB_INLINE v16 v16_exp_fast(v16 x) {
  const v16 to_int = v16_set1(TB_EXP_SHIFT), log2e = v16_set1(TB_EXP_LOG2E);
  v16 t = v16_fma(x, log2e, to_int);
  v16 f = v16_fma(x, log2e, v16_sub(to_int, t));
  v16 p = v16_fma(v16_set1(TB_EXP_C4), f, v16_set1(TB_EXP_C3));
  p = v16_fma(p, f, v16_set1(TB_EXP_C2));
  p = v16_fma(p, f, v16_set1(TB_EXP_C1));
  p = v16_fma(p, f, v16_set1(1.0f));
  return v16_zero_below(v16_add_exponent(p, t), x, TB_EXP_ZERO);
}

#endif
