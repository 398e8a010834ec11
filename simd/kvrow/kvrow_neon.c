#include "simd/vec/vec_neon.h"

#include "simd/kvrow/kvrow_v16.h"
