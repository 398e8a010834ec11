#include "simd/vec/vec_avx512.h"

#include "simd/merge/merge_v16.h"
