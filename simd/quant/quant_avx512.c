#include "simd/vec/vec_avx512.h"

#include "simd/quant/quant_v16.h"
