#include "simd/vec/vec_neon.h"

#include "simd/kvquant/kvquant_v16.h"
