#include "simd/vec/vec_avx2.h"

#include "simd/kvrow/kvrow_v16.h"
