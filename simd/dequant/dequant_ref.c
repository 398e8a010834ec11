/* Block layouts of the GGUF formats and their decoders: the specification that every weight kernel is tested against. */
#include "simd/dequant/dequant.h"

#include <string.h>
#include "simd/half.h"
#include "simd/kernels.h"

void tb_dequant_f32_ref(float *y, const void *w, size_t k) { memcpy(y, w, k * sizeof *y); }

void tb_dequant_f16_ref(float *y, const void *w, size_t k) {
  for (size_t i = 0; i < k; i++) y[i] = tb_load_f16((const unsigned char *)w + 2 * i);
}

void tb_dequant_bf16_ref(float *y, const void *w, size_t k) {
  for (size_t i = 0; i < k; i++) y[i] = tb_bf16_to_f32(tb_load_u16((const unsigned char *)w + 2 * i));
}

/* q8_0: 32 values = fp16 d, int8 q[32]; value = d·q. */
void tb_dequant_q8_0_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 32, b += 34) {
    float d = tb_load_f16(b);
    for (size_t j = 0; j < 32; j++) y[i + j] = d * (float)(int8_t)b[2 + j];
  }
}

/* q4_0: 32 values = fp16 d, 16 bytes; byte j holds value j (low nibble) and j + 16 (high); value = d·(code - 8). */
void tb_dequant_q4_0_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 32, b += 18) {
    float d = tb_load_f16(b);
    for (size_t j = 0; j < 16; j++) {
      y[i + j] = d * (float)((b[2 + j] & 15) - 8);
      y[i + j + 16] = d * (float)((b[2 + j] >> 4) - 8);
    }
  }
}

/* q4_1: 32 values = fp16 d, fp16 m, 16 bytes of codes as in q4_0; value = d·code + m. */
void tb_dequant_q4_1_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 32, b += 20) {
    float d = tb_load_f16(b), m = tb_load_f16(b + 2);
    for (size_t j = 0; j < 16; j++) {
      y[i + j] = d * (float)(b[4 + j] & 15) + m;
      y[i + j + 16] = d * (float)(b[4 + j] >> 4) + m;
    }
  }
}

/* Code j of a 5-bit block: the nibble as in q4_0, its fifth bit from bit j of the little-endian word qh. */
static int code5(const unsigned char *qh, const unsigned char *qs, size_t j) {
  int low = j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;
  return low | (qh[j / 8] >> j % 8 & 1) << 4;
}

/* q5_0: 32 values = fp16 d, 4 bytes of fifth bits, 16 bytes of nibbles; value = d·(code - 16). */
void tb_dequant_q5_0_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 32, b += 22) {
    float d = tb_load_f16(b);
    for (size_t j = 0; j < 32; j++) y[i + j] = d * (float)(code5(b + 2, b + 6, j) - 16);
  }
}

/* q5_1: 32 values = fp16 d, fp16 m, 4 bytes of fifth bits, 16 bytes of nibbles; value = d·code + m. */
void tb_dequant_q5_1_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 32, b += 24) {
    float d = tb_load_f16(b), m = tb_load_f16(b + 2);
    for (size_t j = 0; j < 32; j++) y[i + j] = d * (float)code5(b + 4, b + 8, j) + m;
  }
}

/* Two-bit code of value j (0…255) of a q2_k or q3_k super-block: two halves of 128 values and 32 bytes; inside a half
 * four runs of 32 values take bits 0-1, 2-3, 4-5, 6-7 of the same 32 bytes. */
static int code2(const unsigned char *qs, size_t j) { return qs[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3; }

/* q2_k: 256 values = 16 bytes of scales (low nibble scale, high nibble minimum, one per 16 values), 64 bytes of codes,
 * fp16 d, fp16 dmin; value = (d·scale)·code - dmin·minimum. */
void tb_dequant_q2_k_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 256, b += 84) {
    float d = tb_load_f16(b + 80), dmin = tb_load_f16(b + 82);
    for (size_t j = 0; j < 256; j++) {
      float scale = d * (float)(b[j / 16] & 15), minimum = dmin * (float)(b[j / 16] >> 4);
      y[i + j] = scale * (float)code2(b + 16, j) - minimum;
    }
  }
}

/* Scale g (0…15) of a q3_k super-block: four low bits from the nibbles of bytes 0-7 (groups 0-7 low, 8-15 high), two
 * high bits from bytes 8-11 (groups 0-3 bits 0-1, 4-7 bits 2-3, …); stored with an offset of 32. */
static int scale_q3_k(const unsigned char *s, size_t g) {
  int low = s[g % 8] >> g / 8 * 4 & 15, high = s[8 + g % 4] >> g / 4 * 2 & 3;
  return (low | high << 4) - 32;
}

/* q3_k: 256 values = 32 bytes of third bits (value j: bit j/32 of byte j%32), 64 bytes of two-bit codes, 12 bytes of
 * six-bit scales, fp16 d; value = (d·scale)·(code - 4). */
void tb_dequant_q3_k_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 256, b += 110) {
    float d = tb_load_f16(b + 108);
    for (size_t j = 0; j < 256; j++) {
      int code = code2(b + 32, j) | (b[j % 32] >> j / 32 & 1) << 2;
      y[i + j] = d * (float)scale_q3_k(b + 96, j / 16) * (float)(code - 4);
    }
  }
}

/* Six-bit scale and minimum of group g (0…7, 32 values each) of a q4_k or q5_k super-block, from 12 bytes: groups 0-3
 * have their scale in the low six bits of bytes 0-3 and their minimum in those of bytes 4-7; groups 4-7 take four low
 * bits from the nibbles of bytes 8-11 and two high bits from the top of bytes 0-3 (scale) and 4-7 (minimum). */
static void scale_q4_k(const unsigned char *s, size_t g, float *scale, float *minimum) {
  int sc = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
  int mn = g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | s[g] >> 6 << 4;
  *scale = (float)sc;
  *minimum = (float)mn;
}

/* Nibble of value j (0…255) of a q4_k or q5_k super-block: 64 values share 32 bytes, the first 32 in low nibbles. */
static int code4(const unsigned char *qs, size_t j) { return qs[j / 64 * 32 + j % 32] >> j % 64 / 32 * 4 & 15; }

/* q4_k: 256 values = fp16 d, fp16 dmin, 12 bytes of scales and minima, 128 bytes of nibbles;
 * value = (d·scale)·code - dmin·minimum. */
void tb_dequant_q4_k_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 256, b += 144) {
    float d = tb_load_f16(b), dmin = tb_load_f16(b + 2);
    for (size_t j = 0; j < 256; j++) {
      float scale, minimum;
      scale_q4_k(b + 4, j / 32, &scale, &minimum);
      y[i + j] = d * scale * (float)code4(b + 16, j) - dmin * minimum;
    }
  }
}

/* q5_k: 256 values = fp16 d, fp16 dmin, 12 bytes of scales and minima, 32 bytes of fifth bits (value j: bit j/32 of
 * byte j%32), 128 bytes of nibbles as in q4_k; value = (d·scale)·code - dmin·minimum. */
void tb_dequant_q5_k_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 256, b += 176) {
    float d = tb_load_f16(b), dmin = tb_load_f16(b + 2);
    for (size_t j = 0; j < 256; j++) {
      float scale, minimum;
      scale_q4_k(b + 4, j / 32, &scale, &minimum);
      int code = code4(b + 48, j) | (b[16 + j % 32] >> j / 32 & 1) << 4;
      y[i + j] = d * scale * (float)code - dmin * minimum;
    }
  }
}

/* q6_k: 256 values = 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 int8 scales (one per 16 values), fp16 d.
 * Two halves of 128 values: 64 bytes of nibbles (the first 64 values low, the other 64 high) and 32 bytes of pairs (as
 * the codes of q2_k). value = (d·scale)·(code - 32). */
void tb_dequant_q6_k_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 256, b += 210) {
    float d = tb_load_f16(b + 208);
    for (size_t j = 0; j < 256; j++) {
      int low = b[j / 128 * 64 + j % 64] >> j % 128 / 64 * 4 & 15;
      int code = low | code2(b + 128, j) << 4;
      y[i + j] = d * (float)(int8_t)b[192 + j / 16] * (float)(code - 32);
    }
  }
}

/* What a nibble of iq4_nl and iq4_xs stands for: 16 levels, denser near zero. A constant of the file format. */
static const int8_t iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* iq4_nl: as q4_0, with levels: value = d·level[code]. */
void tb_dequant_iq4_nl_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 32, b += 18) {
    float d = tb_load_f16(b);
    for (size_t j = 0; j < 16; j++) {
      y[i + j] = d * (float)iq4_levels[b[2 + j] & 15];
      y[i + j + 16] = d * (float)iq4_levels[b[2 + j] >> 4];
    }
  }
}

/* iq4_xs: 256 values = fp16 d, two bytes of high scale bits (group g of 32: bits 2g and 2g+1 of the little-endian
 * word), 4 bytes of low scale nibbles (group 2i low, 2i+1 high), 8 groups of 16 bytes as in iq4_nl;
 * value = (d·(scale - 32))·level[code]. */
void tb_dequant_iq4_xs_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 256, b += 136) {
    float d = tb_load_f16(b);
    for (size_t g = 0; g < 8; g++) {
      int scale = (b[4 + g / 2] >> g % 2 * 4 & 15) | (b[2 + g / 4] >> g % 4 * 2 & 3) << 4;
      float dl = d * (float)(scale - 32);
      for (size_t j = 0; j < 16; j++) {
        unsigned char byte = b[8 + 16 * g + j];
        y[i + 32 * g + j] = dl * (float)iq4_levels[byte & 15];
        y[i + 32 * g + j + 16] = dl * (float)iq4_levels[byte >> 4];
      }
    }
  }
}
