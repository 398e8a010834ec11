#include "simd/vec/vec_avx512.h"

#include "simd/rope/rope_v16.h"
