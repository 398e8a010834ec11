/* Four bytes of memory as a dword, to be broadcast. */
#ifndef TB_SIMD_VEC_DWORD_H
#define TB_SIMD_VEC_DWORD_H

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <stdint.h>
#include <string.h>
#include "simd/vec/inline.h"

TB_INLINE int32_t tb_dword(const void *p) {
  int32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

#endif
