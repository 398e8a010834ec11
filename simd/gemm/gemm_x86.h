/* gemm for x86, the part that no format changes: how rows, k and columns are blocked. A simd/vec/lanes_*.h is included
 * before, and the tile kernels (gemm_tile_vnni.h or gemm_tile_avx2.h) after.
 *
 * A panel is PANEL_ROWS rows by at most GEMM_KC values, opened once into scratch and used for all columns:
 *   for every group of 32 values: codes [quad][m], scales [part][m], addends [part][m], each a vector of TB_LANES rows,
 * where m counts the vectors of rows, and part the scales of a group (simd/vec/unpack.h). The columns' side is read in
 * place, but for a record per column and GEMM_KC values:
 *   d[16], and for codes with an offset start[part][16] = GEMM_MAGIC's bits - BIAS · Σ q, for those with a minimum, which
 *   have no offset, add[part][16] = d · Σ q                                          (sums over the part's values)
 * so that offsets cost nothing in the tile, and minima one multiply-add.
 *
 * With many columns all rows' panels of GEMM_KC values come before the next GEMM_KC values: the columns' part stays in the
 * second-level cache meanwhile, which all of k does not. With few, rows are read in the order of memory.
 *
 * Every output is summed in the order of k, one group after the other, through y where k is longer than GEMM_KC:
 * the same operations however rows and columns are cut. */
#ifndef TB_SIMD_GEMM_GEMM_X86_H
#define TB_SIMD_GEMM_GEMM_X86_H

#include "simd/gemm/gemm_rows_x86.h"
#include "simd/vec/unpack.h"

enum {
  GEMM_KC = 512, /* 32 rows of 512 codes with their scales stay in a first-level cache of 32 KiB */
  GEMM_GROUPS = GEMM_KC / 32,
  GEMM_NC = 512,       /* columns per pass over a panel */
  GEMM_MANY = 192,     /* columns: see above; between 128 and 256 both orders are as fast */
  RECORDS_AHEAD = 16,  /* columns: what records are made of is a line apart for each, in another core's cache */
  VECTOR_BYTES = 4 * TB_LANES,
  PANEL_BYTES = 40 * 1024,  /* most that a panel takes: 16 groups of 2 · (16 + 4) vectors of 64 bytes */
  RECORD_BYTES = TB_GEMM_SCRATCH - TB_GEMM_KEPT - PANEL_BYTES
};

/* The sum of a group's products starts from the bits of this float, 2^23 + 2^20, as an integer. As every sum is below
 * 2^20 in magnitude, the result read as a float is GEMM_MAGIC + sum, exactly, and
 *   fma(it, scale, -GEMM_MAGIC · scale) = sum · scale
 * with one rounding and no conversion: a scale is the product of a half-precision number and an integer of at most
 * eight bits, so that GEMM_MAGIC · scale needs no more than 23 bits. */
#define GEMM_MAGIC 0x1.2p23f
#define GEMM_MAGIC_BITS 0x4b100000

/* One tile: PANEL_ROWS × a few columns × `groups` groups. `rows` outputs per column are kept; y is continued unless
 * `first`. q: the columns' codes, k apart. record: the columns' records. */
#define TILE_ARGS                                                                                                      \
  (float *y, size_t ldy, size_t rows, bool first, const unsigned char *panel, size_t groups, const int8_t *q, size_t k,  \
   const float *record)
typedef void tile_fn TILE_ARGS;

/* Opens blocks [first, first + blocks) of `rows` ≤ TB_LANES rows as vector m of a panel. next: bytes to fetch meanwhile,
 * as many as are opened. */
typedef void pack_fn(unsigned char *panel, int m, const unsigned char *w, size_t row_bytes, size_t rows, size_t first,
                     size_t blocks, const unsigned char *next);

struct gemm_kind {
  size_t values, bytes;
  int bias, parts, adds;
  int tile_columns;
  pack_fn *pack;
  tile_fn *const *tiles; /* [number of columns], up to tile_columns */
};

/* What a record of GEMM_KC values takes, in floats. */
V_INLINE size_t record_floats(int parts) {
  return (size_t)GEMM_GROUPS * (size_t)(1 + parts);
}

/* Where the products of part p of a group start from in a column. */
V_INLINE vint tile_start(const float *record, int p, int adds) {
  return adds ? v_set32(GEMM_MAGIC_BITS) : v_broadcast32(record + GEMM_GROUPS * (1 + p));
}

/* Part p of a group in a tile: the sums `dot` (started as above) of both vectors of rows, scaled; the second part's are
 * added to the first's. There the sum becomes a float of its own, exactly, by the units that add. */
V_INLINE void tile_scale(vflt *scaled0, vflt *scaled1, const vint *dot0, const vint *dot1, const unsigned char *scales,
                         int nr, int p) {
  const float *scale = (const float *)(const void *)(scales + p * GEMM_MR * VECTOR_BYTES);
  const vflt scale0 = v_loadf(scale), scale1 = v_loadf(scale + TB_LANES), magic = v_setf(-GEMM_MAGIC);
  const vflt minus0 = v_mul(scale0, magic), minus1 = v_mul(scale1, magic);
  V_UNROLL
  for (int c = 0; c < nr; c++) {
    const vflt d0 = v_as_float(dot0[c]), d1 = v_as_float(dot1[c]);
    scaled0[c] = p ? v_fma(v_add(d0, magic), scale0, scaled0[c]) : v_fma(d0, scale0, minus0);
    scaled1[c] = p ? v_fma(v_add(d1, magic), scale1, scaled1[c]) : v_fma(d1, scale1, minus1);
  }
}

/* The end of a group in a tile: adds its scaled sums times the columns' scales, and the addends. record points to the
 * group's number in the first column's record. */
V_INLINE void tile_add(vflt *sum0, vflt *sum1, const vflt *scaled0, const vflt *scaled1, const unsigned char *scales,
                       const float *record, size_t floats, int nr, int parts, int adds) {
  const float *addend = (const float *)(const void *)(scales + parts * GEMM_MR * VECTOR_BYTES);
  V_UNROLL
  for (int c = 0; c < nr; c++) {
    const vflt d = v_setf(record[(size_t)c * floats]);
    sum0[c] = v_fma(scaled0[c], d, sum0[c]);
    sum1[c] = v_fma(scaled1[c], d, sum1[c]);
  }
  V_UNROLL
  for (int p = 0; p < parts * adds; p++, addend += GEMM_MR * TB_LANES)
    V_UNROLL
    for (int c = 0; c < nr; c++) {
      const vflt s = v_setf(record[(size_t)c * floats + (size_t)(GEMM_GROUPS * (1 + p))]);
      sum0[c] = v_fma(v_loadf(addend), s, sum0[c]);
      sum1[c] = v_fma(v_loadf(addend + TB_LANES), s, sum1[c]);
    }
}

/* One column's record for `groups` groups from group g on. */
static void make_record(const struct gemm_kind *kind, float *record, const float *d, const int16_t *s, size_t groups) {
  for (size_t g = 0; g < groups; g += TB_LANES) {
    const size_t n = groups - g < TB_LANES ? groups - g : TB_LANES;
    const vflt scale = v_loadf_n(d + g, n);
    const vint sums = v_bits(v_loadf_n((const float *)(const void *)(s + 2 * g), n)); /* two sums of 16 per dword */
    v_storef_n(record + g, scale, n);
    for (int part = 0; part < kind->parts; part++) {
      const unsigned low = kind->parts == 1 || part == 0, high = kind->parts == 1 || part == 1;
      const int bias = -kind->bias;
      const vint by_bias = v_set32((int)((high ? (unsigned)bias << 16 : 0) | (low ? (unsigned)bias & 0xffff : 0)));
      const vint by_one = v_set32((int)(high << 16 | low));
      float *at = record + GEMM_GROUPS * (1 + part) + g;
      if (kind->adds)
        v_storef_n(at, v_mul(scale, v_float(v_madd16(sums, by_one))), n);
      else
        v_storef_n(at, v_as_float(v_add32(v_madd16(sums, by_bias), v_set32(GEMM_MAGIC_BITS))), n);
    }
  }
}

/* Whose records are in the scratch: those of columns from col on, values from `from` on. */
struct kept {
  size_t id;
  const struct gemm_kind *kind;
  size_t col, from;
};
_Static_assert(sizeof(struct kept) <= TB_GEMM_KEPT, "the front of the scratch");

struct gemm_job {
  const struct gemm_kind *kind;
  float *y;
  size_t ldy;
  const unsigned char *w;
  size_t row_bytes, rows;
  const struct tb_acts *x;
  size_t col, cols; /* columns of this pass */
  struct kept *kept;
  unsigned char *panel;
  float *records; /* [KC block][column] */
};

static void make_records(const struct gemm_job *j, size_t from, size_t to) {
  const size_t floats = record_floats(j->kind->parts), k = j->x->k, end = j->col + j->cols;
  const struct kept these = {j->x->id, j->kind, j->col, from};
  if (these.id && !memcmp(j->kept, &these, sizeof these)) return;
  *j->kept = these;
  float *record = j->records;
  for (size_t i = from; i < to; i += GEMM_KC) {
    const size_t n = to - i < GEMM_KC ? to - i : GEMM_KC;
    for (size_t c = j->col; c < end; c++, record += floats) {
      const size_t ahead = (c + RECORDS_AHEAD < end ? c + RECORDS_AHEAD : c) * k + i;
      v_prefetch(j->x->d + ahead / 32);
      v_prefetch(j->x->s + ahead / 16);
      make_record(j->kind, record, j->x->d + (c * k + i) / 32, j->x->s + (c * k + i) / 16, n / 32);
    }
  }
}

/* Values of the block that begins at i. */
static size_t block_at(const struct gemm_job *j, size_t i) {
  return j->x->k - i < GEMM_KC ? j->x->k - i : GEMM_KC;
}

/* What is opened next, of each row so many bytes: fetched line by line beside the tiles. */
struct coming {
  const unsigned char *w;
  size_t row_bytes, rows, bytes, at;
};

static struct coming panel_at(const struct gemm_job *j, size_t row, size_t i) {
  const struct gemm_kind *kind = j->kind;
  const size_t left = j->rows - row;
  return (struct coming){.w = j->w + row * j->row_bytes + i / kind->values * kind->bytes,
                         .row_bytes = j->row_bytes,
                         .rows = left < PANEL_ROWS ? left : PANEL_ROWS,
                         .bytes = block_at(j, i) / kind->values * kind->bytes};
}

static void fetch_lines(struct coming *p, size_t lines) {
  for (; lines > 0 && p->rows > 0; lines--) {
    v_prefetch(p->w + p->at);
    p->at += 64;
    if (p->at < p->bytes + 63) continue; /* a row begins anywhere in a line */
    p->at = 0;
    p->w += p->row_bytes;
    p->rows--;
  }
}

static void open_panel(const struct gemm_job *j, size_t row, size_t i, size_t n) {
  const struct gemm_kind *kind = j->kind;
  const size_t blocks = n / kind->values, first = i / kind->values;
  for (size_t m = 0; m < GEMM_MR; m++) {
    const size_t r = row + m * TB_LANES, left = r < j->rows ? j->rows - r : 0;
    const unsigned char *w = j->w + r * j->row_bytes;
    /* The rows of the next panel, a slice as large as this one: over all of k every byte of them comes by once. */
    const bool more = j->cols < GEMM_MANY && left > PANEL_ROWS + TB_LANES;
    const unsigned char *next = more ? w + PANEL_ROWS * j->row_bytes + first * kind->bytes * TB_LANES : j->panel;
    kind->pack(j->panel, (int)m, w, j->row_bytes, left < TB_LANES ? left : TB_LANES, first, blocks, next);
  }
}

static void all_columns(const struct gemm_job *j, size_t row, size_t i, size_t n, const float *records,
                        struct coming coming) {
  const size_t k = j->x->k, left = j->rows - row, rows = left < PANEL_ROWS ? left : PANEL_ROWS;
  const size_t floats = record_floats(j->kind->parts), step = (size_t)j->kind->tile_columns;
  const size_t lines = coming.rows * (coming.bytes / 64 + 2) / (j->cols / step + 1) + 1; /* beside a tile */
  for (size_t c = 0; c < j->cols; c += step) {
    const size_t nc = j->cols - c < step ? j->cols - c : step;
    j->kind->tiles[nc](j->y + (j->col + c) * j->ldy + row, j->ldy, rows, i == 0, j->panel, n / 32,
                       j->x->q + (j->col + c) * k + i, k, records + c * floats);
    fetch_lines(&coming, lines);
  }
}

/* The panel at (row, i); the first record is of value `from`. */
static void one_panel(const struct gemm_job *j, size_t from, size_t row, size_t i, struct coming coming) {
  const size_t n = block_at(j, i), block = (i - from) / GEMM_KC;
  open_panel(j, row, i, n);
  all_columns(j, row, i, n, j->records + block * j->cols * record_floats(j->kind->parts), coming);
}

/* Values [from, to) of all rows and this pass's columns; with many columns and with few. */
static void by_values(const struct gemm_job *j, size_t from, size_t to) {
  for (size_t i = from; i < to; i += GEMM_KC)
    for (size_t row = 0; row < j->rows; row += PANEL_ROWS) {
      struct coming coming = {0};
      if (row + PANEL_ROWS < j->rows)
        coming = panel_at(j, row + PANEL_ROWS, i);
      else if (i + GEMM_KC < j->x->k)
        coming = panel_at(j, 0, i + GEMM_KC);
      one_panel(j, from, row, i, coming);
    }
}

static void by_rows(const struct gemm_job *j, size_t from, size_t to) {
  for (size_t row = 0; row < j->rows; row += PANEL_ROWS)
    for (size_t i = from; i < to; i += GEMM_KC) one_panel(j, from, row, i, (struct coming){0});
}

static void gemm_blocks(const struct gemm_kind *kind, float *y, size_t ldy, const void *w, size_t row_bytes, size_t rows,
                        const struct tb_acts *x, size_t n_cols, void *scratch) {
  unsigned char *panel = (unsigned char *)scratch + TB_GEMM_KEPT;
  struct gemm_job j = {kind,  y, ldy, w, row_bytes, rows, x, 0, 0, scratch, panel, (float *)(void *)(panel + PANEL_BYTES)};
  for (; j.col < n_cols; j.col += GEMM_NC) {
    j.cols = n_cols - j.col < GEMM_NC ? n_cols - j.col : GEMM_NC;
    /* As many values at a time as there is room for records: all of k when columns are few, so that rows are read in
     * the order of memory. */
    const size_t fit = RECORD_BYTES / (j.cols * record_floats(kind->parts) * sizeof(float)) * GEMM_KC;
    for (size_t i = 0; i < x->k; i += fit) {
      const size_t to = x->k - i < fit ? x->k : i + fit;
      make_records(&j, i, to);
      if (j.cols < GEMM_MANY)
        by_rows(&j, i, to);
      else
        by_values(&j, i, to);
    }
  }
}

#endif
