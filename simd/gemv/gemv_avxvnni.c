/* gemv for AVX-VNNI: the source of AVX2 with the one-instruction dot product. */
#include "simd/vec/lanes_256.h"

#define TIER avxvnni
#include "simd/gemv/gemv_x86.h"
