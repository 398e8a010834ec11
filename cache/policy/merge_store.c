/* One side of one layer of a merged pair (merge.h).
 *
 * mem: [struct tb_merged][upper: head of the lower layer per head, maps][head][block: 160 magnitudes (fp16), `keep`
 *      numbers of retained rows, these rows (fp16)]
 *
 * score: the directions' scores times the magnitudes, but for the retained rows, which are scored themselves. accum:
 * the weights times the magnitudes, 0 for retained rows, which are added themselves. */
#include <string.h>
#include "cache/policy/merge.h"
#include "simd/half.h"

enum { BLOCK = TB_ATTN_BLOCK, QUERIES = 16 /* heads at a time: what lies on the stack */ };

static size_t record_bytes(const struct tb_store_config *c, uint32_t keep) {
  return tb_round_up(2 * (size_t)BLOCK + keep + (keep & 1) + 2 * (size_t)keep * c->d, TB_ALIGN);
}

static size_t header_bytes(void) {
  return tb_round_up(sizeof(struct tb_merged), TB_ALIGN);
}

static size_t map_bytes(const struct tb_store_config *c, bool upper) {
  if (!upper) return 0;
  return tb_round_up(c->n_heads * (sizeof(uint32_t) + tb_align_map_floats(c->side == TB_SIDE_V, c->d) * sizeof(float)),
                     TB_ALIGN);
}

size_t tb_merged_bytes(const struct tb_store_config *c, bool upper, uint32_t keep) {
  return header_bytes() + map_bytes(c, upper) + (size_t)c->n_heads * (c->cap / BLOCK) * record_bytes(c, keep);
}

static struct tb_merged *merged(const struct tb_store *st) {
  return (struct tb_merged *)(void *)st->mem;
}

void tb_merged_init(struct tb_store *st, const struct tb_store *inner, bool upper, uint32_t keep) {
  struct tb_merged *m = merged(st);
  unsigned char *maps = st->mem + header_bytes();
  *m = (struct tb_merged){.inner = *inner, .upper = upper, .keep = keep};
  if (!upper) return;
  m->map.head = (uint32_t *)(void *)maps;
  m->map.map = (float *)(void *)(maps + st->config.n_heads * sizeof(uint32_t));
}

static size_t records(const struct tb_store *st) {
  return header_bytes() + map_bytes(&st->config, merged(st)->upper);
}

struct record {
  uint16_t *magnitude;
  uint8_t *which;
  unsigned char *rows;
};

static struct record record_at(const struct tb_store *st, uint32_t head, uint32_t t) {
  const struct tb_merged *m = merged(st);
  const size_t at = (size_t)head * (st->config.cap / BLOCK) + t / BLOCK;
  unsigned char *p = st->mem + records(st) + at * record_bytes(&st->config, m->keep);
  return (struct record){(uint16_t *)(void *)p, p + 2 * BLOCK, p + 2 * BLOCK + m->keep + (m->keep & 1)};
}

static uint32_t inner_head(const struct tb_merged *m, uint32_t head) {
  return m->upper ? m->map.head[head] : head;
}

/* ---------------------------------------------------------------------------------------------------------- the map */

static void align(const struct tb_store *st, uint32_t head, uint32_t n, float *x, size_t ldx, float *copy) {
  const struct tb_merged *m = merged(st);
  const uint32_t d = st->config.d;
  const struct tb_rope_table *rope = st->config.rope;
  if (!m->upper || (st->config.side == TB_SIDE_K && !rope)) return;
  const float *map = m->map.map + head * tb_align_map_floats(st->config.side == TB_SIDE_V, d);
  for (uint32_t i = 0; i < n; i++, x += ldx) {
    if (st->config.side == TB_SIDE_K) {
      (rope->neox ? st->kernels->rope_neox : st->kernels->rope_norm)(x, map, map + rope->n_rot / 2, rope->n_rot);
    } else {
      memcpy(copy, x, d * sizeof *x);
      st->kernels->tile_qk(x, d, copy, d, 1, map, d, d, d);
    }
  }
}

/* A rotation changes nothing between keys and queries that both go through it. */
static void turn(const struct tb_store *st, uint32_t head, uint32_t n, float *x, size_t ldx, void *scratch) {
  const struct tb_merged *m = merged(st);
  align(st, head, n, x, ldx, scratch);
  if (m->inner.ops->turn) m->inner.ops->turn(&m->inner, inner_head(m, head), n, x, ldx, scratch);
}

static void turn_query(const struct tb_store *st, uint32_t head, uint32_t n, float *q, size_t ldq, void *scratch) {
  const struct tb_merged *m = merged(st);
  align(st, head, n, q, ldq, scratch);
  if (m->inner.ops->turn_query) m->inner.ops->turn_query(&m->inner, inner_head(m, head), n, q, ldq, scratch);
}

static void turn_output(const struct tb_store *st, uint32_t head, uint32_t n, float *o, size_t ldo, void *scratch) {
  const struct tb_merged *m = merged(st);
  const uint32_t d = st->config.d;
  float *copy = scratch;
  if (m->inner.ops->turn_output) m->inner.ops->turn_output(&m->inner, inner_head(m, head), n, o, ldo, scratch);
  if (!m->upper) return;
  for (uint32_t i = 0; i < n; i++, o += ldo) {
    memcpy(copy, o, d * sizeof *o);
    memset(o, 0, d * sizeof *o);
    st->kernels->tile_pv(o, d, copy, d, 1, m->map.map + (size_t)head * d * d, d, d, d);
  }
}

/* ------------------------------------------------------------------------------------------------------------- rows */

void tb_merged_put(struct tb_store *st, uint32_t head, uint32_t t0, const float *magnitude, const uint8_t *which,
                   const float *x, size_t ldx) {
  const struct tb_merged *m = merged(st);
  const struct record r = record_at(st, head, t0);
  const size_t row = tb_row_bytes(TB_FMT_f16, st->config.d);
  for (uint32_t t = 0; t < BLOCK; t++)
    r.magnitude[t] = tb_f32_to_f16(magnitude[t] < 65504 ? magnitude[t] : 65504);
  for (uint32_t i = 0; i < m->keep; i++) {
    r.which[i] = which[i];
    r.magnitude[which[i]] = 0;
    st->kernels->kvpack[TB_FMT_f16](r.rows + i * row, x + which[i] * ldx, st->config.d);
  }
}

static void score(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos,
                  const struct tb_kv_query *q, float *s, size_t lds, void *scratch) {
  const struct tb_merged *m = merged(st);
  const struct record r = record_at(st, head, t0);
  const size_t row = tb_row_bytes(TB_FMT_f16, st->config.d);
  m->inner.ops->score(&m->inner, inner_head(m, head), t0, n, pos, q, s, lds, scratch);
  st->kernels->merge_scale(s, lds, s, lds, q->n_q, r.magnitude, n);
  for (uint32_t g = 0; m->keep && g < q->n_q; g++) {
    float own[BLOCK];
    struct tb_acts one = {.k = q->acts.k, .f = q->acts.f + g * q->acts.ldf, .ldf = q->acts.ldf};
    st->kernels->attn_score[TB_FMT_f16](own, BLOCK, &one, 1, r.rows, row, m->keep, st->config.d);
    for (uint32_t i = 0; i < m->keep; i++)
      s[g * lds + r.which[i]] = own[i];
  }
}

static void accum(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, const float *p, size_t ldp,
                  uint32_t n_q, float *acc, void *scratch) {
  const struct tb_merged *m = merged(st);
  const struct record r = record_at(st, head, t0);
  const size_t row = tb_row_bytes(TB_FMT_f16, st->config.d), d = st->config.d;
  for (uint32_t g = 0; g < n_q; g += QUERIES) {
    const uint32_t heads = n_q - g < QUERIES ? n_q - g : QUERIES;
    float scaled[QUERIES * BLOCK], own[QUERIES * BLOCK];
    st->kernels->merge_scale(scaled, BLOCK, p + g * ldp, ldp, heads, r.magnitude, n);
    m->inner.ops->accum(&m->inner, inner_head(m, head), t0, n, scaled, BLOCK, heads, acc + g * d, scratch);
    for (uint32_t h = 0; h < heads; h++)
      for (uint32_t i = 0; i < m->keep; i++)
        own[h * BLOCK + i] = p[(g + h) * ldp + r.which[i]];
    if (m->keep) st->kernels->attn_accum[TB_FMT_f16](acc + g * d, own, BLOCK, heads, r.rows, row, m->keep, d);
  }
}

static void expand(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, float *x,
                   size_t ldx, void *scratch) {
  const struct tb_merged *m = merged(st);
  const size_t d = st->config.d;
  m->inner.ops->expand(&m->inner, inner_head(m, head), t0, n, pos, x, ldx, scratch);
  for (uint32_t t = 0; t < n; t++) {
    const struct record r = record_at(st, head, t0 + t);
    const float size = tb_f16_to_f32(r.magnitude[(t0 + t) % BLOCK]);
    for (size_t c = 0; c < d; c++)
      x[t * ldx + c] *= size;
    for (uint32_t i = 0; i < m->keep; i++)
      if (r.which[i] == (t0 + t) % BLOCK)
        st->kernels->kvdequant[TB_FMT_f16](x + t * ldx, r.rows + i * tb_row_bytes(TB_FMT_f16, d), d);
  }
}

void tb_merged_records(const struct tb_store *st, uint32_t head, uint32_t rows, unsigned char **at, size_t *bytes) {
  const size_t record = record_bytes(&st->config, merged(st)->keep);
  *at = st->mem + records(st) + (size_t)head * (st->config.cap / BLOCK) * record;
  *bytes = rows / BLOCK * record;
}

bool tb_merged_verify(const struct tb_store *st, uint32_t rows) {
  const uint32_t keep = merged(st)->keep;
  for (uint32_t head = 0; head < st->config.n_heads; head++)
    for (uint32_t t = 0; t < rows; t += BLOCK) {
      const struct record r = record_at(st, head, t);
      for (uint32_t i = 0; i < keep; i++)
        if (r.which[i] >= BLOCK || (i > 0 && r.which[i] <= r.which[i - 1])) return false;
    }
  return true;
}

static void span(const struct tb_store_config *c, uint32_t head, uint32_t rows, size_t *offset, size_t *bytes) {
  (void)c, (void)head, (void)rows;
  *offset = *bytes = 0; /* where records begin depends on more than the configuration: tb_merged_records */
}

const struct tb_store_ops tb_merged_store = {.name = "merged",
                                             .granule = BLOCK,
                                             .turn = turn,
                                             .turn_query = turn_query,
                                             .turn_output = turn_output,
                                             .score = score,
                                             .accum = accum,
                                             .expand = expand,
                                             .span = span};
