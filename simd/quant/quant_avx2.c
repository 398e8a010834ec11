#include "simd/vec/vec_avx2.h"

#include "simd/quant/quant_v16.h"
