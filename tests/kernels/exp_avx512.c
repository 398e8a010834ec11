#include "simd/vec/vec_avx512.h"

#include "tests/kernels/exp_v16.h"
