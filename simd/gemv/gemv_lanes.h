/* gemv of one block format for x86: TB_LANES rows side by side (simd/vec/unpack.h), so that scales are decoded once per
 * lane, activations are loaded once for all rows, and the rows are read as that many parallel streams.
 * Included once per format with FMT (the format) and TIER (the suffix) defined. Rows are summed independently and in
 * the same order wherever they stand. */
#define CAT4_(a, b, c, d) a##b##c##d
#define CAT4(a, b, c, d) CAT4_(a, b, c, d)
#define U(what) CAT4(UNPACK_, FMT, _, what)
#define F(what) CAT4(unpack_, FMT, _, what)
#define NAMED(what) CAT4(what, FMT, _, TIER)

/* acc + the products of group g of a block with group n of the activations. */
V_INLINE vflt NAMED(group_)(vflt acc, const vint *c, const struct v_head *h, int g, const struct tb_acts *x, size_t n,
                            struct v_ahead ahead, struct v_ahead ahead2) {
  const int8_t *q = x->q + 32 * n;
  const vint sums = v_broadcast32(x->s + 2 * n); /* two 16-bit sums of 16 codes */
  const vflt d = v_setf(x->d[n]);
  if (U(PARTS) == 1) {
    const vint bias = v_madd16(sums, v_set32((int)((unsigned)(-U(BIAS)) << 16 | (-U(BIAS) & 0xffff))));
    acc = v_fma(v_mul(v_float(v_dot(bias, c, q, 8, U(BITS), ahead)), h->d[g]), d, acc);
    if (U(ADDS)) acc = v_fma(h->add[g], v_setf(x->d[n] * (float)(x->s[2 * n] + x->s[2 * n + 1])), acc);
    return acc;
  }
  const vint bias0 = v_madd16(sums, v_set32(-U(BIAS) & 0xffff));
  const vint bias1 = v_madd16(sums, v_set32((int)((unsigned)(-U(BIAS)) << 16)));
  vflt sum = v_mul(v_float(v_dot(bias0, c, q, 4, U(BITS), ahead)), h->d[2 * g]);
  sum = v_fma(v_float(v_dot(bias1, c + 4, q + 16, 4, U(BITS), ahead2)), h->d[2 * g + 1], sum);
  if (U(ADDS)) {
    sum = v_fma(h->add[2 * g], v_setf((float)x->s[2 * n]), sum);
    sum = v_fma(h->add[2 * g + 1], v_setf((float)x->s[2 * n + 1]), sum);
  }
  return v_fma(sum, d, acc);
}

/* next: as many bytes as this block of all rows has, to be fetched meanwhile. */
V_INLINE vflt NAMED(block_)(vflt acc, const struct v_rows *s, const struct tb_acts *x, size_t block,
                            const unsigned char *next) {
  enum { GROUP_BYTES = TB_LANES * U(BYTES) * 32 / U(VALUES) };
  struct v_head h;
  vint raw[U(RAW)], c[8];
  F(head)(&h, s);
  V_UNROLL
  for (int u = 0; u < U(UNITS); u++) {
    F(raw)(raw, s, u);
    V_UNROLL
    for (int i = 0; i < U(GROUPS); i++) {
      const int g = u * U(GROUPS) + i;
      F(codes)(c, raw, &h, u, i);
      const int half = U(PARTS) == 1 ? GROUP_BYTES : GROUP_BYTES / 2, vectors = 8 / U(PARTS);
      const struct v_ahead ahead = {next, g * GROUP_BYTES, half, vectors};
      const struct v_ahead ahead2 = {next, g * GROUP_BYTES + half, GROUP_BYTES - half, vectors};
      acc = NAMED(group_)(acc, c, &h, g, x, block * (U(VALUES) / 32) + (size_t)g, ahead, ahead2);
    }
  }
  return acc;
}

/* TB_LANES rows. The rows after them lie behind in memory and are fetched meanwhile: in the next call too, as a rule. */
static vflt NAMED(panel_)(const unsigned char *w, size_t row_bytes, const struct tb_acts *x) {
  struct v_rows s = {w, row_bytes};
  const unsigned char *next = w + TB_LANES * row_bytes;
  vflt acc = v_zero();
  for (size_t b = 0; b < x->k / U(VALUES); b++) {
    acc = NAMED(block_)(acc, &s, x, b, next);
    next += TB_LANES * U(BYTES);
    s.p += U(BYTES);
  }
  return acc;
}

/* Fewer rows than lanes: blocks are copied together first. */
static vflt NAMED(rest_)(const unsigned char *w, size_t row_bytes, size_t rows, const struct tb_acts *x) {
  unsigned char copy[TB_LANES * U(BYTES)] = {0};
  const struct v_rows s = {copy, U(BYTES)};
  vflt acc = v_zero();
  for (size_t b = 0; b < x->k / U(VALUES); b++) {
    for (size_t r = 0; r < rows; r++) memcpy(copy + r * U(BYTES), w + r * row_bytes + b * U(BYTES), U(BYTES));
    acc = NAMED(block_)(acc, &s, x, b, copy);
  }
  return acc;
}

void NAMED(tb_gemv_) TB_GEMV_ARGS {
  const unsigned char *p = w;
  for (size_t r = 0; r < rows; r += TB_LANES, p += TB_LANES * row_bytes) {
    const size_t n = rows - r < TB_LANES ? rows - r : TB_LANES;
    const vflt sum = n == TB_LANES ? NAMED(panel_)(p, row_bytes, x) : NAMED(rest_)(p, row_bytes, n, x);
    v_storef_n(y + r, sum, n);
  }
}

#undef CAT4_
#undef CAT4
#undef U
#undef F
#undef NAMED
#undef FMT
