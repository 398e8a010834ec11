#include "simd/vec/vec_neon.h"

#include "simd/attn_accum/attn_weights_v16.h"
