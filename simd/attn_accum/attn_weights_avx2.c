#include "simd/vec/vec_avx2.h"

#include "simd/attn_accum/attn_weights_v16.h"
