/* gemv of one float format for x86, included once per format with FMT, FMT_BYTES and TIER defined and a
 * simd/vec/lanes_*.h before: four rows at a time share the loads of the activations; every row is summed in two vectors
 * of parallel chains, whatever rows stand beside it. Four and not more, because rows of a power of two bytes fall on
 * the same cache set. With STREAMS and AHEAD_FLOATS defined (gemv_rows_avx512.h) the four rows lie a quarter of the matrix apart,
 * otherwise they are neighbours. */
#define CAT4_(a, b, c, d) a##b##c##d
#define CAT4(a, b, c, d) CAT4_(a, b, c, d)
#define CAT2_(a, b) a##b
#define CAT2(a, b) CAT2_(a, b)
#define NAMED(what) CAT4(what, FMT, _, TIER)
#define WEIGHTS CAT2(v_weights_, FMT)

/* One step of 2·TB_LANES values, of which n are there (n a constant in the long loop). */
V_INLINE void NAMED(step_)(vflt acc[4][2], const unsigned char *w, size_t row_bytes, int rows, const float *f, size_t n) {
  const size_t n0 = n < TB_LANES ? n : TB_LANES, n1 = n - n0;
  const vflt x0 = v_loadf_n(f, n0), x1 = v_loadf_n(f + n0, n1);
  for (int r = 0; r < rows; r++) {
    const unsigned char *p = w + (size_t)r * row_bytes;
    acc[r][0] = v_fma(WEIGHTS(p, n0), x0, acc[r][0]);
    acc[r][1] = v_fma(WEIGHTS(p + n0 * FMT_BYTES, n1), x1, acc[r][1]);
  }
}

/* `rows` rows that lie `gap` bytes apart, to y and those `apart` behind it; w + r · gap + ahead is asked for on the way. */
V_INLINE void NAMED(rows_)(float *y, size_t apart, const unsigned char *w, size_t gap, int rows, size_t ahead, const float *f,
                           size_t k) {
  enum { STEP = 2 * TB_LANES };
  vflt acc[4][2];
  for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = v_zero();
  size_t i = 0;
  for (; i + STEP <= k; i += STEP) {
    const unsigned char *p = w + i * FMT_BYTES;
    for (int r = 0; r < rows; r++) v_prefetch(p + (size_t)r * gap + ahead);
    NAMED(step_)(acc, p, gap, rows, f + i, STEP);
  }
  if (i < k) NAMED(step_)(acc, w + i * FMT_BYTES, gap, rows, f + i, k - i);
  for (int r = 0; r < rows; r++) y[(size_t)r * apart] = v_sum(v_add(acc[r][0], acc[r][1]));
}

#ifdef STREAMS
void NAMED(tb_gemv_runs_) TB_GEMV_RUNS_ARGS {
  const unsigned char *p = w;
  for (size_t r = 0; r < rows; r++)
    NAMED(rows_)(y + r, ldy, p + r * row_bytes, apart * row_bytes, STREAMS, AHEAD_FLOATS, x->f, x->k);
}
#endif

void NAMED(tb_gemv_) TB_GEMV_ARGS {
  const unsigned char *p = w;
  size_t r = 0;
#ifdef STREAMS
  const size_t apart = rows / STREAMS;
  NAMED(tb_gemv_runs_)(y, apart, p, row_bytes, apart, apart, x);
  r = apart * STREAMS;
#else
  for (; r + 4 <= rows; r += 4)
    NAMED(rows_)(y + r, 1, p + r * row_bytes, row_bytes, 4, 4 * row_bytes, x->f, x->k);
#endif
  for (; r < rows; r++) NAMED(rows_)(y + r, 1, p + r * row_bytes, row_bytes, 1, row_bytes, x->f, x->k);
}

#undef CAT4_
#undef CAT4
#undef CAT2_
#undef CAT2
#undef NAMED
#undef WEIGHTS
#undef FMT
#undef FMT_BYTES
