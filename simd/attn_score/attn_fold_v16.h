/* attn_fold for every ISA (simd/attn_score/attn_score.h): include after the ISA's vec header. */
#include "simd/kernels.h"

void TB_FN(attn_fold) TB_ATTN_FOLD_ARGS {
  float steps[TB_KV_PLANES_MAX], mids[TB_KV_PLANES_MAX], v[TB_KV_PLANES_MAX];
  for (size_t c = 0; c < planes; c += 16) {
    v16_store(steps + c, v16_load_f16(step + c));
    v16_store(mids + c, mid ? v16_load_f16(mid + c) : v16_zero());
  }
  for (size_t g = 0; g < n_q; g++, q += ldq, codes += planes) {
    v16 most = v16_zero(), middle = v16_zero();
    for (size_t c = 0; c < planes; c += 16) {
      const v16 x = v16_load(q + c), y = v16_mul(x, v16_load(steps + c));
      most = v16_max(v16_abs(y), most);
      middle = v16_fma(x, v16_load(mids + c), middle);
      v16_store(v + c, y);
    }
    const float m = v16_hmax(most), inverse = m >= 0x1p-100f ? 127.0f / m : 0.0f;
    i32 sum = i32_zero();
    for (size_t c = 0; c < planes; c += 16) sum = v16_store_codes(codes + c, v16_mul(v16_load(v + c), v16_set1(inverse)), sum);
    a[g] = inverse > 0 ? m / 127.0f : 0.0f;
    const float centre = 1.5f * a[g] * i32_hsum(sum);
    b[g] = v16_hsum(middle) - centre;
  }
}
