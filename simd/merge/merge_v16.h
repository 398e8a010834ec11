/* merge_scale for every ISA (simd/merge/merge.h): include after the ISA's vec header. */
#include "simd/kernels.h"

void TB_FN(merge_scale) TB_MERGE_SCALE_ARGS {
  const unsigned char *bytes = (const unsigned char *)magnitude;
  size_t t = 0;
  for (; t + 16 <= n; t += 16) {
    const v16 m = v16_load_f16(bytes + 2 * t);
    for (size_t g = 0; g < n_q; g++) v16_store(y + g * ldy + t, v16_mul(v16_load(x + g * ldx + t), m));
  }
  if (t == n) return;
  const v16 m = v16_load_f16_n(bytes + 2 * t, n - t);
  for (size_t g = 0; g < n_q; g++)
    v16_store_n(y + g * ldy + t, v16_mul(v16_load_n(x + g * ldx + t, n - t), m), n - t);
}
