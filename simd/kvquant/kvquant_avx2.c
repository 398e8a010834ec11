#include "simd/vec/vec_avx2.h"

#include "simd/kvquant/kvquant_v16.h"
