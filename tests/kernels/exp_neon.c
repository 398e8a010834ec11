#include "simd/vec/vec_neon.h"

#include "tests/kernels/exp_v16.h"
