/* smmla: 32 products of bytes. */
#include <arm_neon.h>
#include <string.h>

#define TIER i8mm
#define PEAK_VECTOR int32x4_t
#define PEAK_LANES 4
#define PEAK_MACS 32
#define PEAK_ONES vreinterpretq_s32_s8(vdupq_n_s8(1))
#define PEAK_DOT(sum, ones) __asm__ volatile("smmla %0.4s, %1.16b, %1.16b" : "+w"(sum) : "w"(ones))
#include "simd/peak/peak_chains.h"
