#include "tests/kernels/attn_cases.h"

#include <stdlib.h>
#include <string.h>

#include "simd/kernels.h"

static const size_t floats[] = {64, 128, 1, 2, 7, 8, 15, 16, 17, 24, 33, 40, 72, 80, 96, 100, 112, 192, 256, 511, 512};
static const size_t short_floats[] = {64, 1, 7, 40, 100};
static const size_t blocks_of[] = {64, 32, 96, 128, 160, 192, 256, 512}, short_blocks[] = {64, 32, 96, 256};

size_t attn_n_sizes(bool quick, bool blocks) {
  return blocks ? (quick ? 4 : sizeof blocks_of / sizeof *blocks_of) : (quick ? 5 : sizeof floats / sizeof *floats);
}

size_t attn_size(bool quick, bool blocks, size_t i) {
  return blocks ? (quick ? short_blocks : blocks_of)[i] : (quick ? short_floats : floats)[i];
}

bool attn_blocks(const struct attn_case *c) { return tb_formats[c->row->format].block_values > 1; }

/* Rows lie `stride` apart with other data between; an odd number of bytes for half of the cases. */
void attn_case_begin(struct attn_case *c, struct tb_rng *rng) {
  const enum tb_format f = c->row->format;
  const size_t bytes = tb_row_bytes(f, c->d);
  struct tb_kernels ref;
  tb_kernels_init(&ref, 0);
  c->q = tb_check_acts(c->d, c->n_q, c->gen, rng);
  c->stride = bytes + (tb_rng_next(rng) % 2 ? 0 : 6);
  c->rows = tb_guard_new((c->n - 1) * c->stride + bytes, f == TB_FMT_f32 ? 4 : 2);
  c->values = malloc(c->n * c->d * sizeof *c->values);
  unsigned char *packed = malloc(c->n * bytes);
  assert_true(c->values && packed);
  tb_gen_weights(packed, f, c->n, c->d, c->gen, rng);
  for (size_t t = 0; t < c->n; t++) {
    memcpy(c->rows + t * c->stride, packed + t * bytes, bytes);
    ref.kvdequant[f](c->values + t * c->d, packed + t * bytes, c->d);
  }
  free(packed);
}

void attn_case_end(struct attn_case *c) {
  tb_check_acts_free(&c->q);
  tb_guard_free(c->rows);
  free(c->values);
}

double attn_value(const struct attn_case *c, size_t t, size_t i) { return c->values[t * c->d + i]; }

double attn_query(const struct attn_case *c, size_t g, size_t i) {
  if (!attn_blocks(c)) return c->q.f[g * c->q.ldf + i];
  return (double)c->q.d[g * (c->d / 32) + i / 32] * c->q.q[g * c->d + i];
}
