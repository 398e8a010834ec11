/* smull, and the sums of pairs added to 32 bits: 8 products of bytes. */
#include <arm_neon.h>
#include <string.h>

#define TIER neon
#define PEAK_VECTOR int32x4_t
#define PEAK_LANES 4
#define PEAK_MACS 8
#define PEAK_ONES vreinterpretq_s32_s8(vdupq_n_s8(1))
#define PEAK_DOT(sum, ones)                                                                                            \
  do {                                                                                                                 \
    int16x8_t pairs;                                                                                                   \
    __asm__ volatile("smull %1.8h, %2.8b, %2.8b\n\tsadalp %0.4s, %1.8h" : "+w"(sum), "=&w"(pairs) : "w"(ones));        \
  } while (0)
#include "simd/peak/peak_chains.h"
