/* lowrank:R[:BITS[:METHOD]] and lowrank:xB[:METHOD]: the leading R of d latent channels of every head.
 *
 * Papers: CSKV (arXiv 2409.10593): compressed branch beside an exact window; its factors have a closed-form optimum,
 * the principal components. Palu (2407.21118) and ReCalKV keep heads apart, which is what pays on a CPU.
 *
 * Idea: keys (with RoPE) and values of a head are written in a basis in which their energy gathers in few coordinates.
 *   The whole basis is a square map, so the window and the sinks stay exact, and nothing is ever expanded: a score
 * needs the first R coordinates of the turned query, an output is summed in latent space and turned back once per
 * token. METHOD pca       eigenvectors of the covariance: least error of keys and values (CSKV's loss, centred) METHOD
 * weighted  (default) the same in the metric of what comes after, E[q qᵀ] for keys and Woᵀ·Wo for values: with C = L·Lᵀ
 * and U the eigenvectors of Lᵀ·M·L the map is Uᵀ·Lᵀ; queries go through its transposed inverse Uᵀ·L⁻¹.  Least error of
 * scores and outputs. BITS 32, 16 (default): rows of floats. 8, 4, 2: codes; keys with a step and a midpoint per
 * channel and block, values with one scale per token and fixed relative steps. xB  B bits per element, allocated
 * channel by channel in pairs of bits to whatever loses most (reverse water-filling over the eigenvalues, Cover and
 * Thomas, Elements of Information Theory, §10.3): transform coding, of which cutting off at R is the special case {0,
 * BITS}.
 *
 * Memory, per head and block of 160 tokens: rows 160·R·BITS/8. Codes with P = R·BITS/2 or B·d/2 planes, a multiple of
 *   32 (R·BITS/2 is rounded up):  40·P + 4·R (keys) or + 192 (values) bytes, R = min(d, P) for xB.
 *   lowrank:16:4, d = 64: P = 32, keys 1280 + 64 B = 1.05 bits per element. Per head once: the map, d² floats (pca) or
 *   2·d² (weighted), and 2·d more.
 *
 * Block: [codes, simd/kvblock.h: keys2 or values2][keys: R steps, R midpoints, fp16 | values: 160 scales, their base]
 *   Planes: plane 0 of the channels that have one, then plane 1 of those that have two …
 *
 * Error: the energy of the channels cut off (sum of their eigenvalues), plus that of the codes: 0.12 of a channel's
 *   variance at 2 bits, 0.012 at 4.
 * Limits: needs a profile (kr.moment, v.moment; weighted: q.moment, o.metric). Keys keep RoPE, which mixes the two
 *   coordinates of a pair, so that a low rank of k_proj alone does not show here. */
#include "cache/store/fetch.h"
#include "cache/store/lowrank.h"

#include <string.h>

/* -------------------------------------------------------------------------------------------------------- arguments */

/* Digits at *p, at most `most`; moves *p behind them. */
static bool number(const char **p, uint32_t most, uint32_t *out) {
  const char *start = *p;
  uint32_t v = 0;
  for (; **p >= '0' && **p <= '9' && v <= most; ++*p)
    v = 10 * v + (uint32_t)(**p - '0');
  *out = v;
  return *p > start && v <= most;
}

static bool word(const char **p, const char *text) {
  const size_t n = strlen(text);
  if (strncmp(*p, text, n) != 0 || ((*p)[n] != 0 && (*p)[n] != ':')) return false;
  *p += n;
  return true;
}

static bool colon(const char **p) {
  if (**p != ':') return false;
  ++*p;
  return true;
}

/* "x2", "x1.5": twice the bits per element. */
static bool half_bits(const char **p, uint32_t *twice) {
  if (**p != 'x') return false;
  ++*p;
  if (!number(p, 8, twice)) return false;
  *twice *= 2;
  if (word(p, ".5")) *twice += 1;
  return true;
}

static bool is_bits(uint32_t bits) {
  return bits == 32 || bits == 16 || bits == 8 || bits == 4 || bits == 2;
}

/* False when the text is not of the form. */
static bool parse(const char *args, uint32_t d, struct tb_lowrank *l) {
  *l = (struct tb_lowrank){.bits = 16, .weighted = true};
  const char *p = args ? args : "";
  uint32_t twice;
  if (half_bits(&p, &twice)) {
    l->bits = 0;
    l->planes = (uint32_t)((uint64_t)twice * d / 4);
    l->rank = l->planes < d ? l->planes : d;
  } else if (!number(&p, TB_LOWRANK_MAX_HEAD, &l->rank)) {
    return false;
  }
  bool more = colon(&p);
  if (more && l->bits && number(&p, 32, &l->bits)) {
    if (!is_bits(l->bits)) return false;
    more = colon(&p);
  }
  if (l->bits && l->bits <= 8) l->planes = (uint32_t)tb_round_up((size_t)l->rank * l->bits / 2, 32);
  if (more) {
    if (word(&p, "pca"))
      l->weighted = false;
    else if (!word(&p, "weighted"))
      return false;
  }
  return *p == 0;
}

struct tb_lowrank tb_lowrank_of(const struct tb_store *st) {
  struct tb_lowrank l;
  parse(st->config.args, st->config.d, &l);
  return l;
}

static enum tb_status check(const struct tb_store_config *c, struct tb_error *err) {
  struct tb_lowrank l;
  if (c->d == 0 || c->d > TB_LOWRANK_MAX_HEAD)
    return tb_fail(err, TB_E_UNSUPPORTED, "cache type lowrank: head size %u is not in 1..%d", c->d,
                   TB_LOWRANK_MAX_HEAD);
  if (!parse(c->args, c->d, &l))
    return tb_fail(err, TB_E_ARG,
                   "cache type lowrank: '%s' is not R[:BITS][:METHOD] or xB[:METHOD] with BITS 32, 16, 8, 4 or 2 and "
                   "METHOD pca or weighted",
                   c->args ? c->args : "");
  if (l.rank == 0 || l.rank > c->d)
    return tb_fail(err, TB_E_ARG, "cache type lowrank:%s: %u channels are not in 1..%u (head size)", c->args, l.rank,
                   c->d);
  if (l.planes % 32 || (!l.bits && l.planes == 0) || l.planes > TB_LOWRANK_MAX_PLANES)
    return tb_fail(err, TB_E_UNSUPPORTED,
                   "cache type lowrank:%s: with head size %u codes have %u planes, not 32, 64 … %d", c->args, c->d,
                   l.planes, TB_LOWRANK_MAX_PLANES);
  return tb_lowrank_basis_check(c, &l, err);
}

/* ----------------------------------------------------------------------------------------------------------- memory */

static size_t block_bytes(const struct tb_lowrank *l, enum tb_side side) {
  if (!l->planes) return (size_t)TB_KV_BLOCK * l->rank * (l->bits / 8);
  return side == TB_SIDE_K ? tb_lowrank_keys_bytes(l) : tb_lowrank_values_bytes(l);
}

static size_t tables(const struct tb_store_config *c, const struct tb_lowrank *l) {
  return c->n_heads * tb_lowrank_table_bytes(l, c->d);
}

static size_t bytes(const struct tb_store_config *c) {
  struct tb_lowrank l;
  parse(c->args, c->d, &l);
  return tables(c, &l) + (size_t)c->n_heads * (c->cap / TB_KV_BLOCK) * block_bytes(&l, c->side);
}

static void span(const struct tb_store_config *c, uint32_t head, uint32_t rows, size_t *offset, size_t *bytes_) {
  struct tb_lowrank l;
  parse(c->args, c->d, &l);
  const size_t block = block_bytes(&l, c->side);
  *offset = tables(c, &l) + (size_t)head * (c->cap / TB_KV_BLOCK) * block;
  *bytes_ = rows / TB_KV_BLOCK * block;
}

static unsigned char *block_at(const struct tb_store *st, const struct tb_lowrank *l, uint32_t head, uint32_t t) {
  const size_t at = (size_t)head * (st->config.cap / TB_KV_BLOCK) + t / TB_KV_BLOCK;
  return st->mem + tables(&st->config, l) + at * block_bytes(l, st->config.side);
}

/* ------------------------------------------------------------------------------------------------------------- rows */

static bool fine(const struct tb_store_config *c) {
  struct tb_lowrank l;
  parse(c->args, c->d, &l);
  return l.bits == 32;
}

static enum tb_format row_format(const struct tb_lowrank *l) {
  return l->bits == 32 ? TB_FMT_f32 : TB_FMT_f16;
}

/* Of row t in its block. */
static size_t row_offset(const struct tb_lowrank *l, uint32_t t) {
  return t % TB_KV_BLOCK * tb_row_bytes(row_format(l), l->rank);
}

static void rows_encode(const struct tb_store *st, const struct tb_lowrank *l, unsigned char *rows, const float *x,
                        size_t ldx) {
  const size_t stride = tb_row_bytes(row_format(l), l->rank);
  for (uint32_t t = 0; t < TB_KV_BLOCK; t++)
    st->kernels->kvpack[row_format(l)](rows + t * stride, x + t * ldx, l->rank);
}

static void rows_score(const struct tb_store *st, const struct tb_lowrank *l, const unsigned char *rows, uint32_t n,
                       const struct tb_kv_query *q, float *s, size_t lds) {
  struct tb_acts latent = {.k = l->rank, .f = q->acts.f, .ldf = q->acts.ldf}; /* float rows read f alone */
  st->kernels->attn_score[row_format(l)](s, lds, &latent, q->n_q, rows, tb_row_bytes(row_format(l), l->rank), n,
                                         l->rank);
}

static void rows_accum(const struct tb_store *st, const struct tb_lowrank *l, const unsigned char *rows, uint32_t n,
                       const float *p, size_t ldp, uint32_t n_q, float *acc, float *sums) {
  const uint32_t d = st->config.d, r = l->rank;
  for (uint32_t g = 0; g < n_q; g += TB_LOWRANK_QUERIES) {
    const uint32_t heads = n_q - g < TB_LOWRANK_QUERIES ? n_q - g : TB_LOWRANK_QUERIES;
    memset(sums, 0, (size_t)heads * r * sizeof *sums);
    st->kernels->attn_accum[row_format(l)](sums, p + g * ldp, ldp, heads, rows, tb_row_bytes(row_format(l), r), n, r);
    for (uint32_t i = 0; i < heads; i++)
      for (uint32_t c = 0; c < r; c++)
        acc[(size_t)(g + i) * d + c] += sums[(size_t)i * r + c];
  }
}

static void rows_expand(const struct tb_store *st, const struct tb_lowrank *l, const unsigned char *rows,
                        uint32_t first, uint32_t n, float *x, size_t ldx) {
  const size_t stride = tb_row_bytes(row_format(l), l->rank);
  for (uint32_t t = 0; t < n; t++) {
    st->kernels->kvdequant[row_format(l)](x + t * ldx, rows + (first + t) * stride, l->rank);
    memset(x + t * ldx + l->rank, 0, (st->config.d - l->rank) * sizeof *x);
  }
}

/* -------------------------------------------------------------------------------------------------------- operations
 */

static void encode(struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, const float *x,
                   size_t ldx, void *scratch) {
  (void)pos;
  const struct tb_lowrank l = tb_lowrank_of(st);
  for (uint32_t t = 0; t < n; t += TB_KV_BLOCK, x += TB_KV_BLOCK * ldx) {
    unsigned char *block = block_at(st, &l, head, t0 + t);
    if (!l.planes)
      rows_encode(st, &l, block, x, ldx);
    else if (st->config.side == TB_SIDE_K)
      tb_lowrank_keys_encode(st, head, block, x, ldx, scratch);
    else
      tb_lowrank_values_encode(st, head, block, x, ldx, scratch);
  }
}

static void score(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos,
                  const struct tb_kv_query *q, float *s, size_t lds, void *scratch) {
  (void)pos;
  const struct tb_lowrank l = tb_lowrank_of(st);
  const unsigned char *block = block_at(st, &l, head, t0);
  if (l.planes)
    tb_lowrank_keys_score(st, head, block, t0 % TB_KV_BLOCK, n, q, s, lds, scratch);
  else
    rows_score(st, &l, block + row_offset(&l, t0), n, q, s, lds);
}

static void accum(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, const float *p, size_t ldp,
                  uint32_t n_q, float *acc, void *scratch) {
  const struct tb_lowrank l = tb_lowrank_of(st);
  const unsigned char *block = block_at(st, &l, head, t0);
  if (l.planes)
    tb_lowrank_values_accum(st, head, block, t0 % TB_KV_BLOCK, n, p, ldp, n_q, acc, scratch);
  else
    rows_accum(st, &l, block + row_offset(&l, t0), n, p, ldp, n_q, acc, scratch);
}

static void fetch(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n) {
  const struct tb_lowrank l = tb_lowrank_of(st);
  const unsigned char *block = block_at(st, &l, head, t0);
  if (!l.planes)
    tb_fetch(block + row_offset(&l, t0), n * tb_row_bytes(row_format(&l), l.rank));
  else
    (st->config.side == TB_SIDE_K ? tb_lowrank_keys_fetch : tb_lowrank_values_fetch)(&l, block, t0 % TB_KV_BLOCK, n);
}

static void expand(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, float *x,
                   size_t ldx, void *scratch) {
  (void)pos, (void)scratch;
  const struct tb_lowrank l = tb_lowrank_of(st);
  for (uint32_t t = 0, take; t < n; t += take) {
    const uint32_t first = (t0 + t) % TB_KV_BLOCK;
    const unsigned char *block = block_at(st, &l, head, t0 + t);
    take = TB_KV_BLOCK - first < n - t ? TB_KV_BLOCK - first : n - t;
    if (!l.planes)
      rows_expand(st, &l, block, first, take, x + t * ldx, ldx);
    else if (st->config.side == TB_SIDE_K)
      tb_lowrank_keys_expand(st, head, block, first, take, x + t * ldx, ldx);
    else
      tb_lowrank_values_expand(st, head, block, first, take, x + t * ldx, ldx);
  }
}

const struct tb_store_ops tb_store_lowrank = {.name = "lowrank",
                                              .granule = TB_KV_BLOCK,
                                              .profiled = true,
                                              .check = check,
                                              .bytes = bytes,
                                              .fine = fine,
                                              .init = tb_lowrank_init,
                                              .init_bytes = tb_lowrank_init_bytes,
                                              .turn = tb_lowrank_turn,
                                              .turn_query = tb_lowrank_turn_query,
                                              .turn_output = tb_lowrank_turn_output,
                                              .encode = encode,
                                              .score = score,
                                              .accum = accum,
                                              .fetch = fetch,
                                              .span = span,
                                              .expand = expand};
