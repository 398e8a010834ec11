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

/* Neighbours often fall into one bin, whose sum then is waited for: four of them take turns. */
enum { PARTS = 4 };

TB_INLINE void hist16(uint8_t *bin, const float *s, size_t lds, const float *best, size_t n_q) {
  const v16 one = v16_set1(1.0f);
  float p[16];
  v16 sum = v16_zero();
  for (size_t g = 0; g < n_q; g++) {
    const v16 near = v16_div(one, v16_add(one, v16_sub(v16_set1(best[g]), v16_load(s + g * lds))));
    sum = v16_fma(near, near, sum);
  }
  v16_store(p, v16_mul(sum, v16_set1(1.0f / (float)n_q)));
  bins16(bin, p);
}

void TB_FN(cluster_hist) TB_CLUSTER_HIST_ARGS {
  uint32_t part[PARTS][TB_CLUSTER_BINS] = {{0}};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    hist16(bin + i, s + i, lds, best, n_q);
    for (size_t j = 0; j < 16; j++) part[j % PARTS][bin[i + j]] += size[i + j];
  }
  if (i < n) {
    uint8_t bins[16];
    float last[16] = {0};
    for (size_t j = 0; j < n - i; j++) {
      for (size_t g = 0; g < n_q; g++) {
        const float near = 1.0f / (1.0f + (best[g] - s[g * lds + i + j]));
        last[j] = fmaf(near, near, last[j]);
      }
      last[j] *= 1.0f / (float)n_q;
    }
    bins16(bins, last);
    memcpy(bin + i, bins, n - i);
    for (size_t j = 0; j < n - i; j++) part[0][bins[j]] += size[i + j];
  }
  for (size_t b = 0; b < TB_CLUSTER_BINS; b++)
    for (size_t j = 0; j < PARTS; j++) hist[b] += part[j][b];
}
