#include "simd/vec/vec_avx2.h"

#include "simd/norm/norm_v16.h"
