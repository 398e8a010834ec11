/* gemv for AVX-512 VNNI: formats with 32 values per block, and floats. Formats with 256: gemv_super_avx512.c. */
#include <stdbool.h>

#include "simd/gemv/gemv_rows_avx512.h"

#define TIER avx512
#define FMT f32
#define FMT_BYTES 4
#include "simd/gemv/gemv_floats.h"
#define FMT f16
#define FMT_BYTES 2
#include "simd/gemv/gemv_floats.h"
#define FMT bf16
#define FMT_BYTES 2
#include "simd/gemv/gemv_floats.h"

/* ---- blocks of 16 bytes of nibbles behind a head of up to four words: four blocks are a span ---- */

/* Quarter b of a vector belongs to block b: its values 0-15 are in low, 16-31 in high. ds is a quarter of d · Σ q: it is
 * multiplied with a minimum in four lanes. */
struct span4 {
  vint low, high, start;
  vflt d, ds;
};

V_INLINE __mmask64 first_bytes(size_t n) { return n >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << n) - 1; }
V_INLINE vint bytes_n(const void *p, size_t n) {
  return n >= 64 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi8(first_bytes(n), p);
}

/* Four floats, each to the lanes of its quarter. */
V_INLINE vflt to_quarters(__m128 v) {
  return _mm512_permutexvar_ps(LANES_OF(0, 1, 2, 3), _mm512_castps128_ps512(v));
}

V_INLINE void load4(struct span4 *s, const struct tb_acts *x, size_t i, size_t blocks, int offset, bool minima) {
  const __mmask8 some = (__mmask8)((1u << blocks) - 1);
  const vint x0 = bytes_n(x->q + i, 32 * blocks);
  const vint x1 = blocks > 2 ? bytes_n(x->q + i + 64, 32 * blocks - 64) : _mm512_setzero_si512();
  const __m128 d = blocks == 4 ? _mm_loadu_ps(x->d + i / 32) : _mm_maskz_loadu_ps(some, x->d + i / 32);
  s->low = _mm512_shuffle_i64x2(x0, x1, 0x88);
  s->high = _mm512_shuffle_i64x2(x0, x1, 0xdd);
  s->d = to_quarters(d);
  if (offset) s->start = v_add32(row_start(s->low, offset), row_start(s->high, offset));
  if (minima) {
    const __m128i sums = blocks == 4 ? v_row16((const unsigned char *)(x->s + i / 16))
                                     : _mm_maskz_loadu_epi32(some, x->s + i / 16);
    const __m128 both = _mm_cvtepi32_ps(_mm_madd_epi16(sums, _mm_set1_epi16(1)));
    s->start = _mm512_setzero_si512();
    s->ds = to_quarters(_mm_mul_ps(_mm_mul_ps(both, d), _mm_set1_ps(0.25f)));
  }
}

/* The words of four blocks of `bytes` bytes: 32 in v[0], the rest in v[1]. */
V_INLINE void words4(vint v[2], const unsigned char *p, size_t blocks, int bytes) {
  const size_t n = blocks * (size_t)bytes;
  v[0] = bytes_n(p, n);
  if (n == 72)
    v[1] = _mm512_castsi128_si512(_mm_loadl_epi64((const __m128i *)(const void *)(p + 64)));
  else if (n == 80)
    v[1] = _mm512_castsi128_si512(v_row16(p + 64));
  else
    v[1] = n <= 64 ? _mm512_setzero_si512()
                   : _mm512_castsi256_si512(_mm256_maskz_loadu_epi8((__mmask32)first_bytes(n - 64), p + 64));
}

/* Words from + j of every block, j = 0 … 7 in its quarter. */
V_INLINE vint codes4(const vint v[2], int words, int from) {
  const vint j = _mm512_broadcast_i32x4(_mm_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7));
  const vint block = _mm512_mullo_epi32(LANES_OF(0, 1, 2, 3), v_set32(words << 16 | words));
  const vint first = _mm512_add_epi16(block, _mm512_set1_epi16((short)from));
  return _mm512_permutex2var_epi16(v[0], _mm512_add_epi16(j, first), v[1]);
}

/* Word `at` of every block as a half-precision number in its quarter. */
V_INLINE vflt halves4(const vint v[2], int words, int at) {
  const vint block = _mm512_mullo_epi32(LANES_OF(0, 1, 2, 3), v_set32(words));
  const vint index = _mm512_castsi256_si512(_mm512_cvtepi32_epi16(v_add32(block, v_set32(at))));
  const bool one = 3 * words + at < 32;
  const vint w = one ? _mm512_permutexvar_epi16(index, v[0]) : _mm512_permutex2var_epi16(v[0], index, v[1]);
  return _mm512_cvtph_ps(_mm512_castsi512_si256(w));
}

/* Adds 16 where a value has its fifth bit: words `at` (values 0-15) and at + 1 of every block. */
V_INLINE void fifth4(vint *low, vint *high, const vint v[2], int words, int at) {
  const __m128i blocks = _mm_setr_epi16(0, 1, 2, 3, 0, 1, 2, 3);
  const __m128i index = _mm_add_epi16(_mm_mullo_epi16(blocks, _mm_set1_epi16((short)words)),
                                      _mm_setr_epi16((short)at, (short)at, (short)at, (short)at, (short)(at + 1),
                                                     (short)(at + 1), (short)(at + 1), (short)(at + 1)));
  const __m128i bits = _mm512_castsi512_si128(_mm512_permutex2var_epi16(v[0], _mm512_castsi128_si512(index), v[1]));
  *low = _mm512_mask_add_epi8(*low, _cvtu64_mask64((uint64_t)_mm_cvtsi128_si64(bits)), *low, v_set8(16));
  *high = _mm512_mask_add_epi8(*high, _cvtu64_mask64((uint64_t)_mm_extract_epi64(bits, 1)), *high, v_set8(16));
}

/* head: words before the codes, the first of them d; minimum: the word after it, where there is one; fifth: the word
 * where fifth bits begin, or 0; levels: codes are indices of levels. */
V_INLINE vflt step4(vflt acc, const unsigned char *w, const struct span4 *x, size_t blocks, int head, bool minimum,
                    int fifth, bool levels) {
  const int words = head + 8;
  vint v[2];
  words4(v, w, blocks, 2 * words);
  const vint codes = codes4(v, words, head);
  vint low = row_low(codes), high = row_high(codes);
  if (fifth) fifth4(&low, &high, v, words, fifth);
  if (levels) {
    low = row_levels(low);
    high = row_levels(high);
  }
  const vint dots = v_dot4(v_dot4(x->start, low, x->low), high, x->high);
  acc = row_add(acc, dots, v_mul(halves4(v, words, 0), x->d));
  return minimum ? v_fma(halves4(v, words, 1), x->ds, acc) : acc;
}

#define BLOCKS4(format, head, offset, minimum, fifth, levels)                                                          \
  V_INLINE void load_##format(struct span4 *s, const struct tb_acts *x, size_t i, size_t blocks) {                     \
    load4(s, x, i, blocks, offset, minimum);                                                                           \
  }                                                                                                                    \
  V_INLINE vflt step_##format(vflt acc, const unsigned char *w, const struct span4 *x, size_t blocks, int r) {         \
    (void)r;                                                                                                           \
    return step4(acc, w, x, blocks, head, minimum, fifth, levels);                                                     \
  }                                                                                                                    \
  NO_HEADS(format, struct span4)                                                                                       \
  ROWS_GEMV(format, struct span4, 32, 2 * (head) + 16, 4)

BLOCKS4(q4_0, 1, 8, false, 0, false)
BLOCKS4(q4_1, 2, 0, true, 0, false)
BLOCKS4(q5_0, 3, 16, false, 1, false)
BLOCKS4(q5_1, 4, 0, true, 2, false)
BLOCKS4(iq4_nl, 1, V_BIAS8, false, 0, true)

/* ---- q8_0: two blocks are a vector of codes, four a span ---- */

struct span_q8_0 {
  vint x[2], start[2];
  vflt d[2];
};

V_INLINE void load_q8_0(struct span_q8_0 *s, const struct tb_acts *x, size_t i, size_t blocks) {
  const vint pair = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  const size_t pairs = (blocks + 1) / 2;
  V_UNROLL
  for (size_t p = 0; p < pairs; p++) {
    const size_t at = i + 64 * p, left = blocks - 2 * p;
    const __m128 d = _mm_maskz_loadu_ps(left >= 2 ? 3 : 1, x->d + at / 32);
    s->x[p] = bytes_n(x->q + at, 32 * left);
    s->start[p] = row_start(s->x[p], V_BIAS8);
    s->d[p] = _mm512_permutexvar_ps(pair, _mm512_castps128_ps512(d));
  }
}

V_INLINE vflt pair_q8_0(vflt acc, const unsigned char *w, vint x, vint start, vflt d, bool both) {
  const vint index = _mm512_castsi256_si512(_mm256_setr_epi16(0, 0, 0, 0, 0, 0, 0, 0, 17, 17, 17, 17, 17, 17, 17, 17));
  const vint head = bytes_n(w, both ? 64 : 34);
  vint codes = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)(w + 2)));
  if (both) codes = _mm512_inserti64x4(codes, _mm256_loadu_si256((const __m256i *)(const void *)(w + 36)), 1);
  const vflt scale = _mm512_cvtph_ps(_mm512_castsi512_si256(_mm512_permutexvar_epi16(index, head)));
  return row_add(acc, v_dot4(start, v_code8(codes), x), v_mul(scale, d));
}

V_INLINE vflt step_q8_0(vflt acc, const unsigned char *w, const struct span_q8_0 *x, size_t blocks, int r) {
  (void)r;
  V_UNROLL
  for (size_t p = 0; p < blocks / 2; p++) acc = pair_q8_0(acc, w + 68 * p, x->x[p], x->start[p], x->d[p], true);
  if (blocks % 2) {
    const size_t p = blocks / 2;
    acc = pair_q8_0(acc, w + 68 * p, x->x[p], x->start[p], x->d[p], false);
  }
  return acc;
}

NO_HEADS(q8_0, struct span_q8_0)
ROWS_GEMV(q8_0, struct span_q8_0, 32, 34, 4)
