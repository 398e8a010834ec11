/* The VNNI dot product as an instruction of its own: acc += u0·s0 + u1·s1 + u2·s2 + u3·s3 in each 32-bit lane, u unsigned
 * and s signed bytes. Written as inline assembly because gcc 12 copies the accumulator around the intrinsic and, with
 * sixteen of them in a loop, spills half: a third of the kernel's time. */
#ifndef TB_SIMD_VEC_VNNI_H
#define TB_SIMD_VEC_VNNI_H

#include "simd/vec/dword.h"

#if defined(__AVX512VNNI__)
TB_INLINE __m512i tb_dot512(__m512i acc, __m512i u, __m512i s) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u), "v"(s));
  return acc;
}
TB_INLINE __m256i tb_dot256(__m256i acc, __m256i u, __m256i s) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u), "v"(s));
  return acc;
}
#elif defined(__AVXVNNI__)
TB_INLINE __m256i tb_dot256(__m256i acc, __m256i u, __m256i s) { /* the VEX form, which AVX-512 machines may lack */
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(u), "x"(s));
  return acc;
}
#endif

#endif
