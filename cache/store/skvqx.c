/* skvqx2, skvqx1.5, skvqx4: packed keys and values that attention reads as integers. After SKVQ (arXiv 2405.06219) in
 * the form that suits a CPU: a block is TB_KV_BLOCK tokens of one KV head, keys with RoPE applied.
 *
 *   keys     per channel of a block a midpoint and a step (KIVI, arXiv 2402.02750): x̂ = mid + step·(u - (levels-1)/2).
 *            No metadata per token, and channels with outliers or large means do not disturb the others.
 *   values   per token a scale, in a basis that makes every row look normal: x̂ = scale·(u -
 *            (levels-1)/2), codes by the best uniform quantiser for a normal distribution, scale by least squares.
 *   scores and sums are integer dot products with 8-bit queries and weights (simd/attn_score, simd/attn_accum).
 *   The newest tokens and the first few stay in f16: the policy's window and sinks.
 *
 * Memory per block of 160 tokens and head of size d:
 *   keys     2 bits: 40·d codes + 4·d midpoints and steps              d = 64: 2816 bytes, 2.20 bits per value
 *            4 bits: 80·d + 4·d                                         d = 64: 5376 bytes, 4.20
 *   values   2 bits: 40·d + 160 scales, base, padding to 64             d = 64: 2752 bytes, 2.15
 *            3 levels: 32·d + the same                                  d = 64: 2240 bytes, 1.75
 *            4 bits: 80·d + the same                                    d = 64: 5312 bytes, 4.15
 *
 * Error for normal values (Max, IRE Trans. IT-6, 1960): 0.190 of the energy with 3 levels, 0.119 with 4, 0.0115
 * with 16. Limits: head sizes that are a multiple of 32, up to 256.
 *
 * Values are turned into the basis of skvqx_basis.c when the profile has the statistics for it, keys and values else by
 * a Walsh-Hadamard transform; a basis takes 8·d² + 4·d bytes per head, whatever the context. Keys do not
 * gain by a basis of their own (cache/README.md has the numbers).
 *
 * Arguments, after ':' and joined by '+', for comparisons: rot=none, rot=had, rot=cal; clip=N (keys: percent of a
 * channel's range that the levels span before they are fitted); fit=N (rounds of that). */
#include "cache/store/skvqx.h"

#include <string.h>
#include "cache/store/args.h"

/* --------------------------------------------------------------------------------------------------- arguments */

enum { FROM_PROFILE = -1 };

/* The name's words; basis FROM_PROFILE: none was asked for. */
struct words {
  int basis;
  unsigned clip, rounds;
};

static bool argument(const char **p, struct words *w) {
  static const char *const bases[] = {"rot=none", "rot=had", "rot=cal"};
  for (int i = 0; i < 3; i++)
    if (tb_arg_word(p, bases[i])) {
      w->basis = i;
      return true;
    }
  if (tb_arg_word(p, "fit=")) return tb_arg_number(p, 9, &w->rounds);
  return tb_arg_word(p, "clip=") && tb_arg_number(p, 100, &w->clip);
}

static bool parse(const char *args, struct words *w) {
  for (const char *p = args; p;)
    if (!argument(&p, w) || !tb_arg_next(&p)) return false;
  return true;
}

enum tb_status tb_skvqx_parse(const struct tb_store_config *c, unsigned levels, struct tb_skvqx *out,
                              struct tb_error *err) {
  struct words w = {FROM_PROFILE, levels == 16 ? 92 : 70, c->side == TB_SIDE_V};
  if (!parse(c->args, &w))
    return tb_fail(
        err, TB_E_ARG,
        "cache type skvqx: parameter ':%.40s' is not made of rot=none, rot=had, rot=cal, clip=0..100, fit=0..9, "
        "joined by '+'",
        c->args);
  if (levels == 3 && c->side == TB_SIDE_K)
    return tb_fail(err, TB_E_UNSUPPORTED, "cache type skvqx1.5 is for values; keys take skvqx2");
  if (c->d == 0 || c->d % 32 != 0 || c->d > TB_SKVQX_MAX_HEAD)
    return tb_fail(err, TB_E_UNSUPPORTED, "cache type skvqx: head size %u is not a multiple of 32 up to %d", c->d,
                   TB_SKVQX_MAX_HEAD);
  bool complete;
  enum tb_status status = tb_skvqx_profile(c, &complete, err);
  if (status) return status;
  if (w.basis == TB_SKVQX_BALANCED && !complete)
    return tb_fail(err, TB_E_ARG,
                   "cache type skvqx: rot=cal needs a profile of the model (thimble calibrate makes one)");
  if (w.basis == FROM_PROFILE) w.basis = complete && c->side == TB_SIDE_V ? TB_SKVQX_BALANCED : TB_SKVQX_HADAMARD;
  *out = (struct tb_skvqx){.levels = levels,
                           .digits = levels == 16 ? 2 : 1,
                           .basis = (enum tb_skvqx_basis_kind)w.basis,
                           .clip = (float)w.clip / 100,
                           .rounds = w.rounds};
  return TB_OK;
}

static unsigned levels_of(const char *name) {
  return strcmp(name, "skvqx4") == 0 ? 16 : strcmp(name, "skvqx2") == 0 ? 4 : 3;
}

static size_t init_bytes(const struct tb_store_config *c) {
  return tb_skvqx_basis_work(c->d);
}

static void init(struct tb_store *st, void *work) {
  struct tb_skvqx x;
  if (tb_skvqx_parse(&st->config, levels_of(st->ops->name), &x, NULL)) return; /* check() has seen to it */
  memcpy(st->mem, &x, sizeof x);
  if (x.basis == TB_SKVQX_BALANCED) tb_skvqx_basis_init(st, work);
}

/* ------------------------------------------------------------------------------------------------------- basis */

/* Sizes that are no power of two are rotated by parts. */
static void rotate(const struct tb_store *st, uint32_t n, float *x, size_t ldx) {
  const uint32_t part = tb_skvqx_part(st->config.d);
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t c = 0; c < st->config.d; c += part)
      st->kernels->hadamard(x + i * ldx + c, part);
}

static void turn(const struct tb_store *st, uint32_t head, uint32_t n, float *x, size_t ldx, void *scratch) {
  const enum tb_skvqx_basis_kind basis = tb_skvqx_of(st)->basis;
  if (basis == TB_SKVQX_HADAMARD) rotate(st, n, x, ldx);
  if (basis == TB_SKVQX_BALANCED) tb_skvqx_basis_turn(st, head, n, x, ldx, scratch);
}

static void turn_query(const struct tb_store *st, uint32_t head, uint32_t n, float *q, size_t ldq, void *scratch) {
  const enum tb_skvqx_basis_kind basis = tb_skvqx_of(st)->basis;
  if (basis == TB_SKVQX_HADAMARD) rotate(st, n, q, ldq);
  if (basis == TB_SKVQX_BALANCED) tb_skvqx_basis_query(st, head, n, q, ldq, scratch);
}

static void turn_output(const struct tb_store *st, uint32_t head, uint32_t n, float *o, size_t ldo, void *scratch) {
  const enum tb_skvqx_basis_kind basis = tb_skvqx_of(st)->basis;
  if (basis == TB_SKVQX_HADAMARD) rotate(st, n, o, ldo);
  if (basis == TB_SKVQX_BALANCED) tb_skvqx_basis_output(st, head, n, o, ldo, scratch);
}

/* -------------------------------------------------------------------------------------------------------- rows */

static size_t block_bytes(const struct tb_store_config *c, const struct tb_skvqx *x) {
  return c->side == TB_SIDE_K ? tb_skvqx_keys_bytes(x, c->d) : tb_skvqx_values_bytes(x, c->d);
}

static unsigned char *block_at(const struct tb_store *st, const struct tb_skvqx *x, uint32_t head, uint32_t row) {
  const size_t blocks = st->config.cap / TB_KV_BLOCK;
  return st->mem + tb_skvqx_front(&st->config, x) +
         ((size_t)head * blocks + row / TB_KV_BLOCK) * block_bytes(&st->config, x);
}

static size_t bytes_of(const struct tb_store_config *c, unsigned levels) {
  struct tb_skvqx x;
  tb_skvqx_parse(c, levels, &x, NULL);
  return tb_skvqx_front(c, &x) + (size_t)c->n_heads * (c->cap / TB_KV_BLOCK) * block_bytes(c, &x);
}

static void span_of(const struct tb_store_config *c, unsigned levels, uint32_t head, uint32_t rows, size_t *offset,
                    size_t *bytes) {
  struct tb_skvqx x;
  tb_skvqx_parse(c, levels, &x, NULL);
  const size_t block = block_bytes(c, &x);
  *offset = tb_skvqx_front(c, &x) + (size_t)head * (c->cap / TB_KV_BLOCK) * block;
  *bytes = rows / TB_KV_BLOCK * block;
}

static void encode(struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, const float *x,
                   size_t ldx, void *scratch) {
  (void)pos;
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  for (uint32_t done = 0; done < n; done += TB_KV_BLOCK) {
    unsigned char *block = block_at(st, kind, head, t0 + done);
    if (st->config.side == TB_SIDE_K)
      tb_skvqx_keys_encode(st, block, x + done * ldx, ldx, scratch);
    else
      tb_skvqx_values_encode(st, block, x + done * ldx, ldx, scratch);
  }
}

static void score(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos,
                  const struct tb_kv_query *q, float *s, size_t lds, void *scratch) {
  (void)n, (void)pos;
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  tb_skvqx_keys_score(st, block_at(st, kind, head, t0), q, s, lds, scratch);
}

static void accum(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, const float *p, size_t ldp,
                  uint32_t n_q, float *acc, void *scratch) {
  (void)n;
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  tb_skvqx_values_accum(st, block_at(st, kind, head, t0), p, ldp, n_q, acc, scratch);
}

static void expand(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, float *x,
                   size_t ldx, void *scratch) {
  (void)pos, (void)scratch;
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  for (uint32_t done = 0; done < n;) {
    const uint32_t row = t0 + done, first = row % TB_KV_BLOCK;
    const uint32_t piece = n - done < TB_KV_BLOCK - first ? n - done : TB_KV_BLOCK - first;
    const unsigned char *block = block_at(st, kind, head, row);
    if (st->config.side == TB_SIDE_K)
      tb_skvqx_keys_expand(st, block, first, piece, x + done * ldx, ldx);
    else
      tb_skvqx_values_expand(st, block, first, piece, x + done * ldx, ldx);
    done += piece;
  }
}

/* Defines `const struct tb_store_ops tb_store_<id>` called `text`. */
#define SKVQX_STORE(id, text, n_levels)                                                                                \
  static enum tb_status check_##id(const struct tb_store_config *config, struct tb_error *err) {                       \
    struct tb_skvqx unused;                                                                                            \
    return tb_skvqx_parse(config, n_levels, &unused, err);                                                             \
  }                                                                                                                    \
  static size_t bytes_##id(const struct tb_store_config *config) {                                                     \
    return bytes_of(config, n_levels);                                                                                 \
  }                                                                                                                    \
  static void span_##id(const struct tb_store_config *config, uint32_t head, uint32_t rows, size_t *offset,            \
                        size_t *bytes) {                                                                               \
    span_of(config, n_levels, head, rows, offset, bytes);                                                              \
  }                                                                                                                    \
  extern const struct tb_store_ops tb_store_##id;                                                                      \
  const struct tb_store_ops tb_store_##id = {.name = text,                                                             \
                                             .granule = TB_KV_BLOCK,                                                   \
                                             .check = check_##id,                                                      \
                                             .bytes = bytes_##id,                                                      \
                                             .turn = turn,                                                             \
                                             .turn_query = turn_query,                                                 \
                                             .turn_output = turn_output,                                               \
                                             .profiled = true,                                                         \
                                             .init = init,                                                             \
                                             .init_bytes = init_bytes,                                                 \
                                             .encode = encode,                                                         \
                                             .score = score,                                                           \
                                             .accum = accum,                                                           \
                                             .expand = expand,                                                         \
                                             .span = span_##id}

SKVQX_STORE(skvqx4, "skvqx4", 16);
SKVQX_STORE(skvqx2, "skvqx2", 4);
SKVQX_STORE(skvqx1_5, "skvqx1.5", 3);
