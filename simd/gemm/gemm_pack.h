/* Opening a panel of one block format (gemm_x86.h) and the gemm kernel of that format. Included once per format with
 * FMT, TIER and TILES (the table of tile kernels) defined. */
#define CAT4_(a, b, c, d) a##b##c##d
#define CAT4(a, b, c, d) CAT4_(a, b, c, d)
#define U(what) CAT4(UNPACK_, FMT, _, what)
#define F(what) CAT4(unpack_, FMT, _, what)
#define NAMED(what) CAT4(what, FMT, _, TIER)

V_INLINE void NAMED(pack_block_)(unsigned char *group, int m, const struct v_rows *s, const unsigned char *next) {
  enum { CODES = GEMM_CODE_VECTORS(U(BITS)), BYTES = TB_LANES * U(BYTES) * 32 / U(VALUES) };
  struct v_head h;
  vint raw[U(RAW)], c[CODES];
  F(head)(&h, s);
  V_UNROLL
  for (int u = 0; u < U(UNITS); u++) {
    F(raw)(raw, s, u);
    V_UNROLL
    for (int i = 0; i < U(GROUPS); i++) {
      const int g = u * U(GROUPS) + i;
      const struct v_ahead ahead = {next, g * BYTES, BYTES, CODES};
      F(codes)(c, raw, &h, u, i);
      gemm_codes(c, U(BITS));
      unsigned char *at = group + m * VECTOR_BYTES;
      V_UNROLL
      for (int j = 0; j < CODES; j++, at += GEMM_MR * VECTOR_BYTES) {
        v_storei(at, c[j]);
        v_fetch(ahead, j);
      }
      for (int p = 0; p < U(PARTS); p++, at += GEMM_MR * VECTOR_BYTES) v_storef((float *)(void *)at, h.d[g * U(PARTS) + p]);
      for (int p = 0; p < U(PARTS) * U(ADDS); p++, at += GEMM_MR * VECTOR_BYTES)
        v_storef((float *)(void *)at, h.add[g * U(PARTS) + p]);
      group += (CODES + U(PARTS) * (1 + U(ADDS))) * GEMM_MR * VECTOR_BYTES;
    }
  }
}

static void NAMED(pack_)(unsigned char *panel, int m, const unsigned char *w, size_t row_bytes, size_t rows, size_t first,
                         size_t blocks, const unsigned char *next) {
  enum { BLOCK = (GEMM_CODE_VECTORS(U(BITS)) + U(PARTS) * (1 + U(ADDS))) * GEMM_MR * VECTOR_BYTES * (U(VALUES) / 32) };
  /* Where rows are missing the others are gathered together first; missing ones are zero. */
  unsigned char copy[TB_LANES * U(BYTES)];
  const bool whole = rows == TB_LANES;
  struct v_rows s = {w + first * U(BYTES), row_bytes};
  if (!whole) {
    memset(copy, 0, sizeof copy);
    s.p = copy;
    s.stride = U(BYTES);
  }
  for (size_t b = 0; b < blocks; b++, panel += BLOCK) {
    if (!whole)
      for (size_t r = 0; r < rows; r++) memcpy(copy + r * U(BYTES), w + r * row_bytes + (first + b) * U(BYTES), U(BYTES));
    NAMED(pack_block_)(panel, m, &s, next);
    next += TB_LANES * U(BYTES);
    if (whole) s.p += U(BYTES);
  }
}

_Static_assert(!U(ADDS) || GEMM_BIAS(U(BITS), U(BIAS)) == 0, "a record has room for offsets or for minima");

static const struct gemm_kind NAMED(kind_) = {
    U(VALUES), U(BYTES), GEMM_BIAS(U(BITS), U(BIAS)), U(PARTS), U(ADDS), GEMM_NR, NAMED(pack_), TILES};

void NAMED(tb_gemm_) TB_GEMM_ARGS { gemm_blocks(&NAMED(kind_), y, ldy, w, row_bytes, rows, x, n_cols, scratch); }

#undef CAT4_
#undef CAT4
#undef U
#undef F
#undef NAMED
#undef FMT
#undef TILES
