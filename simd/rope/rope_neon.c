#include "simd/vec/vec_neon.h"

#include "simd/rope/rope_v16.h"
