#include "simd/vec/vec_avx512.h"

#include "simd/kvrow/kvrow_v16.h"
