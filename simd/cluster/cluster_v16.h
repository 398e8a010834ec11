/* The element-wise cluster kernels for every ISA (simd/cluster/cluster.h): include after the ISA's vec header and
 * bins16(bin, p), the bins of 16 floats. */
#include "simd/kernels.h"

void TB_FN(cluster_code) TB_CLUSTER_CODE_ARGS {
  for (size_t r = 0; r < n; r++, x += ldx, code += d) {
    v16 most = v16_zero();
    for (size_t c = 0; c < d; c += 16)
      most = v16_max(v16_abs(v16_sub(v16_load(x + c), v16_load(centre + c))), most);
    const float m = v16_hmax(most), inverse = m >= 0x1p-100f ? 127.0f / m : 0.0f;
    for (size_t c = 0; c < d; c += 16)
      v16_store_i8(code + c, v16_mul(v16_sub(v16_load(x + c), v16_load(centre + c)), v16_set1(inverse)));
    scale[r] = inverse > 0 ? m / 127.0f : 0.0f;
  }
}

void TB_FN(cluster_sum) TB_CLUSTER_SUM_ARGS {
  for (size_t r = 0; r < n; r++, code += d) {
    float *to = sum + label[r] * d;
    const v16 a = v16_set1(scale[r]);
    for (size_t c = 0; c < d; c += 16) v16_store(to + c, v16_fma(a, v16_load_i8(code + c), v16_load(to + c)));
  }
}

void TB_FN(cluster_hist) TB_CLUSTER_HIST_ARGS {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) bins16(bin + i, p + i);
  if (i < n) {
    float last[16] = {0};
    uint8_t bins[16];
    memcpy(last, p + i, (n - i) * sizeof *last);
    bins16(bins, last);
    memcpy(bin + i, bins, n - i);
  }
  for (i = 0; i < n; i++) hist[bin[i]] += size[i];
}
