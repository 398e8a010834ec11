/* vpdpbusd in its VEX form: 32 products of bytes. */
#include <immintrin.h>
#include <string.h>

#define TIER avxvnni
#define PEAK_VECTOR __m256i
#define PEAK_LANES 8
#define PEAK_MACS 32
#define PEAK_ONES _mm256_set1_epi8(1)
#define PEAK_DOT(sum, ones) __asm__ volatile("%{vex%} vpdpbusd %1, %1, %0" : "+x"(sum) : "x"(ones))
#include "simd/peak/peak_chains.h"
