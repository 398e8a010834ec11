/* Block formats opened for TB_LANES rows at a time: codes as bytes, four consecutive values of row r in lane r, and one
 * scale per lane. Written once for every vector width; the operations come from simd/vec/lanes_*.h, which must be
 * included before. Block layouts: simd/dequant/dequant_ref.c.
 *
 * A block is opened in units that share loads, a unit is handed out in groups of 32 values:
 *   unpack_<f>_head(h, s)            scales of the whole block
 *   unpack_<f>_raw(raw, s, u)        bytes of unit u, transposed
 *   unpack_<f>_codes(c, raw, h, u, i)  group i of the unit: c[j] has values 4j … 4j+3 of the group
 * and group g = u·GROUPS + i of the block means, with p = part of value v (0, or v/16 where there are two):
 *   weight = h->d[g·PARTS + p] · (code - BIAS) + (ADDS ? h->add[g·PARTS + p] : 0).
 * Codes are unsigned and have BITS bits; with BITS = 8 they are whatever v_code8 made them, and BIAS says so. */
#ifndef TB_SIMD_VEC_UNPACK_H
#define TB_SIMD_VEC_UNPACK_H

struct v_head {
  vflt d[16], add[16];
  vint high[8]; /* bits above the raw codes, for formats that keep them apart */
};

#define UNPACK_SHAPE(f, values, bytes, bits, bias, parts, adds, units, groups, raw)                                    \
  enum {                                                                                                               \
    UNPACK_##f##_VALUES = values,                                                                                      \
    UNPACK_##f##_BYTES = bytes,                                                                                        \
    UNPACK_##f##_BITS = bits,                                                                                          \
    UNPACK_##f##_BIAS = bias,                                                                                          \
    UNPACK_##f##_PARTS = parts,                                                                                        \
    UNPACK_##f##_ADDS = adds,                                                                                          \
    UNPACK_##f##_UNITS = units,                                                                                        \
    UNPACK_##f##_GROUPS = groups,                                                                                      \
    UNPACK_##f##_RAW = raw                                                                                             \
  };
#define UNPACK_HEAD(f) V_INLINE void unpack_##f##_head(struct v_head *h, const struct v_rows *s)
#define UNPACK_RAW(f) V_INLINE void unpack_##f##_raw(vint *raw, const struct v_rows *s, int u)
#define UNPACK_CODES(f) V_INLINE void unpack_##f##_codes(vint *c, const vint *raw, const struct v_head *h, int u, int i)

/*      format  values bytes bits bias    parts adds units groups raw */
UNPACK_SHAPE(q4_0, 32, 18, 4, 8, 1, 0, 1, 1, 4)
UNPACK_SHAPE(q4_1, 32, 20, 4, 0, 1, 1, 1, 1, 4)
UNPACK_SHAPE(q5_0, 32, 22, 5, 16, 1, 0, 1, 1, 4)
UNPACK_SHAPE(q5_1, 32, 24, 5, 0, 1, 1, 1, 1, 4)
UNPACK_SHAPE(q8_0, 32, 34, 8, V_BIAS8, 1, 0, 1, 1, 8)
UNPACK_SHAPE(iq4_nl, 32, 18, 8, V_BIAS8, 1, 0, 1, 1, 4)
UNPACK_SHAPE(q2_k, 256, 84, 2, 0, 2, 1, 2, 4, 8)
UNPACK_SHAPE(q3_k, 256, 110, 3, 4, 2, 0, 2, 4, 8)
UNPACK_SHAPE(q4_k, 256, 144, 4, 0, 1, 1, 4, 2, 8)
UNPACK_SHAPE(q5_k, 256, 176, 5, 0, 1, 1, 4, 2, 8)
UNPACK_SHAPE(q6_k, 256, 210, 6, 32, 2, 0, 2, 4, 24)
UNPACK_SHAPE(iq4_xs, 256, 136, 8, V_BIAS8, 1, 0, 8, 1, 4)

/* ---- pieces ---- */

V_INLINE vint unpack_low(vint a) { return v_and(a, v_set8(15)); }
V_INLINE vint unpack_high(vint a) { return v_and(v_srl(a, 4), v_set8(15)); }
/* Byte i of every lane as a number, unsigned or signed. */
V_INLINE vint unpack_byte(vint a, int i) { return v_and(v_srl(a, 8 * (unsigned)i), v_set32(255)); }
V_INLINE vint unpack_int8(vint a, int i) { return v_sra(v_sll(a, 24 - 8 * (unsigned)i), 24); }

/* Sixteen bytes of nibbles: values 0-15 low, 16-31 high. */
V_INLINE void unpack_nibbles(vint *c, const vint *raw) {
  for (int j = 0; j < 4; j++) {
    c[j] = unpack_low(raw[j]);
    c[j + 4] = unpack_high(raw[j]);
  }
}

/* The same through the 16 levels of iq4_nl and iq4_xs. */
V_INLINE void unpack_levels(vint *c, const vint *raw) {
  static const signed char levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  const vint table = v_code8(v_table((const unsigned char *)levels));
  unpack_nibbles(c, raw);
  for (int j = 0; j < 8; j++) c[j] = v_shuffle8(table, c[j]);
}

/* Fifth bits of 32 values, bit v of the lane for value v: spread over the bytes of group vector j. */
V_INLINE vint unpack_fifth(vint bits, int j) {
  static const unsigned char from[4][16] = {{0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12},
                                            {1, 1, 1, 1, 5, 5, 5, 5, 9, 9, 9, 9, 13, 13, 13, 13},
                                            {2, 2, 2, 2, 6, 6, 6, 6, 10, 10, 10, 10, 14, 14, 14, 14},
                                            {3, 3, 3, 3, 7, 7, 7, 7, 11, 11, 11, 11, 15, 15, 15, 15}};
  const vint bit = v_set32(j % 2 ? (int)0x80402010u : 0x08040201);
  return v_where_bit(v_shuffle8(bits, v_table(from[j / 2])), bit, v_set8(16));
}

V_INLINE void unpack_five(vint *c, const vint *raw, vint bits) {
  unpack_nibbles(c, raw);
  for (int j = 0; j < 8; j++) c[j] = v_or(c[j], unpack_fifth(bits, j));
}

/* A byte's bits `from` … moved to start at bit `to`, under a mask of bytes. */
V_INLINE vint unpack_bits(vint a, int from, int to, int mask) {
  return v_and(from > to ? v_srl(a, (unsigned)(from - to)) : v_sll(a, (unsigned)(to - from)), v_set8(mask));
}

/* ---- formats with 32 values per block ---- */

UNPACK_HEAD(q4_0) { h->d[0] = v_load_half(s, 0); }
UNPACK_RAW(q4_0) { (void)u, v_load16(raw, s, 2); }
UNPACK_CODES(q4_0) { (void)h, (void)u, (void)i, unpack_nibbles(c, raw); }

UNPACK_HEAD(q4_1) {
  const vint dm = v_load_dword(s, 0);
  h->d[0] = v_half_low(dm);
  h->add[0] = v_half_high(dm);
}
UNPACK_RAW(q4_1) { (void)u, v_load16(raw, s, 4); }
UNPACK_CODES(q4_1) { (void)h, (void)u, (void)i, unpack_nibbles(c, raw); }

UNPACK_HEAD(q5_0) {
  h->d[0] = v_load_half(s, 0);
  h->high[0] = v_load_dword(s, 2);
}
UNPACK_RAW(q5_0) { (void)u, v_load16(raw, s, 6); }
UNPACK_CODES(q5_0) { (void)u, (void)i, unpack_five(c, raw, h->high[0]); }

UNPACK_HEAD(q5_1) {
  const vint dm = v_load_dword(s, 0);
  h->d[0] = v_half_low(dm);
  h->add[0] = v_half_high(dm);
  h->high[0] = v_load_dword(s, 4);
}
UNPACK_RAW(q5_1) { (void)u, v_load16(raw, s, 8); }
UNPACK_CODES(q5_1) { (void)u, (void)i, unpack_five(c, raw, h->high[0]); }

UNPACK_HEAD(q8_0) { h->d[0] = v_load_half(s, 0); }
UNPACK_RAW(q8_0) {
  (void)u;
  v_load16(raw, s, 2);
  v_load16(raw + 4, s, 18);
}
UNPACK_CODES(q8_0) {
  (void)h, (void)u, (void)i;
  for (int j = 0; j < 8; j++) c[j] = v_code8(raw[j]);
}

UNPACK_HEAD(iq4_nl) { h->d[0] = v_load_half(s, 0); }
UNPACK_RAW(iq4_nl) { (void)u, v_load16(raw, s, 2); }
UNPACK_CODES(iq4_nl) { (void)h, (void)u, (void)i, unpack_levels(c, raw); }

/* ---- formats with 256 values per block ---- */

UNPACK_HEAD(q2_k) {
  vint sm[4];
  const vint dm = v_load_dword(s, 80);
  const vflt d = v_half_low(dm), dmin = v_neg(v_half_high(dm));
  v_load16(sm, s, 0);
  for (int g = 0; g < 16; g++) {
    h->d[g] = v_mul(d, v_float(unpack_byte(unpack_low(sm[g / 4]), g % 4)));
    h->add[g] = v_mul(dmin, v_float(unpack_byte(unpack_high(sm[g / 4]), g % 4)));
  }
}
UNPACK_RAW(q2_k) {
  v_load16(raw, s, 16 + 32 * (size_t)u);
  v_load16(raw + 4, s, 32 + 32 * (size_t)u);
}
UNPACK_CODES(q2_k) {
  (void)h, (void)u;
  for (int j = 0; j < 8; j++) c[j] = unpack_bits(raw[j], 2 * i, 0, 3);
}

/* The last 16 bytes of the block are two of codes, 12 of scales, two of d: the scales are shifted into place. */
UNPACK_HEAD(q3_k) {
  vint t[4], low[4];
  v_load16(t, s, 94);
  const vflt d = v_half_high(t[3]);
  const vint s0 = v_or(v_srl(t[0], 16), v_sll(t[1], 16)), s1 = v_or(v_srl(t[1], 16), v_sll(t[2], 16));
  const vint s2 = v_or(v_srl(t[2], 16), v_sll(t[3], 16));
  low[0] = unpack_low(s0);
  low[1] = unpack_low(s1);
  low[2] = unpack_high(s0);
  low[3] = unpack_high(s1);
  for (int g = 0; g < 16; g++) {
    const vint scale = v_or(low[g / 4], unpack_bits(s2, 2 * (g / 4), 4, 0x30));
    h->d[g] = v_mul(d, v_float(v_add32(unpack_byte(scale, g % 4), v_set32(-32))));
  }
  v_load16(h->high, s, 0);
  v_load16(h->high + 4, s, 16);
}
UNPACK_RAW(q3_k) {
  v_load16(raw, s, 32 + 32 * (size_t)u);
  v_load16(raw + 4, s, 48 + 32 * (size_t)u);
}
UNPACK_CODES(q3_k) {
  for (int j = 0; j < 8; j++) c[j] = v_or(unpack_bits(raw[j], 2 * i, 0, 3), unpack_bits(h->high[j], 4 * u + i, 2, 4));
}

/* t: the first 16 bytes of a q4_k or q5_k block: d, dmin, and 12 bytes of six-bit scales and minima. */
V_INLINE void unpack_scales_k(struct v_head *h, const vint *t) {
  const vflt d = v_half_low(t[0]), dmin = v_neg(v_half_high(t[0]));
  const vint six = v_set8(63);
  vint scale[2], minimum[2];
  scale[0] = v_and(t[1], six);
  minimum[0] = v_and(t[2], six);
  scale[1] = v_or(unpack_low(t[3]), unpack_bits(t[1], 6, 4, 0x30));
  minimum[1] = v_or(unpack_high(t[3]), unpack_bits(t[2], 6, 4, 0x30));
  for (int g = 0; g < 8; g++) {
    h->d[g] = v_mul(d, v_float(unpack_byte(scale[g / 4], g % 4)));
    h->add[g] = v_mul(dmin, v_float(unpack_byte(minimum[g / 4], g % 4)));
  }
}

UNPACK_HEAD(q4_k) {
  vint t[4];
  v_load16(t, s, 0);
  unpack_scales_k(h, t);
}
UNPACK_RAW(q4_k) {
  v_load16(raw, s, 16 + 32 * (size_t)u);
  v_load16(raw + 4, s, 32 + 32 * (size_t)u);
}
UNPACK_CODES(q4_k) {
  (void)h, (void)u;
  for (int j = 0; j < 8; j++) c[j] = unpack_bits(raw[j], 4 * i, 0, 15);
}

UNPACK_HEAD(q5_k) {
  vint t[4];
  v_load16(t, s, 0);
  unpack_scales_k(h, t);
  v_load16(h->high, s, 16);
  v_load16(h->high + 4, s, 32);
}
UNPACK_RAW(q5_k) {
  v_load16(raw, s, 48 + 32 * (size_t)u);
  v_load16(raw + 4, s, 64 + 32 * (size_t)u);
}
UNPACK_CODES(q5_k) {
  for (int j = 0; j < 8; j++) c[j] = v_or(unpack_bits(raw[j], 4 * i, 0, 15), unpack_bits(h->high[j], 2 * u + i, 4, 16));
}

UNPACK_HEAD(q6_k) {
  vint t[4];
  const vflt d = v_load_half(s, 208);
  v_load16(t, s, 192);
  for (int g = 0; g < 16; g++) h->d[g] = v_mul(d, v_float(unpack_int8(t[g / 4], g % 4)));
}
/* 64 bytes of low nibbles, then 32 of bit pairs. */
UNPACK_RAW(q6_k) {
  for (int j = 0; j < 4; j++) v_load16(raw + 4 * j, s, 64 * (size_t)u + 16 * (size_t)j);
  for (int j = 0; j < 2; j++) v_load16(raw + 16 + 4 * j, s, 128 + 32 * (size_t)u + 16 * (size_t)j);
}
UNPACK_CODES(q6_k) {
  (void)h, (void)u;
  for (int j = 0; j < 8; j++)
    c[j] = v_or(unpack_bits(raw[8 * (i % 2) + j], i / 2 * 4, 0, 15), unpack_bits(raw[16 + j], 2 * i, 4, 0x30));
}

UNPACK_HEAD(iq4_xs) {
  const vint dh = v_load_dword(s, 0), low = v_load_dword(s, 4);
  const vflt d = v_half_low(dh);
  for (int g = 0; g < 8; g++) {
    const vint high = v_and(v_sll(v_srl(dh, 16 + 2 * (unsigned)g), 4), v_set32(0x30));
    const vint scale = v_or(v_and(v_srl(low, 4 * (unsigned)g), v_set32(15)), high);
    h->d[g] = v_mul(d, v_float(v_add32(scale, v_set32(-32))));
  }
}
UNPACK_RAW(iq4_xs) { v_load16(raw, s, 8 + 16 * (size_t)u); }
UNPACK_CODES(iq4_xs) { (void)h, (void)u, (void)i, unpack_levels(c, raw); }

#endif
