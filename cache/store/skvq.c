/* skvq2, skvq1.5: SKVQ as published (arXiv 2405.06219), the baseline that skvqx is measured against.
 *
 *   keys are kept without RoPE, values as they are; one row per token holds the channels of all KV heads
 *   channels are reordered so that those of like range share a group: k-means on the (min, max) that the profile has of
 *     every channel, one cluster a group, whatever its head (skvq_groups.c); without a profile groups are runs of g
 *   each group of a token has a scale and a lower end of its own, both FP8-E4M3, from clip·min and clip·max; 4 levels,
 * or 3 levels packed five to a byte (simd/kvrow) attention expands tiles of rows to floats, rotates keys to their
 * positions, and multiplies Window and sinks are the policy's; tokens are encoded when they have left the window.
 *
 * Memory per token of D channels (all KV heads): D/4 or ⌈D/5⌉ code bytes and 2 bytes for each of ⌈D/g⌉ groups.
 *   D = 512, g = 128: 136 bytes, 2.125 bits per value; three levels: 111 bytes, 1.73
 * Error for normal values, g = 128, clip 0.92: 0.21 of the energy with 4 levels, 0.46 with 3. Limits: D up to 4096.
 *
 * Arguments, after ':' and joined by '+': g=N (channels per group, 128), clip=N (percent, 92), f16 (scale and lower end
 * in fp16), shrink (clip about the middle of the range instead of towards zero), had (heads rotated by a Walsh-Hadamard
 * transform, groups in runs; with shrink and clip=65 this is within 0.1 dB of Hadamard and Lloyd-Max levels). */
#include "cache/store/skvq.h"

#include <string.h>
#include "cache/store/args.h"

enum { TILE = 32 }; /* rows expanded together, as many as attn_accum sums at a time */

/* --------------------------------------------------------------------------------------------------- arguments */

static bool argument(const char **p, struct tb_skvq *x) {
  if (tb_arg_word(p, "g=")) return tb_arg_number(p, TB_KVROW_MAX, &x->group) && x->group > 0;
  if (tb_arg_word(p, "clip=")) return tb_arg_number(p, 100, &x->clip);
  if (tb_arg_word(p, "f16")) return x->f16 = true;
  if (tb_arg_word(p, "shrink")) return x->shrink = true;
  if (tb_arg_word(p, "had")) return x->hadamard = true;
  return false;
}

static bool parse(const char *args, struct tb_skvq *x) {
  for (const char *p = args; p;)
    if (!argument(&p, x) || !tb_arg_next(&p)) return false;
  return true;
}

static struct tb_skvq kind_of(const struct tb_store_config *c, unsigned levels) {
  struct tb_skvq x = {.levels = levels, .group = 128, .clip = 92};
  parse(c->args, &x);
  return x;
}

/* The largest power of two that divides d: what one Walsh-Hadamard transform covers. */
static uint32_t part_of(uint32_t d) {
  return d & (~d + 1);
}

static enum tb_status check(const struct tb_store_config *c, unsigned levels, struct tb_error *err) {
  struct tb_skvq x = {.levels = levels, .group = 128, .clip = 92};
  const uint64_t width = (uint64_t)c->n_heads * c->d;
  if (!parse(c->args, &x))
    return tb_fail(
        err, TB_E_ARG,
        "cache type skvq: parameter ':%.40s' is not made of g=1..%d, clip=0..100, f16, shrink, had, joined by '+'",
        c->args, TB_KVROW_MAX);
  if (c->d == 0 || width > TB_KVROW_MAX || width % 4 != 0)
    return tb_fail(err, TB_E_UNSUPPORTED,
                   "cache type skvq: %u heads of size %u are not a multiple of 4 channels up to %d", c->n_heads, c->d,
                   TB_KVROW_MAX);
  if ((size_t)TILE * c->d * sizeof(float) > TB_STORE_SCRATCH)
    return tb_fail(err, TB_E_UNSUPPORTED, "cache type skvq: head size %u is more than %zu", c->d,
                   TB_STORE_SCRATCH / TILE / sizeof(float));
  if (x.hadamard && part_of(c->d) < 16)
    return tb_fail(err, TB_E_UNSUPPORTED, "cache type skvq:had: head size %u is not a multiple of 16", c->d);
  return tb_skvq_check_profile(c, err);
}

/* -------------------------------------------------------------------------------------------------------- rows */

static unsigned levels_of(const struct tb_store *st) {
  return strcmp(st->ops->name, "skvq2") == 0 ? 4 : 3;
}

static size_t row_bytes(const struct tb_store_config *c, const struct tb_skvq *x) {
  const struct tb_kvrow row = {
      .levels = x->levels, .width = (size_t)c->n_heads * c->d, .n_groups = tb_skvq_groups(c, x), .f8 = !x->f16};
  return tb_kvrow_bytes(&row);
}

static size_t bytes_of(const struct tb_store_config *c, unsigned levels) {
  const struct tb_skvq x = kind_of(c, levels);
  return tb_skvq_table_bytes(c, &x) + (size_t)c->cap * row_bytes(c, &x);
}

/* A row is one piece for all heads: it goes with the first. */
static void span_of(const struct tb_store_config *c, unsigned levels, uint32_t head, uint32_t rows, size_t *offset,
                    size_t *bytes) {
  const struct tb_skvq x = kind_of(c, levels);
  *offset = tb_skvq_table_bytes(c, &x);
  *bytes = head == 0 ? rows * row_bytes(c, &x) : 0;
}

static size_t init_bytes(const struct tb_store_config *c) {
  return tb_skvq_init_bytes(c);
}

static void init(struct tb_store *st, void *work) {
  const struct tb_skvq x = kind_of(&st->config, levels_of(st));
  tb_skvq_init(st, &x, work);
}

static unsigned char *row_at(const struct tb_store *st, const struct tb_skvq *x, uint32_t row) {
  return st->mem + tb_skvq_table_bytes(&st->config, x) + row * row_bytes(&st->config, x);
}

/* ------------------------------------------------------------------------------------------------------- rotating */

/* To the position (or back from it) whose cosines and sines stand at `at` of the table. */
static void rotate(const struct tb_store *st, float *x, size_t pos, bool back) {
  const struct tb_rope_table *r = st->config.rope;
  const size_t half = r->n_rot / 2;
  const float *sin = r->sin + pos * half;
  float negative[TB_KVROW_MAX / 2];
  if (back) {
    for (size_t i = 0; i < half; i++)
      negative[i] = -sin[i];
    sin = negative;
  }
  (r->neox ? st->kernels->rope_neox : st->kernels->rope_norm)(x, r->cos + pos * half, sin, r->n_rot);
}

/* Its own inverse. Heads whose size is no power of two by parts. */
static void transform(const struct tb_store *st, float *head) {
  const uint32_t d = st->config.d, part = part_of(d);
  for (uint32_t c = 0; c < d; c += part)
    st->kernels->hadamard(head + c, part);
}

static bool rotates(const struct tb_store *st) {
  return st->config.side == TB_SIDE_K && st->config.rope && st->config.rope->n_rot > 0;
}

/* All heads: x is the row of the layer. */
static void encode(struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, const float *x,
                   size_t ldx, void *scratch) {
  (void)head;
  const struct tb_skvq kind = kind_of(&st->config, levels_of(st));
  const struct tb_kvrow f = tb_skvq_row(st, &kind);
  const size_t stride = tb_kvrow_bytes(&f);
  if (!rotates(st) && !kind.hadamard) {
    st->kernels->kvrow_pack(row_at(st, &kind, t0), stride, &f, x, ldx, n);
    return;
  }
  float *row = scratch;
  for (uint32_t i = 0; i < n; i++) {
    memcpy(row, x + i * ldx, f.width * sizeof *row);
    for (uint32_t h = 0; h < st->config.n_heads; h++) {
      if (rotates(st)) rotate(st, row + h * st->config.d, pos + i, true);
      if (kind.hadamard) transform(st, row + h * st->config.d);
    }
    st->kernels->kvrow_pack(row_at(st, &kind, t0 + i), stride, &f, row, f.width, 1);
  }
}

static void expand(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, float *x,
                   size_t ldx, void *scratch) {
  (void)scratch;
  const struct tb_skvq kind = kind_of(&st->config, levels_of(st));
  const struct tb_kvrow f = tb_skvq_row(st, &kind);
  const uint32_t d = st->config.d;
  st->kernels->kvrow_expand(x, ldx, &f, row_at(st, &kind, t0), tb_kvrow_bytes(&f), n, (size_t)head * d, d);
  for (uint32_t i = 0; i < n; i++) {
    if (kind.hadamard) transform(st, x + i * ldx);
    if (rotates(st)) rotate(st, x + i * ldx, pos + i, false);
  }
}

static void score(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos,
                  const struct tb_kv_query *q, float *s, size_t lds, void *scratch) {
  const uint32_t d = st->config.d;
  float *rows = scratch;
  for (uint32_t done = 0, piece; done < n; done += piece) {
    piece = n - done < TILE ? n - done : TILE;
    expand(st, head, t0 + done, piece, pos + done, rows, d, NULL);
    st->kernels->attn_score[TB_FMT_f32](s + done, lds, &q->acts, q->n_q, rows, d * sizeof *rows, piece, d);
  }
}

static void accum(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, const float *p, size_t ldp,
                  uint32_t n_q, float *acc, void *scratch) {
  const uint32_t d = st->config.d;
  float *rows = scratch;
  for (uint32_t done = 0, piece; done < n; done += piece) {
    piece = n - done < TILE ? n - done : TILE;
    expand(st, head, t0 + done, piece, 0, rows, d, NULL);
    st->kernels->attn_accum[TB_FMT_f32](acc, p + done, ldp, n_q, rows, d * sizeof *rows, piece, d);
  }
}

/* Defines `const struct tb_store_ops tb_store_<id>` called `text`. */
#define SKVQ_STORE(id, text, n_levels)                                                                                 \
  static enum tb_status check_##id(const struct tb_store_config *config, struct tb_error *err) {                       \
    return check(config, n_levels, err);                                                                               \
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
                                             .granule = TILE,                                                          \
                                             .profiled = true,                                                         \
                                             .ordered = true,                                                          \
                                             .joint = true,                                                            \
                                             .check = check_##id,                                                      \
                                             .bytes = bytes_##id,                                                      \
                                             .init = init,                                                             \
                                             .init_bytes = init_bytes,                                                 \
                                             .encode = encode,                                                         \
                                             .score = score,                                                           \
                                             .accum = accum,                                                           \
                                             .expand = expand,                                                         \
                                             .span = span_##id}

SKVQ_STORE(skvq2, "skvq2", 4);
SKVQ_STORE(skvq1_5, "skvq1.5", 3);
