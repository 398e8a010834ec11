/* The specification of quantising blocks (simd/kvquant/kvquant.h). */
#include "simd/kvquant/kvquant.h"

#include <math.h>
#include "simd/half.h"
#include "simd/kernels.h"

static float level(float v, float centre) {
  float u = rintf(v + centre);
  u = u > 0 ? u : 0;
  return (u < 2 * centre ? u : 2 * centre) - centre;
}

static void put(uint8_t *high, uint8_t *low, float y, float centre) {
  const unsigned u = (unsigned)(y + centre);
  *high = (uint8_t)(low ? u / 4 : u);
  if (low) *low = (uint8_t)(u % 4);
}

/* ---------------------------------------------------------------------------------------------------------- keys */

static float within_f16(float x) { return x > 65504 ? 65504 : x < -65504 ? -65504 : x; }

void tb_kvquant_fit_ref TB_KVQUANT_FIT_ARGS {
  const float centre = (float)(levels - 1) / 2, spread = clip / centre, n = TB_KV_BLOCK;
  for (size_t c = 0; c < planes; c++) {
    float least = x[c], most = x[c];
    for (size_t t = 1; t < TB_KV_BLOCK; t++) {
      least = x[t * ldx + c] < least ? x[t * ldx + c] : least;
      most = x[t * ldx + c] > most ? x[t * ldx + c] : most;
    }
    least *= 0.5f;
    most *= 0.5f;
    const float start = (least + most) + 0.0f; /* never -0: which zero is the least is not told */
    float centred = start, wide = (most - least) * spread;
    for (unsigned r = 0; r < rounds; r++) {
      const float inverse = tb_kvquant_inverse(wide);
      float sy = 0, syy = 0, sd = 0, sdy = 0;
      for (size_t t = 0; t < TB_KV_BLOCK; t++) {
        const float away = x[t * ldx + c] - centred, y = level(away * inverse, centre), d = x[t * ldx + c] - start;
        sy += y;
        syy = fmaf(y, y, syy);
        sd += d;
        sdy = fmaf(d, y, sdy);
      }
      const float squares = sy * sy, product = sd * sy, whole = fmaf(n, syy, -squares);
      wide = whole < 0.5f ? 0 : fmaf(n, sdy, -product) / whole;
      const float slope = wide * sy;
      centred = start + (sd - slope) * (1.0f / TB_KV_BLOCK);
    }
    step[c] = tb_f32_to_f16(within_f16(wide));
    mid[c] = tb_f32_to_f16(within_f16(centred));
  }
}

void tb_kvquant_keys_ref TB_KVQUANT_KEYS_ARGS {
  const float centre = low ? 7.5f : 1.5f;
  for (size_t t = 0; t < TB_KV_BLOCK; t++)
    for (size_t c = 0; c < planes; c++) {
      const float away = x[t * ldx + c] - tb_f16_to_f32(mid[c]);
      const float y = level(away * tb_kvquant_inverse(tb_f16_to_f32(step[c])), centre);
      put(high + t * planes + c, low ? low + t * planes + c : NULL, y, centre);
    }
}

/* -------------------------------------------------------------------------------------------------------- values */

static float fold(float part[16]) {
  for (size_t i = 0; i < 8; i++) part[i] += part[i + 8];
  for (size_t i = 0; i < 4; i++) part[i] += part[i + 4];
  return (part[0] + part[1]) + (part[2] + part[3]);
}

void tb_kvquant_values_ref TB_KVQUANT_VALUES_ARGS {
  const float centre = (float)(levels - 1) / 2;
  for (size_t t = 0; t < TB_KV_BLOCK; t++, x += ldx, high += planes) {
    float squares[16] = {0};
    for (size_t c = 0; c < planes; c++) squares[c % 16] = fmaf(x[c], x[c], squares[c % 16]);
    float step = tb_kvquant_best(levels) * sqrtf(fold(squares) / (float)planes);
    for (unsigned r = 0; r <= rounds; r++) {
      const float inverse = tb_kvquant_inverse(step);
      float xy[16] = {0}, yy[16] = {0};
      for (size_t c = 0; c < planes; c++) {
        const float y = level(x[c] * inverse, centre);
        xy[c % 16] = fmaf(x[c], y, xy[c % 16]);
        yy[c % 16] = fmaf(y, y, yy[c % 16]);
        put(high + c, low ? low + t * planes + c : NULL, y, centre);
      }
      const float gain = fold(xy), energy = fold(yy);
      step = gain > 0 && energy > 0 ? gain / energy : 0;
    }
    scale[t] = step;
  }
}
