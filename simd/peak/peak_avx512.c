/* vpdpbusd: 64 products of bytes. */
#include <immintrin.h>
#include <string.h>

#define TIER avx512
#define PEAK_VECTOR __m512i
#define PEAK_LANES 16
#define PEAK_MACS 64
#define PEAK_ONES _mm512_set1_epi8(1)
#define PEAK_DOT(sum, ones) __asm__ volatile("vpdpbusd %1, %1, %0" : "+v"(sum) : "v"(ones))
#include "simd/peak/peak_chains.h"
