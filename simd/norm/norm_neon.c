#include "simd/vec/vec_neon.h"

#include "simd/norm/norm_v16.h"
