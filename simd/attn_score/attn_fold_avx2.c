#include "simd/vec/vec_avx2.h"

#include "simd/attn_score/attn_fold_v16.h"
