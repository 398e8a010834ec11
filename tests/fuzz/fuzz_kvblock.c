/* kvblock: any bytes as stored keys and values, as a damaged or foreign session could bring them (the tables that a store
 * keeps beside its rows are its own: no session holds them). Every store turns the bytes into numbers without touching a
 * byte outside its memory, and what is exact is the same on every tier. Bytes 0 … 4 choose store, side, head size and
 * rows; the rest fills the memory. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include "cache/cache.h"
#include "simd/isa.h"

enum { ROWS = TB_ATTN_BLOCK, MAX_D = 128, HEADS = 2, QUERIES = 3 };

static struct tb_kernels tiers[2]; /* the reference, the best of this CPU */

static void *aligned(size_t n) {
  void *p = NULL;
  FUZZ_CHECK(posix_memalign(&p, 64, n ? n : 1) == 0);
  return p;
}

/* The rope table that stores may turn keys back with. */
static const struct tb_rope_table *rope_of(uint32_t d) {
  static float cosines[ROWS * MAX_D], sines[ROWS * MAX_D];
  static struct tb_rope_table table;
  for (size_t i = 0; i < ROWS * MAX_D; i++) cosines[i] = 1;
  table = (struct tb_rope_table){.cos = cosines, .sin = sines, .n_rot = d, .neox = true};
  return &table;
}

static void use(struct tb_store *st, float *rows, void *scratch) {
  static float q[QUERIES * MAX_D], s[QUERIES * ROWS], acc[QUERIES * MAX_D];
  static int8_t codes[QUERIES * MAX_D];
  static float scales[QUERIES * MAX_D / 32 + QUERIES];
  static int16_t sums[QUERIES * MAX_D / 16 + QUERIES];
  const uint32_t d = st->config.d;
  for (uint32_t i = 0; i < QUERIES * MAX_D; i++) q[i] = (float)(i % 7) - 3;
  struct tb_kv_query query = {.n_q = QUERIES, .pos = ROWS};
  query.acts = (struct tb_acts){.k = d, .f = q, .ldf = d, .q = codes, .d = scales, .s = sums};
  if (d % 32 == 0)
    for (uint32_t g = 0; g < QUERIES; g++)
      st->kernels->quant_q8(codes + g * d, scales + g * (d / 32), sums + g * (d / 16), q + g * d, d);
  for (uint32_t head = 0; head < HEADS; head++) {
    st->ops->expand(st, head, 0, ROWS, 0, rows, d, scratch);
    if (st->config.side == TB_SIDE_K) {
      st->ops->score(st, head, 0, ROWS, 0, &query, s, ROWS, scratch);
      if (st->ops->fetch) st->ops->score(st, head, TB_ATTN_PART, TB_ATTN_PART, TB_ATTN_PART, &query, s, ROWS, scratch);
    } else {
      for (uint32_t i = 0; i < QUERIES * ROWS; i++) s[i] = 1.0f / ROWS;
      memset(acc, 0, sizeof acc);
      st->ops->accum(st, head, 0, ROWS, s, ROWS, QUERIES, acc, scratch);
      if (st->ops->fetch) st->ops->accum(st, head, TB_ATTN_PART, TB_ATTN_PART, s, ROWS, QUERIES, acc, scratch);
    }
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static float rows[2][ROWS * MAX_D];
  static const uint32_t sizes[] = {32, 64, 96, 128, 80};
  struct fuzz_input in = {data, size};
  size_t n_stores = 0;
  const char *reason;
  unsigned mask;
  if (!tiers[0].quant_q8) {
    FUZZ_CHECK(tb_isa_select("ref", &mask, &reason));
    tb_kernels_init(&tiers[0], mask);
    FUZZ_CHECK(tb_isa_select(NULL, &mask, &reason));
    tb_kernels_init(&tiers[1], mask);
  }
  while (tb_store_names()[n_stores]) n_stores++;
  const struct tb_store_ops *ops = tb_store_find(tb_store_names()[fuzz_u8(&in) % n_stores]);
  const uint32_t d = sizes[fuzz_u8(&in) % 5];
  struct tb_store st = {.ops = ops};
  st.config = (struct tb_store_config){.side = fuzz_u8(&in) % 2 ? TB_SIDE_V : TB_SIDE_K, .n_heads = HEADS, .d = d, .cap = ROWS, .rope = rope_of(d)};
  if (ops->check(&st.config, NULL) != TB_OK) return 0;
  const size_t bytes = ops->bytes(&st.config);
  st.mem = aligned(bytes); /* exactly: a sanitizer sees what is read behind it */
  void *scratch = aligned(TB_STORE_SCRATCH);
  for (size_t i = 0; i < bytes; i++) st.mem[i] = in.n ? in.p[i % in.n] : 0;
  st.kernels = &tiers[0];
  if (ops->init) {
    void *work = ops->init_bytes ? aligned(ops->init_bytes(&st.config)) : NULL;
    ops->init(&st, work);
    free(work);
  }
  for (int tier = 0; tier < 2; tier++) {
    st.kernels = &tiers[tier];
    use(&st, rows[tier], scratch);
  }
  for (uint32_t i = 0; i < ROWS * d; i++) /* the last head's rows; a NaN may have any bits */
    FUZZ_CHECK(rows[0][i] == rows[1][i] || (rows[0][i] != rows[0][i] && rows[1][i] != rows[1][i]));
  free(scratch);
  free(st.mem);
  return 0;
}
