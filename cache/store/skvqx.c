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
 * The basis of keys, with a profile: channels scaled so that keys and queries are of like size in each, then mixed
 * (skvqx_basis.c, TB_SKVQX_EQUAL). A channel whose keys are large and whose queries are small, as outliers and biases
 * make them, costs no more than others. Without a profile keys stay as they are: mixed, one such channel spoils all of
 * them (tests/quality/twins_test.c).
 *
 * The basis of values, with a profile: at 2 and 4 bits principal channels, the bits given out by channel (the store
 * lowrank:xB inside of this one, as many bytes), at 3 levels the map of skvqx_basis.c. Without one a Walsh-Hadamard
 * transform. A map takes 8·d² + 4·d bytes per head, whatever the context.
 *
 * Arguments, after ':' and joined by '+', for comparisons: rot=none, rot=had, rot=cal, rot=eq, rot=pca (both sides);
 * clip=N (keys: percent of a channel's range that the levels span before they are fitted); fit=N (rounds of that). */
#include "cache/store/skvqx.h"

#include <string.h>
#include "cache/store/args.h"
#include "cache/store/lowrank.h"

/* --------------------------------------------------------------------------------------------------- arguments */

enum { FROM_PROFILE = -1 };

/* The name's words; basis FROM_PROFILE: none was asked for. */
struct words {
  int basis;
  unsigned clip, rounds;
};

static bool argument(const char **p, struct words *w) {
  static const char *const bases[] = {"rot=none", "rot=had", "rot=cal", "rot=eq", "rot=pca"};
  for (int i = 0; i < 5; i++)
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

/* lowrank:xB has whole numbers of planes only, and not more than fit its scratch. */
static bool has_principal(const struct tb_store_config *c, unsigned levels) {
  return levels == 4 || (levels == 16 && 2 * c->d <= TB_LOWRANK_MAX_PLANES);
}

static enum tb_skvqx_basis_kind usual_basis(const struct tb_store_config *c, unsigned levels, bool profiled) {
  if (c->side == TB_SIDE_K) return profiled ? TB_SKVQX_EQUAL : TB_SKVQX_PLAIN;
  if (!profiled) return TB_SKVQX_HADAMARD;
  return has_principal(c, levels) ? TB_SKVQX_PRINCIPAL : TB_SKVQX_BALANCED;
}

enum tb_status tb_skvqx_parse(const struct tb_store_config *c, unsigned levels, struct tb_skvqx *out,
                              struct tb_error *err) {
  struct words w = {FROM_PROFILE, levels == 16 ? 92 : 70, c->side == TB_SIDE_V};
  if (!parse(c->args, &w))
    return tb_fail(err, TB_E_ARG,
                   "cache type skvqx: parameter ':%.40s' is not made of rot=none, rot=had, rot=cal, rot=eq, rot=pca, "
                   "clip=0..100, fit=0..9, "
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
  if (w.basis >= TB_SKVQX_BALANCED && !complete)
    return tb_fail(
        err, TB_E_ARG,
        "cache type skvqx: rot=cal, rot=eq and rot=pca need a profile of the model (thimble calibrate makes one)");
  if (w.basis == FROM_PROFILE) w.basis = usual_basis(c, levels, complete);
  if (w.basis == TB_SKVQX_PRINCIPAL && !has_principal(c, levels))
    return tb_fail(err, TB_E_UNSUPPORTED, "cache type skvqx: rot=pca has no form with 3 levels, nor 16 of %u channels",
                   c->d);
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

/* What the rows of TB_SKVQX_PRINCIPAL are kept by. */
static struct tb_store_config principal_config(const struct tb_store_config *c, unsigned levels) {
  struct tb_store_config inner = *c;
  inner.args = levels == 16 ? "x4" : "x2";
  return inner;
}

static struct tb_store principal(const struct tb_store *st, const struct tb_skvqx *x) {
  struct tb_store inner = *st;
  inner.ops = &tb_store_lowrank;
  inner.config = principal_config(&st->config, x->levels);
  inner.mem += TB_ALIGN;
  return inner;
}

static size_t init_bytes(const struct tb_store_config *c) {
  const size_t own = tb_skvqx_basis_work(c->d), inner = tb_store_lowrank.init_bytes(c);
  return own > inner ? own : inner;
}

static void init(struct tb_store *st, void *work) {
  struct tb_skvqx x;
  if (tb_skvqx_parse(&st->config, levels_of(st->ops->name), &x, NULL)) return; /* check() has seen to it */
  memcpy(st->mem, &x, sizeof x);
  struct tb_store inner = principal(st, &x);
  if (x.basis == TB_SKVQX_PRINCIPAL) inner.ops->init(&inner, work);
  if (tb_skvqx_maps(&x)) tb_skvqx_basis_init(st, work);
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
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  const struct tb_store inner = principal(st, kind);
  if (kind->basis == TB_SKVQX_HADAMARD) rotate(st, n, x, ldx);
  if (tb_skvqx_maps(kind)) tb_skvqx_basis_turn(st, head, n, x, ldx, scratch);
  if (kind->basis == TB_SKVQX_PRINCIPAL) inner.ops->turn(&inner, head, n, x, ldx, scratch);
}

static void turn_query(const struct tb_store *st, uint32_t head, uint32_t n, float *q, size_t ldq, void *scratch) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  const struct tb_store inner = principal(st, kind);
  if (kind->basis == TB_SKVQX_HADAMARD) rotate(st, n, q, ldq);
  if (tb_skvqx_maps(kind)) tb_skvqx_basis_query(st, head, n, q, ldq, scratch);
  if (kind->basis == TB_SKVQX_PRINCIPAL) inner.ops->turn_query(&inner, head, n, q, ldq, scratch);
}

static void turn_output(const struct tb_store *st, uint32_t head, uint32_t n, float *o, size_t ldo, void *scratch) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  const struct tb_store inner = principal(st, kind);
  if (kind->basis == TB_SKVQX_HADAMARD) rotate(st, n, o, ldo);
  if (tb_skvqx_maps(kind)) tb_skvqx_basis_output(st, head, n, o, ldo, scratch);
  if (kind->basis == TB_SKVQX_PRINCIPAL) inner.ops->turn_output(&inner, head, n, o, ldo, scratch);
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
  const struct tb_store_config inner = principal_config(c, levels);
  if (x.basis == TB_SKVQX_PRINCIPAL) return TB_ALIGN + tb_store_lowrank.bytes(&inner);
  return tb_skvqx_front(c, &x) + (size_t)c->n_heads * (c->cap / TB_KV_BLOCK) * block_bytes(c, &x);
}

static void span_of(const struct tb_store_config *c, unsigned levels, uint32_t head, uint32_t rows, size_t *offset,
                    size_t *bytes) {
  struct tb_skvqx x;
  tb_skvqx_parse(c, levels, &x, NULL);
  if (x.basis == TB_SKVQX_PRINCIPAL) {
    const struct tb_store_config inner = principal_config(c, levels);
    tb_store_lowrank.span(&inner, head, rows, offset, bytes);
    *offset += TB_ALIGN;
    return;
  }
  const size_t block = block_bytes(c, &x);
  *offset = tb_skvqx_front(c, &x) + (size_t)head * (c->cap / TB_KV_BLOCK) * block;
  *bytes = rows / TB_KV_BLOCK * block;
}

static void encode(struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, const float *x,
                   size_t ldx, void *scratch) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  if (kind->basis == TB_SKVQX_PRINCIPAL) {
    struct tb_store inner = principal(st, kind);
    inner.ops->encode(&inner, head, t0, n, pos, x, ldx, scratch);
    return;
  }
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
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  if (kind->basis == TB_SKVQX_PRINCIPAL) {
    const struct tb_store inner = principal(st, kind);
    inner.ops->score(&inner, head, t0, n, pos, q, s, lds, scratch);
    return;
  }
  tb_skvqx_keys_score(st, block_at(st, kind, head, t0), t0 % TB_KV_BLOCK, n, q, s, lds, scratch);
}

static void accum(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, const float *p, size_t ldp,
                  uint32_t n_q, float *acc, void *scratch) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  if (kind->basis == TB_SKVQX_PRINCIPAL) {
    const struct tb_store inner = principal(st, kind);
    inner.ops->accum(&inner, head, t0, n, p, ldp, n_q, acc, scratch);
    return;
  }
  tb_skvqx_values_accum(st, block_at(st, kind, head, t0), t0 % TB_KV_BLOCK, n, p, ldp, n_q, acc, scratch);
}

static void fetch(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  if (kind->basis == TB_SKVQX_PRINCIPAL) {
    const struct tb_store inner = principal(st, kind);
    inner.ops->fetch(&inner, head, t0, n);
    return;
  }
  (st->config.side == TB_SIDE_K ? tb_skvqx_keys_fetch : tb_skvqx_values_fetch)(st, block_at(st, kind, head, t0),
                                                                               t0 % TB_KV_BLOCK, n);
}

static void expand(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, float *x,
                   size_t ldx, void *scratch) {
  const struct tb_skvqx *kind = tb_skvqx_of(st);
  if (kind->basis == TB_SKVQX_PRINCIPAL) {
    const struct tb_store inner = principal(st, kind);
    inner.ops->expand(&inner, head, t0, n, pos, x, ldx, scratch);
    return;
  }
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
                                             .revision = 1, /* keys and values have had other bases */                 \
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
                                             .fetch = fetch,                                                           \
                                             .expand = expand,                                                         \
                                             .span = span_##id}

SKVQX_STORE(skvqx4, "skvqx4", 16);
SKVQX_STORE(skvqx2, "skvqx2", 4);
SKVQX_STORE(skvqx1_5, "skvqx1.5", 3);
