/* gemv with plain NEON (ARMv8.0). */
#define TB_TIER neon
#include "simd/gemv/gemv_arm.h"
