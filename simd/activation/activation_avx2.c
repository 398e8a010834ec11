#include "simd/vec/vec_avx2.h"

#include "simd/activation/activation_v16.h"
