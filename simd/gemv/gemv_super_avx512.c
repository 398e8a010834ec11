/* gemv for AVX-512 VNNI: formats with 256 values per block. Block layouts: simd/dequant/dequant_ref.c. */
#include <stdbool.h>

#include "simd/gemv/gemv_rows_avx512.h"

/* 256 activations: in the order of their values, or as the nibbles of q4_k and iq4_xs want them. */
struct span {
  vint x[4], start[4];
  vflt d;  /* by groups of 16 values; q4_k, q5_k: see scales_k */
  vflt ds; /* -d · Σ q by groups of 16 */
  vint six; /* q4_k, q5_k: scales and minima of four rows, 16 bytes each */
  vflt two; /* q4_k, q5_k: d and dmin of four rows */
};

V_INLINE void load_codes(struct span *s, const int8_t *q, int offset) {
  V_UNROLL
  for (int j = 0; j < 4; j++) {
    s->x[j] = _mm512_loadu_si512(q + 64 * j);
    s->start[j] = offset ? row_start(s->x[j], offset) : _mm512_setzero_si512();
  }
}

/* Even and odd pieces of 128 bits of x[a] and x[b]. */
V_INLINE void part_codes(struct span *s, int a, int b) {
  const vint x = s->x[a], y = s->x[b];
  s->x[a] = _mm512_shuffle_i64x2(x, y, 0x88);
  s->x[b] = _mm512_shuffle_i64x2(x, y, 0xdd);
}

V_INLINE vint load256_twice(const unsigned char *p) {
  return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
V_INLINE vint load512(const unsigned char *p) { return _mm512_loadu_si512(p); }
V_INLINE uint32_t load32(const unsigned char *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

/* Scale s[g] to all lanes of group g: groups of 16 values are four lanes. */
V_INLINE vflt scales16(vflt s, int j) {
  return _mm512_permutexvar_ps(LANES_OF(4 * j, 4 * j + 1, 4 * j + 2, 4 * j + 3), s);
}

/* Left (or, where negative, right) by an amount for each half. Bits that come from a neighbouring byte are masked. */
V_INLINE vint halves_left(vint v, int a, int b) {
  return _mm512_rolv_epi32(v, LANES_OF(a & 31, a & 31, b & 31, b & 31));
}
V_INLINE vint quarters_left(vint v, int a, int b, int c, int d) {
  return _mm512_rolv_epi32(v, LANES_OF(a & 31, b & 31, c & 31, d & 31));
}
/* a | (b & mask) */
V_INLINE vint with_bits(vint a, vint b, int mask) { return _mm512_ternarylogic_epi32(a, b, v_set8(mask), 0xf8); }

/* ---- q4_k, q5_k: 32 bytes hold two groups of 32 values, the even one in the low nibbles ---- */

/* x[0], x[1]: values 0-15 and 16-31 of the even groups, a group in a quarter; x[2], x[3]: of the odd ones. */
V_INLINE void load_k(struct span *s, const struct tb_acts *x, size_t i) {
  const __m256 d = _mm256_loadu_ps(x->d + i / 32);
  const __m256i sums = _mm256_loadu_si256((const __m256i *)(const void *)(x->s + i / 16));
  const __m256 both = _mm256_cvtepi32_ps(_mm256_madd_epi16(sums, _mm256_set1_epi16(-1)));
  load_codes(s, x->q + i, 0);
  part_codes(s, 0, 1);
  part_codes(s, 2, 3);
  part_codes(s, 0, 2);
  part_codes(s, 1, 3);
  s->d = _mm512_permutex2var_ps(_mm512_castps256_ps512(d),
                                _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23),
                                _mm512_castps256_ps512(_mm256_mul_ps(both, d)));
}

/* The six-bit scales and minima of all rows. They come from three words a, b, c in the order scales 0-3, minima 0-3, scales
 * 4-7, minima 4-7: low six bits of a and b, then the nibbles of c below two bits of a and b. */
V_INLINE void heads_k(struct span *s, const unsigned char *w, size_t gap, int rows) {
  vint heads = _mm512_castsi128_si512(v_row16(w));
  V_UNROLL
  for (int r = 1; r < rows; r++) heads = _mm512_mask_broadcast_i32x4(heads, (__mmask16)(0xf << 4 * r), v_row16(w + (size_t)r * gap));
  const vint ab = _mm512_srlv_epi32(_mm512_shuffle_epi32(heads, 0x99), _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 2, 2)));
  const vint cc = _mm512_srlv_epi32(_mm512_shuffle_epi32(heads, 0xff), _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 0, 4)));
  const vint six = _mm512_broadcast_i32x4(_mm_setr_epi32(0x3f3f3f3f, 0x3f3f3f3f, 0x30303030, 0x30303030));
  const vint four = v_and(cc, _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 0x0f0f0f0f, 0x0f0f0f0f)));
  const vint words = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), heads);
  s->six = _mm512_ternarylogic_epi32(four, ab, six, 0xf8);
  s->two = _mm512_castps256_ps512(_mm256_cvtph_ps(_mm512_castsi512_si128(words)));
}

/* r is a constant once inlined. */
V_INLINE __m128i quarter(vint v, int r) {
  switch (r) {
  case 0: return _mm512_castsi512_si128(v);
  case 1: return _mm512_extracti32x4_epi32(v, 1);
  case 2: return _mm512_extracti32x4_epi32(v, 2);
  default: return _mm512_extracti32x4_epi32(v, 3);
  }
}

/* Lanes 0-3 and 8-11: the scales of row r's groups, times d of weights and activations; the others: the products of their
 * minima with the sums of the activations. */
V_INLINE vflt scales_k(const struct span *x, int r) {
  const int d = 2 * r, m = 2 * r + 1;
  const vint bytes = _mm512_cvtepu8_epi32(quarter(x->six, r));
  return v_mul(v_mul(v_float(bytes), _mm512_permutexvar_ps(LANES_OF(d, m, d, m), x->two)), x->d);
}

V_INLINE vflt add_k(vflt acc, const unsigned char *w, const struct span *x, int r, const unsigned char *fifth) {
  const unsigned char *codes = w + (fifth ? 48 : 16);
  const vflt s = scales_k(x, r);
  const vint a = load512(codes), b = load512(codes + 64);
  vint even = x->start[0], odd = x->start[0];
  V_UNROLL
  for (int j = 0; j < 2; j++) {
    const vint raw = j ? _mm512_shuffle_i64x2(a, b, 0xdd) : _mm512_shuffle_i64x2(a, b, 0x88);
    vint low = row_low(raw), high = row_high(raw);
    if (fifth) {
      const vint bits = _mm512_broadcast_i32x4(v_row16(fifth + 16 * j));
      low = with_bits(low, quarters_left(bits, 4, 2, 0, -2), 16);
      high = with_bits(high, quarters_left(bits, 3, 1, -1, -3), 16);
    }
    even = v_dot4(even, low, x->x[j]);
    odd = v_dot4(odd, high, x->x[2 + j]);
  }
  acc = row_add(acc, even, _mm512_permutexvar_ps(LANES_OF(0, 2, 8, 10), s));
  acc = row_add(acc, odd, _mm512_permutexvar_ps(LANES_OF(1, 3, 9, 11), s));
  return _mm512_mask_add_ps(acc, 0xf0f0, acc, s);
}

/* ---- groups of 16 values: q2_k, q3_k, q6_k ---- */

V_INLINE void load_16(struct span *s, const struct tb_acts *x, size_t i, int offset) {
  load_codes(s, x->q + i, offset);
  s->d = _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7),
                               _mm512_castps256_ps512(_mm256_loadu_ps(x->d + i / 32)));
}

V_INLINE vflt add_6(vflt acc, const unsigned char *w, const struct span *x) {
  const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(w + 192));
  const vflt s = v_mul(v_mul(v_float(_mm512_cvtepi8_epi32(bytes)), row_half(w + 208)), x->d);
  V_UNROLL
  for (int j = 0; j < 2; j++) {
    const vint raw = load512(w + 64 * j), pairs = load256_twice(w + 128 + 32 * j);
    const vint low = with_bits(row_low(raw), halves_left(pairs, 4, 2), 0x30);
    const vint high = with_bits(row_high(raw), halves_left(pairs, 0, -2), 0x30);
    acc = row_add(acc, v_dot4(x->start[2 * j], low, x->x[2 * j]), scales16(s, 2 * j));
    acc = row_add(acc, v_dot4(x->start[2 * j + 1], high, x->x[2 * j + 1]), scales16(s, 2 * j + 1));
  }
  return acc;
}

V_INLINE vflt add_3(vflt acc, const unsigned char *w, const struct span *x) {
  const uint32_t a = load32(w + 96), b = load32(w + 100), c = load32(w + 104), four = 0x0f0f0f0f, two = 0x30303030;
  const uint64_t s0 = ((a & four) | (c << 4 & two)) | (uint64_t)((b & four) | (c << 2 & two)) << 32;
  const uint64_t s1 = ((a >> 4 & four) | (c & two)) | (uint64_t)((b >> 4 & four) | (c >> 2 & two)) << 32;
  const __m128i bytes = _mm_insert_epi64(_mm_cvtsi64_si128((long long)s0), (long long)s1, 1);
  const vint scales = _mm512_cvtepi8_epi32(_mm_sub_epi8(bytes, _mm_set1_epi8(32)));
  const vflt s = v_mul(v_mul(v_float(scales), row_half(w + 108)), x->d);
  const vint third = load256_twice(w);
  V_UNROLL
  for (int j = 0; j < 4; j++) {
    const vint raw = halves_left(load256_twice(w + 32 + 32 * (j / 2)), -4 * (j % 2), -4 * (j % 2) - 2);
    const vint codes = with_bits(v_and(raw, v_set8(3)), halves_left(third, 2 - 2 * j, 1 - 2 * j), 4);
    acc = row_add(acc, v_dot4(x->start[j], codes, x->x[j]), scales16(s, j));
  }
  return acc;
}

V_INLINE void load_minima_16(struct span *s, const struct tb_acts *x, size_t i) {
  const __m256i sums = _mm256_loadu_si256((const __m256i *)(const void *)(x->s + i / 16));
  load_16(s, x, i, 0);
  s->ds = v_neg(v_mul(s->d, v_float(_mm512_cvtepi16_epi32(sums))));
}

V_INLINE vflt add_2(vflt acc, const unsigned char *w, const struct span *x) {
  const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)w), four = _mm_set1_epi8(15);
  const vint scales = _mm512_cvtepu8_epi32(_mm_and_si128(bytes, four));
  const vint minima = _mm512_cvtepu8_epi32(_mm_and_si128(_mm_srli_epi16(bytes, 4), four));
  const vflt s = v_mul(v_mul(v_float(scales), row_half(w + 80)), x->d);
  acc = v_fma(v_mul(v_float(minima), row_half(w + 82)), x->ds, acc);
  V_UNROLL
  for (int j = 0; j < 4; j++) {
    const vint raw = halves_left(load256_twice(w + 16 + 32 * (j / 2)), -4 * (j % 2), -4 * (j % 2) - 2);
    acc = row_add(acc, v_dot4(x->start[j], v_and(raw, v_set8(3)), x->x[j]), scales16(s, j));
  }
  return acc;
}

/* ---- iq4_xs ---- */

V_INLINE void load_levels(struct span *s, const struct tb_acts *x, size_t i) {
  load_codes(s, x->q + i, 0);
  part_codes(s, 0, 1);
  part_codes(s, 2, 3);
  V_UNROLL
  for (int j = 0; j < 2; j++)
    s->start[j] = v_add32(row_start(s->x[2 * j], V_BIAS8), row_start(s->x[2 * j + 1], V_BIAS8));
  s->d = _mm512_castps256_ps512(_mm256_loadu_ps(x->d + i / 32));
}

/* The scales of eight groups: nibbles, and two bits above them. */
V_INLINE vflt scales_levels(const unsigned char *w, const struct span *x) {
  const __m256i g = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), two_g = _mm256_add_epi32(g, g);
  const __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32((int)load32(w + 4)), _mm256_add_epi32(two_g, two_g));
  const __m256i high = _mm256_srlv_epi32(_mm256_set1_epi32((int)(load32(w) >> 16 << 4)), two_g);
  const __m256i four = _mm256_and_si256(low, _mm256_set1_epi32(15));
  const __m256i six = _mm256_ternarylogic_epi32(four, high, _mm256_set1_epi32(48), 0xf8);
  const vint scales = _mm512_castsi256_si512(_mm256_sub_epi32(six, _mm256_set1_epi32(32)));
  return v_mul(v_mul(v_float(scales), row_half(w)), x->d);
}

V_INLINE vflt add_levels(vflt acc, const unsigned char *w, const struct span *x) {
  const vflt s = scales_levels(w, x);
  V_UNROLL
  for (int j = 0; j < 2; j++) {
    const vint raw = load512(w + 8 + 64 * j);
    const vint dots = v_dot4(x->start[j], row_levels(row_low(raw)), x->x[2 * j]);
    acc = row_add(acc, v_dot4(dots, row_levels(row_high(raw)), x->x[2 * j + 1]), scales16(s, j));
  }
  return acc;
}

#define SUPER(format, bytes, load, step)                                                                               \
  V_INLINE void load_##format(struct span *s, const struct tb_acts *x, size_t i, size_t blocks) {                      \
    (void)blocks;                                                                                                      \
    load;                                                                                                              \
  }                                                                                                                    \
  V_INLINE vflt step_##format(vflt acc, const unsigned char *w, const struct span *x, size_t blocks, int r) {          \
    (void)blocks, (void)r;                                                                                             \
    return step;                                                                                                       \
  }                                                                                                                    \
  ROWS_GEMV(format, struct span, 256, bytes, 1)

NO_HEADS(q2_k, struct span)
NO_HEADS(q3_k, struct span)
NO_HEADS(q6_k, struct span)
NO_HEADS(iq4_xs, struct span)
#define heads_q4_k heads_k
#define heads_q5_k heads_k

SUPER(q2_k, 84, load_minima_16(s, x, i), add_2(acc, w, x))
SUPER(q3_k, 110, load_16(s, x, i, 4), add_3(acc, w, x))
SUPER(q4_k, 144, load_k(s, x, i), add_k(acc, w, x, r, NULL))
SUPER(q5_k, 176, load_k(s, x, i), add_k(acc, w, x, r, w + 16))
SUPER(q6_k, 210, load_16(s, x, i, 32), add_6(acc, w, x))
SUPER(iq4_xs, 136, load_levels(s, x, i), add_levels(acc, w, x))
