/* The specification of scaling by magnitudes (simd/merge/merge.h). */
#include "simd/merge/merge.h"

#include "simd/half.h"
#include "simd/kernels.h"

void tb_merge_scale_ref TB_MERGE_SCALE_ARGS {
  for (size_t g = 0; g < n_q; g++)
    for (size_t t = 0; t < n; t++) y[g * ldy + t] = x[g * ldx + t] * tb_f16_to_f32(magnitude[t]);
}
