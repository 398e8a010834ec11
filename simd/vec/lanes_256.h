/* Eight rows of weights side by side: simd/vec/lanes_avx512.h for 256-bit vectors. With AVX-VNNI the dot product is
 * one instruction; with AVX2 it is built from 16-bit sums (see v_dot). */
#ifndef TB_SIMD_VEC_LANES_256_H
#define TB_SIMD_VEC_LANES_256_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define V_INLINE static inline __attribute__((always_inline))
/* Before a loop whose bounds are constant after inlining: arrays of vectors become registers. */
#if defined(__clang__)
#define V_UNROLL _Pragma("clang loop unroll(full)")
#else
#define V_UNROLL _Pragma("GCC unroll 16")
#endif

enum { TB_LANES = 8 };
typedef __m256i vint;
typedef __m256 vflt;

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

V_INLINE vint v_set8(int v) { return _mm256_set1_epi8((char)v); }
V_INLINE vint v_set32(int v) { return _mm256_set1_epi32(v); }
V_INLINE vint v_and(vint a, vint b) { return _mm256_and_si256(a, b); }
V_INLINE vint v_or(vint a, vint b) { return _mm256_or_si256(a, b); }
V_INLINE vint v_xor(vint a, vint b) { return _mm256_xor_si256(a, b); }
V_INLINE vint v_add32(vint a, vint b) { return _mm256_add_epi32(a, b); }
V_INLINE vint v_srl(vint a, unsigned n) { return _mm256_srli_epi32(a, (int)n); }
V_INLINE vint v_sra(vint a, unsigned n) { return _mm256_srai_epi32(a, (int)n); }
V_INLINE vint v_sll(vint a, unsigned n) { return _mm256_slli_epi32(a, (int)n); }
V_INLINE vint v_where_bit(vint a, vint bit, vint b) { return v_and(_mm256_cmpeq_epi8(v_and(a, bit), bit), b); }
V_INLINE vint v_table(const unsigned char table[16]) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
}
V_INLINE vint v_shuffle8(vint a, vint index) { return _mm256_shuffle_epi8(a, index); }

V_INLINE vflt v_zero(void) { return _mm256_setzero_ps(); }
V_INLINE vflt v_setf(float v) { return _mm256_set1_ps(v); }
V_INLINE vflt v_float(vint a) { return _mm256_cvtepi32_ps(a); }
V_INLINE vint v_bits(vflt a) { return _mm256_castps_si256(a); }
V_INLINE vflt v_as_float(vint a) { return _mm256_castsi256_ps(a); }
V_INLINE vflt v_mul(vflt a, vflt b) { return _mm256_mul_ps(a, b); }
V_INLINE vflt v_fma(vflt a, vflt b, vflt c) { return _mm256_fmadd_ps(a, b, c); }
V_INLINE vflt v_neg(vflt a) { return _mm256_xor_ps(a, v_setf(-0.0f)); }
V_INLINE vflt v_half_low(vint a) {
  const vint low = v_and(a, v_set32(0xffff)), packed = _mm256_packus_epi32(low, low);
  return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
}
V_INLINE vflt v_half_high(vint a) { return v_half_low(v_srl(a, 16)); }

V_INLINE vint v_loadi(const void *p) { return _mm256_load_si256(p); }
V_INLINE void v_storei(void *p, vint a) { _mm256_store_si256(p, a); }
V_INLINE vflt v_loadf(const float *p) { return _mm256_load_ps(p); }
V_INLINE void v_storef(float *p, vflt a) { _mm256_store_ps(p, a); }
V_INLINE vint v_first(size_t n) {
  return _mm256_cmpgt_epi32(v_set32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
V_INLINE vflt v_loadf_n(const float *p, size_t n) {
  return n >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, v_first(n));
}
V_INLINE void v_storef_n(float *p, vflt a, size_t n) {
  if (n >= 8)
    _mm256_storeu_ps(p, a);
  else
    _mm256_maskstore_ps(p, v_first(n), a);
}

V_INLINE vflt v_weights_f32(const unsigned char *p, size_t n) { return v_loadf_n((const float *)(const void *)p, n); }
V_INLINE __m128i v_words_n(const unsigned char *p, size_t n) {
  uint16_t words[8] = {0};
  if (n >= 8) return _mm_loadu_si128((const __m128i *)(const void *)p);
  for (size_t i = 0; i < n; i++) memcpy(words + i, p + 2 * i, 2);
  return _mm_loadu_si128((const __m128i *)(const void *)words);
}
V_INLINE vflt v_weights_f16(const unsigned char *p, size_t n) { return _mm256_cvtph_ps(v_words_n(p, n)); }
V_INLINE vflt v_weights_bf16(const unsigned char *p, size_t n) {
  return _mm256_castsi256_ps(v_sll(_mm256_cvtepu16_epi32(v_words_n(p, n)), 16));
}
V_INLINE float v_sum(vflt a) {
  __m128 v = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  v = _mm_add_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}
V_INLINE vflt v_add(vflt a, vflt b) { return _mm256_add_ps(a, b); }

V_INLINE vint v_broadcast32(const void *p) {
  int v;
  memcpy(&v, p, sizeof v);
  return _mm256_set1_epi32(v);
}
V_INLINE vint v_madd16(vint a, vint b) { return _mm256_madd_epi16(a, b); }

struct v_rows {
  const unsigned char *p;
  size_t stride;
};

V_INLINE __m128i v_row16(const unsigned char *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }

V_INLINE __m128i v_dwords4(const unsigned char *p, size_t one) {
  __m128i v = _mm_blend_epi32(v_row16(p), v_row16(p + one - 4), 2);
  v = _mm_blend_epi32(v, v_row16(p + 2 * one - 8), 4);
  return _mm_blend_epi32(v, v_row16(p + 3 * one - 12), 8);
}

V_INLINE vint v_load_dword(const struct v_rows *s, size_t offset) {
  const unsigned char *p = s->p + offset;
  const __m128i low = v_dwords4(p, s->stride), high = v_dwords4(p + 4 * s->stride, s->stride);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

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
  return _mm256_cvtph_ps(v_words8(s->p + offset, s->stride));
}

V_INLINE vint v_halves(const unsigned char *p, size_t four) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(v_row16(p)), v_row16(p + four), 1);
}

V_INLINE void v_load16(vint out[4], const struct v_rows *s, size_t offset) {
  const unsigned char *p = s->p + offset;
  const size_t one = s->stride, four = 4 * s->stride;
  const vint a = v_halves(p, four), b = v_halves(p + one, four);
  const vint c = v_halves(p + 2 * one, four), d = v_halves(p + 3 * one, four);
  const vint ab0 = _mm256_unpacklo_epi32(a, b), ab1 = _mm256_unpackhi_epi32(a, b);
  const vint cd0 = _mm256_unpacklo_epi32(c, d), cd1 = _mm256_unpackhi_epi32(c, d);
  out[0] = _mm256_unpacklo_epi64(ab0, cd0);
  out[1] = _mm256_unpackhi_epi64(ab0, cd0);
  out[2] = _mm256_unpacklo_epi64(ab1, cd1);
  out[3] = _mm256_unpackhi_epi64(ab1, cd1);
}

#if defined(__AVXVNNI__)

enum { V_BIAS8 = 128 };
V_INLINE vint v_code8(vint a) { return v_xor(a, v_set8(0x80)); }

V_INLINE vint v_dot4(vint acc, vint codes, vint x) { return _mm256_dpbusd_avx_epi32(acc, codes, x); }

V_INLINE vint v_dot(vint acc, const vint *codes, const int8_t *x, int quads, int bits, struct v_ahead ahead) {
  (void)bits;
  V_UNROLL
  for (int j = 0; j < quads; j++) {
    acc = v_dot4(acc, codes[j], v_broadcast32(x + 4 * j));
    v_fetch(ahead, j);
  }
  return acc;
}

#else

/* Eight-bit codes stay signed here: |code| times the activation with the code's sign fits the 16-bit pair sums
 * (128 · 127 · 2 < 2^15), an unsigned code times the activation would not. */
enum { V_BIAS8 = 0 };
V_INLINE vint v_code8(vint a) { return a; }

V_INLINE vint v_pairs(vint code, vint x, int bits) {
  if (bits == 8) return _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(x, code));
  return _mm256_maddubs_epi16(code, x);
}

/* Pair sums of b-bit codes are below 2^b · 127 · 2, so that 2^(7-b) of them fit 16 bits before they must be widened
 * (eight of four bits: 8 · 15 · 127 · 2 = 30480). */
V_INLINE vint v_dot(vint acc, const vint *codes, const int8_t *x, int quads, int bits, struct v_ahead ahead) {
  const int fit = bits <= 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 1, run = fit < quads ? fit : quads;
  V_UNROLL
  for (int j = 0; j < quads; j += run) {
    vint sum = v_pairs(codes[j], v_broadcast32(x + 4 * j), bits);
    v_fetch(ahead, j);
    V_UNROLL
    for (int i = 1; i < run; i++) {
      sum = _mm256_add_epi16(sum, v_pairs(codes[j + i], v_broadcast32(x + 4 * (j + i)), bits));
      v_fetch(ahead, j + i);
    }
    acc = v_add32(acc, v_madd16(sum, _mm256_set1_epi16(1)));
  }
  return acc;
}

#endif

#endif
