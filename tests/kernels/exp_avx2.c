#include "simd/vec/vec_avx2.h"

#include "tests/kernels/exp_v16.h"
