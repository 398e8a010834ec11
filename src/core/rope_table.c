/* Rotation angles of every position: RoFormer (arXiv 2104.09864), linear position interpolation (2306.15595), YaRN
 * (2309.00071), and per-frequency divisors (Llama 3's scaling is stored that way in GGUF files). Angles are computed in
 * double, so the tables are the same on every machine up to libm's last bit. */
#include <math.h>
#include "core/model.h"

/* Dimension (pair index) whose wavelength makes `turns` turns within the original context. */
static double yarn_dim(const struct tb_rope_params *p, double turns) {
  const double pi = 3.14159265358979323846;
  return p->n_rot * log(p->n_ctx_orig / (turns * 2 * pi)) / (2 * log(p->base));
}

/* 1: the pair turns fast and is left alone; 0: it is interpolated; in between a ramp. */
static double yarn_extrapolated(const struct tb_rope_params *p, uint32_t pair) {
  double low = floor(yarn_dim(p, p->beta_fast)), high = ceil(yarn_dim(p, p->beta_slow));
  if (low < 0) low = 0;
  if (high > p->n_rot - 1) high = p->n_rot - 1;
  double ramp = (pair - low) / fmax(0.001, high - low);
  return 1.0 - fmin(1.0, fmax(0.0, ramp));
}

void tb_rope_fill(const struct tb_rope_params *p, uint32_t first, uint32_t end, float *cos_table, float *sin_table) {
  const uint32_t pairs = p->n_rot / 2;
  double magnitude = p->scaling == TB_ROPE_YARN ? (1.0 + 0.1 * log(p->factor)) * p->attn_factor : 1.0;
  for (uint32_t i = 0; i < pairs; i++) {
    double frequency = pow(p->base, -2.0 * i / p->n_rot);
    if (p->freq_factors) frequency /= p->freq_factors[i];
    if (p->scaling == TB_ROPE_LINEAR) frequency /= p->factor;
    if (p->scaling == TB_ROPE_YARN) {
      double keep = yarn_extrapolated(p, i);
      frequency = frequency * keep + frequency / p->factor * (1 - keep);
    }
    for (uint32_t pos = first; pos < end; pos++) {
      cos_table[(size_t)pos * pairs + i] = (float)(cos(pos * frequency) * magnitude);
      sin_table[(size_t)pos * pairs + i] = (float)(sin(pos * frequency) * magnitude);
    }
  }
}
