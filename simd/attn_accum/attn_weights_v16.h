/* attn_weights for every ISA (simd/attn_accum/attn_accum.h): include after the ISA's vec header. */
#include "simd/kernels.h"

void TB_FN(attn_weights) TB_ATTN_WEIGHTS_ARGS {
  float scales[TB_KV_BLOCK], x[TB_KV_BLOCK];
  for (size_t t = 0; t < TB_KV_BLOCK; t += 16) v16_store(scales + t, v16_load_scale8(scale + t, base_bits));
  for (size_t g = 0; g < n_q; g++, p += ldp, w += TB_KV_BLOCK) {
    v16 most = v16_zero(), more = v16_zero();
    for (size_t t = 0; t < TB_KV_BLOCK; t += 32) {
      const v16 y = v16_mul(v16_load(p + t), v16_load(scales + t));
      const v16 z = v16_mul(v16_load(p + t + 16), v16_load(scales + t + 16));
      v16_store(x + t, y);
      v16_store(x + t + 16, z);
      most = v16_max(y, most);
      more = v16_max(z, more);
    }
    const float m = v16_hmax(v16_max(most, more)), inverse = m >= 0x1p-100f ? 127.0f / m : 0.0f;
    i32 sum = i32_zero();
    for (size_t t = 0; t < TB_KV_BLOCK; t += 16) sum = v16_store_codes(w + t, v16_mul(v16_load(x + t), v16_set1(inverse)), sum);
    a[g] = inverse > 0 ? m / 127.0f : 0.0f;
    b[g] = -(centre * a[g]) * i32_hsum(sum);
  }
}
