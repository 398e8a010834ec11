/* attn_score_keys2 with dot product instructions (simd/attn_score/attn_score.h). Accumulators fill half of the registers:
 * four heads by 32 bytes of each line, or, so that unpacking serves more of them, eight heads by 16. */
#include "simd/kernels.h"
#include "simd/vec/arm_sums.h"

#define TB_FN(name) tb_##name##_dotprod

enum { MOST_HEADS = 8 };

/* Of up to eight heads, in memory of our own, which the stores of scores cannot change. */
struct factors {
  float a[MOST_HEADS], quarter[MOST_HEADS], b[MOST_HEADS];
  struct sums_starts starts;
};

/* s = a·dot + b, or s + b instead of b. */
TB_INLINE void finish(float *s, size_t lds, int32x4_t first[][2], int32x4_t second[][2], const struct factors *f, bool add,
                      int n, int columns) {
  float32x4_t a[2], quarter[2], b[2];
  TB_UNROLL for (int i = 0; i < (n + 3) / 4; i++) {
    a[i] = vld1q_f32(f->a + 4 * i);
    quarter[i] = vld1q_f32(f->quarter + 4 * i);
    b[i] = vld1q_f32(f->b + 4 * i);
  }
  TB_UNROLL for (int g = 0; g < n; g++, s += lds) {
    const float32x4_t base = lane_f32(b[g / 4], g % 4);
    float32x4_t low[2] = {base, base}, high[2] = {base, base}; /* together: stores of two registers */
    TB_UNROLL for (int j = 0; j < columns; j++) {
      if (add) low[j] = vaddq_f32(vld1q_f32(s + 4 * j), base);
      if (add) high[j] = vaddq_f32(vld1q_f32(s + 4 * j + 16), base);
      low[j] = fma_lane(low[j], sums_minus(first[g][j], SUMS_SIGNED), a[g / 4], g % 4);
      high[j] = fma_lane(high[j], sums_between(second[g][j], first[g][j]), quarter[g / 4], g % 4);
    }
    TB_UNROLL for (int j = 0; j < columns; j++) vst1q_f32(s + 4 * j, low[j]);
    TB_UNROLL for (int j = 0; j < columns; j++) vst1q_f32(s + 4 * j + 16, high[j]);
  }
}

/* n query heads, 16·columns bytes of each line: tokens 0-3 (4-7 …) of a group of 32, and 16-19. `second` sums whole
 * nibbles: first + 4 · second. */
TB_INLINE void score_lanes(float *s, size_t lds, const int8_t *codes, const struct factors *f, bool add, int n,
                           const unsigned char *part, size_t planes, int columns) {
  const uint8x16_t three = vdupq_n_u8(3), fifteen = vdupq_n_u8(15);
  int32x4_t first[MOST_HEADS][2], second[MOST_HEADS][2];
  TB_UNROLL for (int g = 0; g < n; g++)
    TB_UNROLL for (int j = 0; j < columns; j++) {
      first[g][j] = sums_start(&f->starts, 2 * (g * columns + j));
      second[g][j] = sums_start(&f->starts, 2 * (g * columns + j) + 1);
    }
  size_t c = 0;
  do { /* 16 planes: never none */
    int8x16_t q[MOST_HEADS];
    TB_UNROLL for (int g = 0; g < n; g++) q[g] = vld1q_s8(codes + (size_t)g * planes + c);
    TB_UNROLL for (int line = 0; line < 2; line++)
      TB_UNROLL for (int j = 0; j < columns; j++) {
        const uint8x16_t w = vld1q_u8(part + 64 * line + 16 * j), v1 = vshrq_n_u8(w, 4);
        const uint8x16_t u0 = vandq_u8(w, three), v0 = vandq_u8(w, fifteen), u1 = vandq_u8(v1, three);
        TB_UNROLL for (int g = 0; g < n; g++) {
          first[g][j] = sums_dot(first[g][j], u0, q[g], 2 * line);
          second[g][j] = sums_dot(second[g][j], v0, q[g], 2 * line);
        }
        TB_UNROLL for (int g = 0; g < n; g++) {
          first[g][j] = sums_dot(first[g][j], u1, q[g], 2 * line + 1);
          second[g][j] = sums_dot(second[g][j], v1, q[g], 2 * line + 1);
        }
      }
    c += 16;
    part += 128;
  } while (c < planes);
  __asm__ volatile("" ::: "memory"); /* the factors are loaded here, not kept in registers through the loop */
  if (add) finish(s, lds, first, second, f, true, n, columns);
  else finish(s, lds, first, second, f, false, n, columns);
}

/* A function for each number of heads: inlined into the loops below, the sums no longer fit into the registers. */
typedef void tile(float *s, size_t lds, const int8_t *codes, const struct factors *f, bool add, const unsigned char *part,
                  size_t planes);
#define TILE(n)                                                                                                        \
  static __attribute__((noinline)) void tile##n(float *s, size_t lds, const int8_t *codes, const struct factors *f,    \
                                                bool add, const unsigned char *part, size_t planes) {                  \
    score_lanes(s, lds, codes, f, add, n, part, planes, n > 4 ? 1 : 2);                                                \
  }
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8)

void TB_FN(attn_score_keys2) TB_ATTN_SCORE_KEYS2_ARGS {
  static tile *const tiles[] = {tile1, tile2, tile3, tile4, tile5, tile6, tile7, tile8};
  for (size_t heads; n_q; n_q -= heads, s += heads * lds, codes += heads * planes, a += heads, b += heads) {
    heads = n_q < MOST_HEADS ? n_q : MOST_HEADS;
    struct factors f;
    sums_fill(&f.starts, SUMS_SIGNED);
    for (size_t g = 0; g < MOST_HEADS && g < heads; g += 4) {
      const float32x4_t factor = first4(a + g, heads - g);
      vst1q_f32(f.a + g, factor);
      vst1q_f32(f.quarter + g, vmulq_n_f32(factor, 0.25f));
      vst1q_f32(f.b + g, first4(b + g, heads - g));
    }
    const unsigned char *part = (const unsigned char *)block + first / 32 * planes * 8;
    for (size_t group = 0; group < n; group += 32, part += planes * 8)
      for (size_t t = 0; t < 16; t += heads > 4 ? 4 : 8) tiles[heads - 1](s + group + t, lds, codes, &f, add, part + 4 * t, planes);
  }
}
