#include "simd/vec/vec_avx512.h"

#include "simd/norm/norm_v16.h"
