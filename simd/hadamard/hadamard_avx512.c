#include "simd/vec/vec_avx512.h"

#include "simd/hadamard/hadamard_v16.h"
