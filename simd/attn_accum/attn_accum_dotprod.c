/* attn_accum_values2 and attn_accum_ternary with dot product instructions (simd/attn_accum/attn_accum.h). Sums of values2
 * fill half of the registers: of all four planes of a byte for four heads, or, so that unpacking serves more of them, two
 * planes at a time for eight. They grow with their masks (simd/kvblock.h), the largest to 160 · 255 · 127 < 2^23: the
 * difference of two is one plane's sum times 4^plane. */
#include "simd/kernels.h"
#include "simd/vec/arm_sums.h"

#define TB_FN(name) tb_##name##_dotprod

#include "simd/attn_accum/attn_ternary_arm.h"

enum { MOST_HEADS = 8 };

/* Of up to eight heads, in memory of our own, which the stores of sums cannot change. */
struct factors {
  float a[4][MOST_HEADS], b[MOST_HEADS]; /* a·4^-k */
  struct sums_starts starts;
};

/* o += a·4^-k·(sum[k] - sum[k - 1]) + b for the planes of `count` sums, `step` apart. */
TB_INLINE void add_planes(float *o, size_t ldo, size_t step, int32x4_t sum[][4], const struct factors *f, int n, int count) {
  float32x4_t a[4][2], b[2];
  TB_UNROLL for (int i = 0; i < (n + 3) / 4; i++) {
    TB_UNROLL for (int k = 0; k < count; k++) a[k][i] = vld1q_f32(f->a[k] + 4 * i);
    b[i] = vld1q_f32(f->b + 4 * i);
  }
  TB_UNROLL for (int g = 0; g < n; g++, o += ldo) {
    const float32x4_t base = lane_f32(b[g / 4], g % 4);
    TB_UNROLL for (int k = 0; k < count; k++) {
      const float32x4_t dot = k ? sums_between(sum[g][k], sum[g][k - 1]) : sums_minus(sum[g][0], SUMS_UNSIGNED);
      const float32x4_t add = fma_lane(base, dot, a[k][g / 4], g % 4);
      vst1q_f32(o + (size_t)k * step, vaddq_f32(vld1q_f32(o + (size_t)k * step), add));
    }
  }
}

/* 4 lanes, `count` of 4 planes from `plane` (0, or 2 of 2) on. Lines are `width` bytes apart. */
TB_INLINE void values(float *o, size_t ldo, const int8_t *w, const struct factors *f, int n, const unsigned char *lines,
                      size_t width, size_t tokens, int plane, int count) {
  const uint8x16_t masks[3] = {vdupq_n_u8(3), vdupq_n_u8(15), vdupq_n_u8(63)};
  int32x4_t sum[MOST_HEADS][4];
  TB_UNROLL for (int g = 0; g < n; g++)
    TB_UNROLL for (int k = 0; k < count; k++) sum[g][k] = sums_start(&f->starts, g * count + k);
  for (size_t t = 0; t < tokens; t += 16) {
    int8x16_t weights[MOST_HEADS];
    TB_UNROLL for (int g = 0; g < n; g++) weights[g] = vld1q_s8(w + (size_t)g * TB_KV_BLOCK + t);
    TB_UNROLL for (int line = 0; line < 4; line++, lines += width) {
      const uint8x16_t bytes = plane ? vshrq_n_u8(vld1q_u8(lines), 4) : vld1q_u8(lines);
      TB_UNROLL for (int k = 0; k < count; k++) {
        const uint8x16_t u = plane + k == 3 ? bytes : vandq_u8(bytes, masks[k]);
        TB_UNROLL for (int g = 0; g < n; g++) sum[g][k] = sums_dot_unsigned(sum[g][k], u, weights[g], line);
      }
    }
  }
  __asm__ volatile("" ::: "memory"); /* the factors are loaded here, not kept in registers through the loop */
  const size_t step = width / 4;
  add_planes(o + (size_t)plane * step, ldo, step, sum, f, n, count);
}

/* A function for each number of heads: inlined into the loops below, the sums no longer fit into the registers. */
typedef void tile(float *o, size_t ldo, const int8_t *w, const struct factors *f, const unsigned char *lines, size_t width,
                  size_t tokens);
#define TILE(n)                                                                                                        \
  static __attribute__((noinline)) void tile##n(float *o, size_t ldo, const int8_t *w, const struct factors *f,        \
                                                const unsigned char *lines, size_t width, size_t tokens) {             \
    if (n <= 4) {                                                                                                      \
      values(o, ldo, w, f, n, lines, width, tokens, 0, 4);                                                             \
    } else {                                                                                                           \
      values(o, ldo, w, f, n, lines, width, tokens, 0, 2);                                                             \
      values(o, ldo, w, f, n, lines, width, tokens, 2, 2);                                                             \
    }                                                                                                                  \
  }
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8)

void TB_FN(attn_accum_values2) TB_ATTN_ACCUM_BLOCK_ARGS {
  static tile *const tiles[] = {tile1, tile2, tile3, tile4, tile5, tile6, tile7, tile8};
  for (size_t heads; n_q; n_q -= heads, o += heads * ldo, w += heads * TB_KV_BLOCK, a += heads, b += heads) {
    heads = n_q < MOST_HEADS ? n_q : MOST_HEADS;
    struct factors f;
    sums_fill(&f.starts, SUMS_UNSIGNED);
    for (size_t g = 0; g < MOST_HEADS && g < heads; g += 4) {
      float32x4_t factor = first4(a + g, heads - g);
      vst1q_f32(f.b + g, first4(b + g, heads - g));
      for (int k = 0; k < 4; k++, factor = vmulq_n_f32(factor, 0.25f)) vst1q_f32(f.a[k] + g, factor);
    }
    for (size_t c = 0; c < planes; c += 64) {
      const size_t width = planes - c < 64 ? 32 : 64;
      const unsigned char *lines = (const unsigned char *)block + c * (TB_KV_BLOCK / 4) + first / 4 * width;
      for (size_t part = 0; part < width; part += 16)
        tiles[heads - 1](o + c + part / 4, ldo, w, &f, lines + part, width, n);
    }
  }
}
