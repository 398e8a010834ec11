#include "simd/vec/vec_avx2.h"

#include "simd/hadamard/hadamard_v16.h"
