/* Random blocks. The codes of a block are random bits, its scales are chosen so that the decoded values have mean 0 and
 * a given standard deviation; block layouts as in simd/dequant/dequant_ref.c. */
#include <string.h>
#include "io/synth_impl.h"
#include "simd/half.h"

/* Two scales at most need a value; everything else in a block may be any bits.
 * code_std: standard deviation of the decoded value at d = 1, over uniform codes and sub-scales:
 *   n-bit codes around 0: sqrt((4^n - 1)/12), and 1/4 more under the root where they run from -2^(n-1) to 2^(n-1) - 1;
 *   k-quants: the code's second moment times that of the sub-scale (4, 6 or 8 bits), e.g. q6_k
 *   sqrt(341.5 · 5461.5); those with a minimum m·(sub-minimum): E[s²]E[q²] - 2·E[s]E[q]·r·E[m] + r²·E[m²];
 *   iq4: root mean square of the 16 levels (67.4), times sqrt(341.5) for the 6-bit sub-scales of iq4_xs.
 * min_ratio: m / d that makes the mean 0 (the mean code); 0: the format has no minimum, and the random sign of d
 * takes the rest of a mean away. */
struct layout {
  unsigned d_at, m_at;
  float code_std, min_ratio;
};

static const struct layout layouts[TB_FMT_COUNT] = {
    [TB_FMT_q4_0] = {0, 0, 4.637f, 0},      [TB_FMT_q4_1] = {0, 2, 4.610f, -7.5f},
    [TB_FMT_q5_0] = {0, 0, 9.247f, 0},      [TB_FMT_q5_1] = {0, 2, 9.233f, -15.5f},
    [TB_FMT_q8_0] = {0, 0, 73.9f, 0},       [TB_FMT_q2_k] = {80, 82, 13.87f, 1.5f},
    [TB_FMT_q3_k] = {108, 0, 43.34f, 0},    [TB_FMT_q4_k] = {0, 2, 258.3f, 7.5f},
    [TB_FMT_q5_k] = {0, 2, 526.9f, 15.5f},  [TB_FMT_q6_k] = {208, 0, 1365.7f, 0},
    [TB_FMT_iq4_nl] = {0, 0, 67.4f, 0},     [TB_FMT_iq4_xs] = {0, 0, 1246.3f, 0},
};

static void fill_bits(struct tb_rng *rng, unsigned char *p, size_t n) {
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t bits = tb_rng_next(rng);
    memcpy(p, &bits, 8);
  }
  uint64_t bits = tb_rng_next(rng);
  memcpy(p, &bits, n);
}

/* Uniform in ±sqrt(3)·sigma; 1/18918.6 is sqrt(3)/32768. */
static void fill_f32(float sigma, struct tb_rng *rng, unsigned char *p, size_t n) {
  float scale = sigma / 18918.6f;
  for (; n > 0; n -= 4, p += 4) {
    float v = scale * ((float)(int16_t)(tb_rng_next(rng) >> 48) + 0.5f);
    memcpy(p, &v, 4);
  }
}

/* The same from a table of 256 values: eight per random number. */
static void fill_16_bit(enum tb_format f, float sigma, struct tb_rng *rng, unsigned char *p, size_t n) {
  uint16_t table[256];
  for (int i = 0; i < 256; i++) {
    float v = sigma * ((float)i - 127.5f) / 73.9f;
    table[i] = f == TB_FMT_f16 ? tb_f32_to_f16(v) : tb_f32_to_bf16(v);
  }
  for (uint64_t bits = 0, left = 0; n > 0; n -= 2, p += 2, bits >>= 8, left--) {
    if (left == 0) bits = tb_rng_next(rng), left = 8;
    memcpy(p, &table[bits & 255], 2);
  }
}

/* 16 scales around the one that gives sigma: blocks should differ. */
struct scales {
  uint16_t d[16], m[16];
};

static struct scales make_scales(const struct layout *l, float sigma) {
  struct scales s;
  for (int i = 0; i < 16; i++) {
    float d = sigma / l->code_std * (0.70f + 0.04f * (float)i);
    if (l->min_ratio == 0 && i % 2) d = -d;
    s.d[i] = tb_f32_to_f16(d);
    s.m[i] = tb_f32_to_f16(l->min_ratio * tb_f16_to_f32(s.d[i]));
  }
  return s;
}

/* Quantisers write q8_0 codes from -127 to 127. */
static void clamp_q8_0(unsigned char *codes) {
  for (int i = 0; i < 32; i++) codes[i] = codes[i] == 0x80 ? 0x81 : codes[i];
}

static void fill_blocks(enum tb_format f, float sigma, struct tb_rng *rng, unsigned char *p, size_t n) {
  const struct layout *l = &layouts[f];
  size_t block = tb_formats[f].block_bytes;
  struct scales s = make_scales(l, sigma);
  fill_bits(rng, p, n);
  for (unsigned char *b = p; b < p + n; b += block) {
    unsigned i = b[l->d_at] & 15; /* already random */
    memcpy(b + l->d_at, &s.d[i], 2);
    if (l->min_ratio != 0) memcpy(b + l->m_at, &s.m[i], 2);
    if (f == TB_FMT_q8_0) clamp_q8_0(b + 2);
  }
}

void tb_synth_fill(enum tb_format f, float sigma, struct tb_rng *rng, void *blocks, size_t bytes) {
  if (f == TB_FMT_f32) fill_f32(sigma, rng, blocks, bytes);
  else if (f == TB_FMT_f16 || f == TB_FMT_bf16) fill_16_bit(f, sigma, rng, blocks, bytes);
  else fill_blocks(f, sigma, rng, blocks, bytes);
}
