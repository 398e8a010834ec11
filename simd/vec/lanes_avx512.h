/* Sixteen rows of weights side by side: the vector operations that simd/vec/unpack.h and its users are written in, for
 * AVX-512 VNNI. A `vint` holds one dword (four codes) of each of TB_LANES rows; lane r belongs to row r.
 * simd/vec/lanes_256.h is the same for 8 rows. */
#ifndef TB_SIMD_VEC_LANES_AVX512_H
#define TB_SIMD_VEC_LANES_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "simd/vec/vnni.h"

#define V_INLINE static inline __attribute__((always_inline))
/* Before a loop whose bounds are constant after inlining: arrays of vectors become registers. */
#if defined(__clang__)
#define V_UNROLL _Pragma("clang loop unroll(full)")
#else
#define V_UNROLL _Pragma("GCC unroll 16")
#endif

enum { TB_LANES = 16 };
#define TB_LANES_512 1
typedef __m512i vint;
typedef __m512 vflt;

/* Any address may be named. */
V_INLINE void v_prefetch(const void *p) { _mm_prefetch((const char *)p, _MM_HINT_T0); }

/* Weights that will be needed later, fetched a little after every vector of codes: prefetches that come in bursts hold
 * up the loads behind them, spread out they cost nothing. `bytes` from p + at on belong to `vectors` vectors; with
 * vector j the lines that start in its share are fetched: every line once (all but p is constant after inlining). One
 * line that is forgotten in a hundred costs a third of the speed. */
struct v_ahead {
  const unsigned char *p;
  int at, bytes, vectors;
};

V_INLINE void v_fetch(struct v_ahead ahead, int j) {
  const int from = ahead.at + j * ahead.bytes / ahead.vectors, to = ahead.at + (j + 1) * ahead.bytes / ahead.vectors;
  V_UNROLL
  for (int line = (from + 63) / 64; line < (to + 63) / 64; line++) v_prefetch(ahead.p + 64 * line);
}

V_INLINE vint v_set8(int v) { return _mm512_set1_epi8((char)v); }
V_INLINE vint v_set32(int v) { return _mm512_set1_epi32(v); }
V_INLINE vint v_and(vint a, vint b) { return _mm512_and_si512(a, b); }
V_INLINE vint v_or(vint a, vint b) { return _mm512_or_si512(a, b); }
V_INLINE vint v_xor(vint a, vint b) { return _mm512_xor_si512(a, b); }
V_INLINE vint v_add32(vint a, vint b) { return _mm512_add_epi32(a, b); }
/* Shifts of dwords; n is a constant after inlining. */
V_INLINE vint v_srl(vint a, unsigned n) { return _mm512_srli_epi32(a, n); }
V_INLINE vint v_sra(vint a, unsigned n) { return _mm512_srai_epi32(a, n); }
V_INLINE vint v_sll(vint a, unsigned n) { return _mm512_slli_epi32(a, n); }
/* a ? b : 0 for bytes of a that have a bit of `bit`. */
V_INLINE vint v_where_bit(vint a, vint bit, vint b) {
  return _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(a, bit), b);
}
/* Byte shuffle inside 128 bits by a table of 16 bytes: table[index] or table as the index of a. */
V_INLINE vint v_table(const unsigned char table[16]) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table));
}
V_INLINE vint v_shuffle8(vint a, vint index) { return _mm512_shuffle_epi8(a, index); }

V_INLINE vflt v_zero(void) { return _mm512_setzero_ps(); }
V_INLINE vflt v_setf(float v) { return _mm512_set1_ps(v); }
V_INLINE vflt v_float(vint a) { return _mm512_cvtepi32_ps(a); }
V_INLINE vint v_bits(vflt a) { return _mm512_castps_si512(a); }
V_INLINE vflt v_as_float(vint a) { return _mm512_castsi512_ps(a); }
V_INLINE vflt v_mul(vflt a, vflt b) { return _mm512_mul_ps(a, b); }
V_INLINE vflt v_fma(vflt a, vflt b, vflt c) { return _mm512_fmadd_ps(a, b, c); }
V_INLINE vflt v_neg(vflt a) { return _mm512_castsi512_ps(v_xor(_mm512_castps_si512(a), v_set32((int)0x80000000u))); }
/* The low or high 16 bits of every dword as a half-precision number. */
V_INLINE vflt v_half_low(vint a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)); }
V_INLINE vflt v_half_high(vint a) { return v_half_low(v_srl(a, 16)); }

V_INLINE vint v_loadi(const void *p) { return _mm512_load_si512(p); }
V_INLINE void v_storei(void *p, vint a) { _mm512_store_si512(p, a); }
V_INLINE vflt v_loadf(const float *p) { return _mm512_load_ps(p); }
V_INLINE void v_storef(float *p, vflt a) { _mm512_store_ps(p, a); }
/* The first n lanes, unaligned. */
V_INLINE vflt v_loadf_n(const float *p, size_t n) {
  return _mm512_maskz_loadu_ps(n >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << n) - 1), p);
}
V_INLINE void v_storef_n(float *p, vflt a, size_t n) {
  _mm512_mask_storeu_ps(p, n >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << n) - 1), a);
}

/* TB_LANES stored weights of one row as floats: n of them, the rest zero. */
V_INLINE vflt v_weights_f32(const unsigned char *p, size_t n) { return v_loadf_n((const float *)(const void *)p, n); }
V_INLINE __m256i v_words_n(const unsigned char *p, size_t n) {
  return _mm256_maskz_loadu_epi16(n >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << n) - 1), p);
}
V_INLINE vflt v_weights_f16(const unsigned char *p, size_t n) { return _mm512_cvtph_ps(v_words_n(p, n)); }
V_INLINE vflt v_weights_bf16(const unsigned char *p, size_t n) {
  return _mm512_castsi512_ps(v_sll(_mm512_cvtepu16_epi32(v_words_n(p, n)), 16));
}
V_INLINE float v_sum(vflt a) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  __m128 v = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  v = _mm_add_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}
V_INLINE vflt v_add(vflt a, vflt b) { return _mm512_add_ps(a, b); }

/* Four codes, or two sums of 16 codes, to all lanes. */
V_INLINE vint v_broadcast32(const void *p) {
  int v;
  memcpy(&v, p, sizeof v);
  return _mm512_set1_epi32(v);
}
/* Products of 16-bit pairs, summed. */
V_INLINE vint v_madd16(vint a, vint b) { return _mm512_madd_epi16(a, b); }

/* Where the rows are: row r at p + r·stride. One row ends where the next begins, or nearly so: stride ≥ 16. */
struct v_rows {
  const unsigned char *p;
  size_t stride;
};

V_INLINE __m128i v_row16(const unsigned char *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }

/* A dword of every row. Gathers are slow on most CPUs (and slower with the microcode against downfall); loads are not:
 * the one of row i of four begins 4·i bytes early, which puts the dword where it belongs, and a blend keeps it. What is
 * read before and after is the neighbouring rows': row 0 begins in place and row 3 ends with the dword. */
V_INLINE __m128i v_dwords4(const unsigned char *p, size_t one) {
  __m128i v = _mm_blend_epi32(v_row16(p), v_row16(p + one - 4), 2);
  v = _mm_blend_epi32(v, v_row16(p + 2 * one - 8), 4);
  return _mm_blend_epi32(v, v_row16(p + 3 * one - 12), 8);
}

V_INLINE vint v_load_dword(const struct v_rows *s, size_t offset) {
  const unsigned char *p = s->p + offset;
  const size_t one = s->stride, four = 4 * s->stride;
  vint v = _mm512_castsi128_si512(v_dwords4(p, one));
  v = _mm512_inserti32x4(v, v_dwords4(p + four, one), 1);
  v = _mm512_inserti32x4(v, v_dwords4(p + 2 * four, one), 2);
  return _mm512_inserti32x4(v, v_dwords4(p + 3 * four, one), 3);
}

/* A half-precision number of every row, in the same way. */
V_INLINE __m128i v_words8(const unsigned char *p, size_t one) {
  __m128i v = _mm_blend_epi16(v_row16(p), v_row16(p + one - 2), 2);
  v = _mm_blend_epi16(v, v_row16(p + 2 * one - 4), 4);
  v = _mm_blend_epi16(v, v_row16(p + 3 * one - 6), 8);
  v = _mm_blend_epi16(v, v_row16(p + 4 * one - 8), 16);
  v = _mm_blend_epi16(v, v_row16(p + 5 * one - 10), 32);
  v = _mm_blend_epi16(v, v_row16(p + 6 * one - 12), 64);
  return _mm_blend_epi16(v, v_row16(p + 7 * one - 14), 128);
}

V_INLINE vflt v_load_half(const struct v_rows *s, size_t offset) {
  const unsigned char *p = s->p + offset;
  const __m128i low = v_words8(p, s->stride), high = v_words8(p + 8 * s->stride, s->stride);
  return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
}

/* Rows a, a + 4, a + 8, a + 12: 16 bytes each in the four quarters of a vector. */
V_INLINE vint v_quarters(const unsigned char *p, size_t four) {
  vint v = _mm512_castsi128_si512(v_row16(p));
  v = _mm512_inserti32x4(v, v_row16(p + four), 1);
  v = _mm512_inserti32x4(v, v_row16(p + 2 * four), 2);
  return _mm512_inserti32x4(v, v_row16(p + 3 * four), 3);
}

/* 16 bytes of every row: out[j] gets dword j of each. A 4 × 4 transposition inside every quarter brings row 4·l + a,
 * which is in quarter l of vector a, to lane 4·l + a. */
V_INLINE void v_load16(vint out[4], const struct v_rows *s, size_t offset) {
  const unsigned char *p = s->p + offset;
  const size_t one = s->stride, four = 4 * s->stride;
  const vint a = v_quarters(p, four), b = v_quarters(p + one, four);
  const vint c = v_quarters(p + 2 * one, four), d = v_quarters(p + 3 * one, four);
  const vint ab0 = _mm512_unpacklo_epi32(a, b), ab1 = _mm512_unpackhi_epi32(a, b);
  const vint cd0 = _mm512_unpacklo_epi32(c, d), cd1 = _mm512_unpackhi_epi32(c, d);
  out[0] = _mm512_unpacklo_epi64(ab0, cd0);
  out[1] = _mm512_unpackhi_epi64(ab0, cd0);
  out[2] = _mm512_unpacklo_epi64(ab1, cd1);
  out[3] = _mm512_unpackhi_epi64(ab1, cd1);
}

/* Codes that need all eight bits are kept with an offset of 128, because the first factor of the dot is unsigned. */
enum { V_BIAS8 = 128 };
V_INLINE vint v_code8(vint a) { return v_xor(a, v_set8(0x80)); }

/* acc + the products of four codes and four activations. */
V_INLINE vint v_dot4(vint acc, vint codes, vint x) { return tb_dot512(acc, codes, x); }

/* acc + Σ over `quads` vectors of codes (of `bits` bits) times 4·quads activations at x. */
V_INLINE vint v_dot(vint acc, const vint *codes, const int8_t *x, int quads, int bits, struct v_ahead ahead) {
  (void)bits;
  V_UNROLL
  for (int j = 0; j < quads; j++) {
    acc = v_dot4(acc, codes[j], v_broadcast32(x + 4 * j));
    v_fetch(ahead, j);
  }
  return acc;
}

#endif
