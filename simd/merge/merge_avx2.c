#include "simd/vec/vec_avx2.h"

#include "simd/merge/merge_v16.h"
