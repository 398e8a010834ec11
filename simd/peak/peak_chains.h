/* dot_peak of one tier: include with TIER, PEAK_VECTOR (a vector of 32-bit sums), PEAK_LANES (of them), PEAK_MACS (of
 * one PEAK_DOT), PEAK_ONES (a vector of ones) and PEAK_DOT(sum, ones), an assembler statement: a compiler would find
 * out that all rounds are the same. Twelve chains hide a latency of five at two per cycle. */
#include "simd/kernels.h"

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)

uint64_t CAT(tb_dot_peak_, TIER)(uint32_t *sum, size_t rounds) {
  const PEAK_VECTOR ones = PEAK_ONES;
  PEAK_VECTOR a = {0}, b = a, c = a, d = a, e = a, f = a, g = a, h = a, i = a, j = a, k = a, l = a;
  for (size_t r = 0; r < rounds; r++) {
    PEAK_DOT(a, ones);
    PEAK_DOT(b, ones);
    PEAK_DOT(c, ones);
    PEAK_DOT(d, ones);
    PEAK_DOT(e, ones);
    PEAK_DOT(f, ones);
    PEAK_DOT(g, ones);
    PEAK_DOT(h, ones);
    PEAK_DOT(i, ones);
    PEAK_DOT(j, ones);
    PEAK_DOT(k, ones);
    PEAK_DOT(l, ones);
  }
  const PEAK_VECTOR all[12] = {a, b, c, d, e, f, g, h, i, j, k, l};
  uint32_t lanes[12 * PEAK_LANES];
  memcpy(lanes, all, sizeof lanes);
  *sum = 0;
  for (int n = 0; n < 12 * PEAK_LANES; n++)
    *sum += lanes[n];
  return (uint64_t)rounds * 12 * PEAK_MACS;
}
