#include "simd/vec/vec_avx512.h"

#include "simd/activation/activation_v16.h"
