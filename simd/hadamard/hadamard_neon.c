#include "simd/vec/vec_neon.h"

#include "simd/hadamard/hadamard_v16.h"
