/* gemv with dot product instructions (ARMv8.2). */
#define TB_TIER dotprod
#include "simd/gemv/gemv_arm.h"
