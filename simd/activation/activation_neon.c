#include "simd/vec/vec_neon.h"

#include "simd/activation/activation_v16.h"
