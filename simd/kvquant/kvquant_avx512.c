#include "simd/vec/vec_avx512.h"

#include "simd/kvquant/kvquant_v16.h"
