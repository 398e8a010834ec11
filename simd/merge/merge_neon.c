#include "simd/vec/vec_neon.h"

#include "simd/merge/merge_v16.h"
