#include "simd/vec/vec_avx2.h"

#include "simd/rope/rope_v16.h"
