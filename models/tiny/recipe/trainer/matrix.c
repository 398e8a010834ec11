#include "matrix.h"

typedef __m512 tile[4][4];

static inline __attribute__((always_inline)) void tile_kernel(int n_pairs, const pair *a, int row_stride, int step,
                                                              const pair *b, float *c, int ldc, bool accumulate) {
  tile sum;
#pragma GCC unroll 4
  for (int r = 0; r < 4; r++) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
      sum[r][j] = accumulate ? load(c + r * ldc + 16 * j) : zero();
  }
  for (int i = 0; i < n_pairs; i++, a += step, b += 64) {
    __m512bh column[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
      column[j] = (__m512bh)load(b + 16 * j);
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
      __m512bh row = (__m512bh)_mm512_set1_epi32((int)a[r * row_stride]);
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++)
        sum[r][j] = _mm512_dpbf16_ps(sum[r][j], row, column[j]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < 4; r++) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
      store(c + r * ldc + 16 * j, sum[r][j]);
  }
}

void multiply_tile(int n_pairs, const pair *a, int row_stride, int step, const pair *b, float *c, int ldc) {
  tile_kernel(n_pairs, a, row_stride, step, b, c, ldc, true);
}

void multiply(int m, int n, int k, const bf16 *a, int lda, const pair *b, float *c, int ldc, bool accumulate) {
  enum { BLOCK = 128 }; /* pairs: a panel's block of 32 KiB stays in the first-level cache */
  int n_pairs = k / 2;
  for (int panel = 0; panel < n / 64; panel++)
    for (int from = 0; from < n_pairs; from += BLOCK) {
      int length = n_pairs - from < BLOCK ? n_pairs - from : BLOCK;
      const pair *block = b + (panel * n_pairs + from) * 64;
      for (int row = 0; row < m; row += 4)
        tile_kernel(length, (const pair *)(a + row * lda) + from, lda / 2, 1, block, c + row * ldc + panel * 64, ldc,
                    accumulate || from > 0);
    }
}

void transpose16(const pair *source, int stride, pair *target, int target_stride) {
  __m512i r[16], t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++)
    r[i] = _mm512_loadu_si512(source + i * stride);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) { /* 0x88 takes the even 128-bit parts of both operands, 0xdd the odd ones */
    __m512i even = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88), odd = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
    __m512i even2 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88),
            odd2 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
    _mm512_storeu_si512(target + j * target_stride, _mm512_shuffle_i32x4(even, even2, 0x88));
    _mm512_storeu_si512(target + (8 + j) * target_stride, _mm512_shuffle_i32x4(even, even2, 0xdd));
    _mm512_storeu_si512(target + (4 + j) * target_stride, _mm512_shuffle_i32x4(odd, odd2, 0x88));
    _mm512_storeu_si512(target + (12 + j) * target_stride, _mm512_shuffle_i32x4(odd, odd2, 0xdd));
  }
}

void pack_transpose(const bf16 *source, int stride, int n, int k, pair *packed) {
  const pair *pairs = (const pair *)source;
  for (int row = 0; row < n; row += 16)
    for (int i = 0; i < k / 2; i += 16)
      transpose16(pairs + row * (stride / 2) + i, stride / 2, packed + (row / 64 * (k / 2) + i) * 64 + row % 64, 64);
}

/* Lanes that interleave the first and the second half of two rows of 32 values. */
static const uint16_t first_half[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                        8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
static const uint16_t second_half[32] = {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
                                         24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};

static inline void interleave(const bf16 *row, const bf16 *next, __m512i *low, __m512i *high) {
  __m512i a = _mm512_loadu_si512(row), b = _mm512_loadu_si512(next);
  *low = _mm512_permutex2var_epi16(a, _mm512_loadu_si512(first_half), b);
  *high = _mm512_permutex2var_epi16(a, _mm512_loadu_si512(second_half), b);
}

void pack(const bf16 *source, int stride, int k, int n, pair *packed) {
  for (int panel = 0; panel < n / 64; panel++)
    for (int i = 0; i < k; i += 2, packed += 64) {
      const bf16 *row = source + i * stride + panel * 64;
      for (int j = 0; j < 64; j += 32) {
        __m512i low, high;
        interleave(row + j, row + stride + j, &low, &high);
        _mm512_storeu_si512(packed + j, low);
        _mm512_storeu_si512(packed + j + 16, high);
      }
    }
}

/* A left operand whose rows are the source's columns: [n/4][m/2][4] pairs. */
static void pack_left(const bf16 *source, int stride, int m, int n, pair *packed) {
  for (int column = 0; column < n; column += 32)
    for (int i = 0; i < m / 2; i++) {
      __m512i quarter[2];
      const bf16 *row = source + i * 2 * stride + column;
      interleave(row, row + stride, &quarter[0], &quarter[1]);
      pair words[32];
      _mm512_storeu_si512(words, quarter[0]);
      _mm512_storeu_si512(words + 16, quarter[1]);
      for (int j = 0; j < 32; j += 4)
        _mm_storeu_si128((__m128i *)(packed + (column + j) * (m / 2) + i * 4), _mm_loadu_si128((__m128i *)(words + j)));
    }
}

void add_outer(int n, int k, int m, const bf16 *dy, int ldy, const bf16 *x, int ldx, float *g, pair *left,
               pair *right) {
  for (int row = 0; row < m; row += OUTER_ROWS) {
    int rows = m - row < OUTER_ROWS ? m - row : OUTER_ROWS, n_pairs = rows / 2;
    pack(x + row * ldx, ldx, rows, k, right);
    pack_left(dy + row * ldy, ldy, rows, n, left);
    for (int panel = 0; panel < k / 64; panel++)
      for (int i = 0; i < n; i += 4)
        multiply_tile(n_pairs, left + i * n_pairs, 1, 4, right + panel * n_pairs * 64, g + i * k + panel * 64, k);
  }
}
