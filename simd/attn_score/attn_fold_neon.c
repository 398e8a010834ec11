#include "simd/vec/vec_neon.h"

#include "simd/attn_score/attn_fold_v16.h"
