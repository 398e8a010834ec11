#include "tests/check/check.h"

#include <math.h>
#include <string.h>

#include "simd/half.h"
#include "simd/kernels.h"

const char *tb_gen_name(enum tb_check_gen gen) {
  static const char *const names[] = {"random",  "zeros",       "extremes",  "denormals",
                                      "outlier", "alternating", "max codes", "one end"};
  return names[gen];
}

static float one_float(size_t i, enum tb_check_gen gen, struct tb_rng *rng) {
  static const float extremes[8] = {1e16f, -1e16f, 1e-30f, -1e-30f, 0.0f, -0.0f, 1.0f, -65504.0f};
  switch (gen) {
  case TB_GEN_ZEROS: return 0;
  case TB_GEN_EXTREMES: return extremes[tb_rng_next(rng) % 8];
  case TB_GEN_DENORMALS: return tb_bits_float((uint32_t)(tb_rng_next(rng) & 0x807fffff));
  case TB_GEN_ALTERNATING: return (i % 2 ? -1.0f : 1.0f) * (1 + 0x1p-10f * tb_rng_unit(rng));
  case TB_GEN_MAX_CODES: return tb_rng_next(rng) % 2 ? 3.0f : -3.0f;
  case TB_GEN_ONE_END: return 3;
  default: return tb_rng_normal(rng);
  }
}

void tb_gen_floats(float *x, size_t n, enum tb_check_gen gen, struct tb_rng *rng) {
  for (size_t i = 0; i < n; i++) x[i] = one_float(i, gen, rng);
  if (gen == TB_GEN_OUTLIER && n) x[tb_rng_next(rng) % n] = 1e9f;
}

/* Where a block has its fp16 numbers: the scale, and the scale of the minima or the minimum itself. */
struct scales {
  int d, m;
};

static struct scales scales_of(enum tb_format format) {
  switch (format) {
  case TB_FMT_q4_1:
  case TB_FMT_q5_1:
  case TB_FMT_q4_k:
  case TB_FMT_q5_k: return (struct scales){0, 2};
  case TB_FMT_q2_k: return (struct scales){80, 82};
  case TB_FMT_q3_k: return (struct scales){108, -1};
  case TB_FMT_q6_k: return (struct scales){208, -1};
  default: return (struct scales){0, -1};
  }
}

static void put_scale(unsigned char *block, int offset, size_t i, enum tb_check_gen gen, struct tb_rng *rng) {
  static const uint16_t extremes[8] = {0x7bff, 0xfbff, 0x0001, 0x8001, 0x0000, 0x8000, 0x3c00, 0x0400};
  uint16_t h = tb_f32_to_f16(0.01f * tb_rng_normal(rng));
  if (offset < 0) return;
  if (gen == TB_GEN_ZEROS) h = 0;
  if (gen == TB_GEN_EXTREMES) h = extremes[tb_rng_next(rng) % 8];
  if (gen == TB_GEN_DENORMALS) h = (uint16_t)(tb_rng_next(rng) & 0x83ff);
  if (gen == TB_GEN_ALTERNATING) h = i % 2 ? 0xbc00 : 0x3c00;
  if (gen == TB_GEN_OUTLIER && tb_rng_next(rng) % 16 == 0) h = 0x7bff;
  memcpy(block + offset, &h, sizeof h);
}

static unsigned char one_byte(size_t i, enum tb_check_gen gen, uint64_t pick, struct tb_rng *rng) {
  static const unsigned char ends[4] = {0x00, 0xff, 0x80, 0x7f}, whole[4] = {0xff, 0x80, 0x00, 0xf0};
  switch (gen) {
  case TB_GEN_ZEROS: return 0;
  case TB_GEN_EXTREMES: return ends[tb_rng_next(rng) % 4];
  case TB_GEN_ALTERNATING: return i % 2 ? 0xf0 : 0x0f;
  case TB_GEN_MAX_CODES: return whole[pick % 4];
  case TB_GEN_ONE_END: return 0xff;
  default: return (unsigned char)(tb_rng_next(rng) >> 13);
  }
}

static void gen_blocks(unsigned char *w, enum tb_format format, size_t blocks, enum tb_check_gen gen, struct tb_rng *rng) {
  const size_t bytes = tb_formats[format].block_bytes;
  const struct scales at = scales_of(format);
  for (size_t b = 0; b < blocks; b++, w += bytes) {
    uint64_t pick = tb_rng_next(rng) >> 20;
    for (size_t i = 0; i < bytes; i++) w[i] = one_byte(i, gen, pick, rng);
    put_scale(w, at.d, b, gen, rng);
    put_scale(w, at.m, b, gen, rng);
  }
}

void tb_gen_weights(void *w, enum tb_format format, size_t rows, size_t k, enum tb_check_gen gen, struct tb_rng *rng) {
  if (tb_formats[format].block_values > 1) {
    gen_blocks(w, format, rows * k / tb_formats[format].block_values, gen, rng);
    return;
  }
  for (size_t i = 0; i < rows * k; i++) {
    float f = one_float(i, gen, rng);
    if (gen == TB_GEN_OUTLIER && tb_rng_next(rng) % 64 == 0) f = 6e4f;
    if (format == TB_FMT_f16 && fabsf(f) > 65504.0f) f = f > 0 ? 65504.0f : -65504.0f;
    if (format == TB_FMT_f16 && gen == TB_GEN_DENORMALS) f = ldexpf(f, 112); /* subnormal in the narrower exponent */
    uint16_t h = format == TB_FMT_f16 ? tb_f32_to_f16(f) : tb_f32_to_bf16(f);
    if (format == TB_FMT_f32)
      memcpy((unsigned char *)w + 4 * i, &f, 4);
    else
      memcpy((unsigned char *)w + 2 * i, &h, 2);
  }
}

static void decode(float *y, const void *row, enum tb_format format, size_t k) {
  struct tb_kernels ref;
  tb_kernels_init(&ref, 0);
  ref.dequant[format](y, row, k);
}

/* With the minimum's sign flipped the other combination of the two parts comes out; the larger of |a + b| and |a - b|
 * is |a| + |b|. */
void tb_weight_magnitude(double *m, const void *row, enum tb_format format, size_t k) {
  const size_t values = tb_formats[format].block_values, bytes = tb_formats[format].block_bytes;
  const int at = values > 1 ? scales_of(format).m : -1;
  for (size_t i = 0; i < k; i += values) {
    unsigned char block[256];
    float plain[256], flipped[256];
    memcpy(block, (const unsigned char *)row + i / values * bytes, bytes);
    decode(plain, block, format, values);
    if (at >= 0) block[at + 1] ^= 0x80;
    decode(flipped, block, format, values);
    for (size_t j = 0; j < values; j++) m[i + j] = fmax(fabs((double)plain[j]), fabs((double)flipped[j]));
  }
}

struct tb_acts tb_check_acts(size_t k, size_t n_cols, enum tb_check_gen gen, struct tb_rng *rng) {
  const size_t ldf = k + 3;
  float *f = tb_guard_new((n_cols * ldf - 3) * sizeof *f, 64);
  struct tb_acts x = {.k = k, .f = f, .ldf = ldf};
  for (size_t c = 0; c < n_cols; c++) tb_gen_floats(f + c * ldf, k, gen, rng);
  if (k % 32) return x;
  int8_t *q = tb_guard_new(n_cols * k, 64);
  float *d = tb_guard_new(n_cols * (k / 32) * sizeof *d, 64);
  int16_t *s = tb_guard_new(n_cols * (k / 16) * sizeof *s, 64);
  for (size_t c = 0; c < n_cols; c++) tb_quant_q8_ref(q + c * k, d + c * (k / 32), s + c * (k / 16), f + c * ldf, k);
  x.q = q;
  x.d = d;
  x.s = s;
  return x;
}

static void release(const void *p) {
  union {
    const void *in;
    void *out;
  } u = {p}; /* the descriptor is read-only for kernels; the arrays are ours */
  tb_guard_free(u.out);
}

void tb_check_acts_free(struct tb_acts *x) {
  release(x->f);
  release(x->q);
  release(x->d);
  release(x->s);
  *x = (struct tb_acts){0};
}
