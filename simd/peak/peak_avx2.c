/* vpmaddubsw and an addition in 16 bits: 32 products of bytes. Four-bit codes need the widening only once in eight
 * (simd/vec/lanes_256.h); it is left out here, and the 16-bit sums are widened once in 4096 rounds at the end. */
#include <immintrin.h>

#include "simd/kernels.h"

enum { CHAINS = 12, RUN = 4096 }; /* 2 · RUN fits 16 bits */

#define DOT(sum)                                                                                                       \
  do {                                                                                                                 \
    __m256i pairs;                                                                                                     \
    __asm__ volatile("vpmaddubsw %2, %2, %1\n\tvpaddw %1, %0, %0" : "+x"(sum), "=&x"(pairs) : "x"(ones));              \
  } while (0)

uint64_t tb_dot_peak_avx2(uint32_t *sum, size_t rounds) {
  const __m256i ones = _mm256_set1_epi8(1);
  __m256i wide = _mm256_setzero_si256();
  for (size_t left = rounds; left;) {
    const size_t n = left < RUN ? left : RUN;
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a, e = a, f = a, g = a, h = a, i = a, j = a, k = a, l = a;
    for (size_t r = 0; r < n; r++) {
      DOT(a);
      DOT(b);
      DOT(c);
      DOT(d);
      DOT(e);
      DOT(f);
      DOT(g);
      DOT(h);
      DOT(i);
      DOT(j);
      DOT(k);
      DOT(l);
    }
    const __m256i all[CHAINS] = {a, b, c, d, e, f, g, h, i, j, k, l};
    for (int s = 0; s < CHAINS; s++)
      wide = _mm256_add_epi32(wide, _mm256_madd_epi16(all[s], _mm256_set1_epi16(1)));
    left -= n;
  }
  uint32_t lanes[8];
  _mm256_storeu_si256((__m256i *)(void *)lanes, wide);
  *sum = 0;
  for (int n = 0; n < 8; n++)
    *sum += lanes[n];
  return (uint64_t)rounds * CHAINS * 32;
}
