/* The specification of the cluster kernels (simd/cluster/cluster.h). */
#include "simd/cluster/cluster.h"

#include <math.h>
#include <string.h>
#include "simd/kernels.h"

void tb_cluster_code_ref TB_CLUSTER_CODE_ARGS {
  for (size_t r = 0; r < n; r++) {
    float m = 0;
    for (size_t c = 0; c < d; c++) m = fmaxf(m, fabsf(x[r * ldx + c] - centre[c]));
    const float inverse = m >= 0x1p-100f ? 127.0f / m : 0.0f;
    for (size_t c = 0; c < d; c++) {
      const float v = rintf((x[r * ldx + c] - centre[c]) * inverse);
      code[r * d + c] = (int8_t)fminf(fmaxf(v, -127.0f), 127.0f);
    }
    scale[r] = inverse > 0 ? m / 127.0f : 0.0f;
  }
}

static float score(const int8_t *q, float dq, float eq, const int8_t *x, float dx, float bx, size_t i, size_t d) {
  int dot = 0;
  for (size_t c = 0; c < d; c++) dot += q[c] * x[tb_cluster_place(i, c, d)];
  const float scale = dq * dx, offset = eq * bx;
  return fmaf(scale, (float)dot, offset);
}

void tb_cluster_score_ref TB_CLUSTER_SCORE_ARGS {
  for (size_t g = 0; g < n_q; g++)
    for (size_t i = 0; i < tb_cluster_tiles(n) * TB_CLUSTER_TILE; i++)
      s[g * lds + i] = score(q + g * d, dq[g], eq[g], x, dx[i], bx[i], i, d);
}

void tb_cluster_assign_ref TB_CLUSTER_ASSIGN_ARGS {
  for (size_t g = 0; g < n_q; g++) {
    float best = -INFINITY;
    label[g] = 0;
    for (size_t i = 0; i < n; i++) {
      const float s = score(q + g * d, dq[g], eq[g], x, dx[i], bx[i], i, d);
      if (s > best) label[g] = (uint16_t)i;
      best = s > best ? s : best;
    }
  }
}

void tb_cluster_sum_ref TB_CLUSTER_SUM_ARGS {
  for (size_t r = 0; r < n; r++)
    for (size_t c = 0; c < d; c++) {
      float *to = &sum[label[r] * d + c];
      *to = fmaf(scale[r], (float)code[r * d + c], *to);
    }
}

void tb_cluster_hist_ref TB_CLUSTER_HIST_ARGS {
  for (size_t i = 0; i < n; i++) {
    float p = 0;
    for (size_t g = 0; g < n_q; g++) {
      const float near = 1.0f / (1.0f + (best[g] - s[g * lds + i]));
      p = fmaf(near, near, p);
    }
    p *= 1.0f / (float)n_q;
    uint32_t bits;
    memcpy(&bits, &p, sizeof bits);
    const int at = (int)(bits >> 20) - 761;
    bin[i] = (uint8_t)(at < 0 ? 0 : at > 255 ? 255 : at);
    hist[bin[i]] += size[i];
  }
}
