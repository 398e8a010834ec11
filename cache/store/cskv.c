/* cskv:R[:BITS[:METHOD]]: R latents per token for all heads of a layer together, keys without RoPE.
 *
 * Paper: CSKV (arXiv 2409.10593), the published form, kept for comparison: lowrank.c is what it should be on a CPU.
 * Idea: y = x·W of k_proj and v_proj is kept as c = x·A with W ≈ A·B, R columns for the whole layer; keys are rebuilt
 * and rotated whenever they are read, values are summed in latent space and expanded once per block. Every such
 *   factorisation that keeps a subspace amounts to c = down·y of the finished vector, so quantised weights, biases and
 *   norms of heads need no care:
 *   METHOD svd       the leading singular vectors of W
 *   METHOD asvd      the same with inputs scaled by S = sqrt(mean|x|) (arXiv 2312.05821), the paper's start of
 * training. S·W = U·Σ·Vᵀ gives A·B = S⁻¹·U·Σ·Vᵀ = W·V·Vᵀ: the eigenvectors of Wᵀ·S²·W METHOD closed    (default) where
 * the paper's training ends: the least E|y - y·V·Vᵀ|², eigenvectors of E[y yᵀ] METHOD weighted  least error of scores
 * and outputs: queries average over all distances, so a pair of rotated coordinates weighs by its energy in the
 * queries; values by Wo BITS 32, 16 (default), 8 (q8_0), 4 (q4_0).
 *
 * Memory: tokens · bytes of a row of R + 2·R·n_kv·d floats. cskv:96:4, n_kv·d = 512: 54 B, 0.84 bits per element.
 * Error: the energy outside the subspace and that of the row format.
 * Limits: R ≤ 512, heads ≤ 256; R a multiple of 32 for 8 and 4 bits; needs a profile. Each KV head reads all latents
 * and rebuilds its keys from them, n_kv·R/2 times the work of attention itself. */
#include "cache/store/cskv.h"

#include <string.h>

enum { GRANULE = TB_ATTN_BLOCK, MAX_RANK = 512, MAX_HEAD = 256, TILE = 16, QUERIES = 8 };

/* -------------------------------------------------------------------------------------------------------- arguments */

static bool take(const char **p, const char *text) {
  const size_t n = strlen(text);
  if (strncmp(*p, text, n) != 0 || ((*p)[n] && (*p)[n] != ':')) return false;
  *p += n;
  return true;
}

static bool parse(const char *args, struct tb_cskv *j) {
  static const struct {
    const char *text;
    enum tb_format format;
  } bits[] = {{"32", TB_FMT_f32}, {"16", TB_FMT_f16}, {"8", TB_FMT_q8_0}, {"4", TB_FMT_q4_0}};
  static const char *const methods[] = {"svd", "asvd", "closed", "weighted"};
  *j = (struct tb_cskv){.format = TB_FMT_f16, .method = TB_CSKV_CLOSED};
  const char *p = args ? args : "";
  for (; *p >= '0' && *p <= '9' && j->rank <= MAX_RANK; p++)
    j->rank = 10 * j->rank + (uint32_t)(*p - '0');
  bool more = *p == ':';
  for (size_t i = 0; more && i < sizeof bits / sizeof bits[0]; i++) {
    const char *q = p + 1;
    if (!take(&q, bits[i].text)) continue;
    j->format = bits[i].format;
    p = q;
    more = *p == ':';
    break;
  }
  for (size_t i = 0; more && i < sizeof methods / sizeof methods[0]; i++) {
    const char *q = p + 1;
    if (!take(&q, methods[i])) continue;
    j->method = (enum tb_cskv_method)i;
    p = q;
    break;
  }
  return *p == 0 && args && *args;
}

static struct tb_cskv of(const struct tb_store_config *c) {
  struct tb_cskv j;
  parse(c->args, &j);
  return j;
}

static enum tb_status check(const struct tb_store_config *c, struct tb_error *err) {
  struct tb_cskv j;
  const uint32_t wide = c->n_heads * c->d;
  if (c->d == 0 || c->d > MAX_HEAD)
    return tb_fail(err, TB_E_UNSUPPORTED, "cache type cskv: head size %u is not in 1..%d", c->d, MAX_HEAD);
  if (!parse(c->args, &j))
    return tb_fail(err, TB_E_ARG,
                   "cache type cskv: '%s' is not R[:BITS][:METHOD] with BITS 32, 16, 8 or 4 and METHOD svd, asvd, "
                   "closed or weighted",
                   c->args ? c->args : "");
  if (j.rank == 0 || j.rank > wide || j.rank > MAX_RANK)
    return tb_fail(err, TB_E_ARG, "cache type cskv:%s: %u latents are not in 1..%u", c->args, j.rank,
                   wide < MAX_RANK ? wide : MAX_RANK);
  if (j.rank % tb_formats[j.format].block_values)
    return tb_fail(err, TB_E_ARG, "cache type cskv:%s: %u latents are not a multiple of %u", c->args, j.rank,
                   tb_formats[j.format].block_values);
  return tb_cskv_factor_check(c, &j, err);
}

/* ----------------------------------------------------------------------------------------------------------- memory */

static size_t factor_floats(const struct tb_store_config *c, const struct tb_cskv *j) {
  return tb_round_up((size_t)j->rank * c->n_heads * c->d * sizeof(float), TB_ALIGN) / sizeof(float);
}

static float *down_of(const struct tb_store *st) {
  return (float *)(void *)st->mem;
}

static float *up_of(const struct tb_store *st, const struct tb_cskv *j) {
  return down_of(st) + factor_floats(&st->config, j);
}

static size_t row_bytes(const struct tb_cskv *j) {
  return tb_row_bytes(j->format, j->rank);
}

static unsigned char *row_at(const struct tb_store *st, const struct tb_cskv *j, uint32_t row) {
  return st->mem + 2 * factor_floats(&st->config, j) * sizeof(float) + row * row_bytes(j);
}

static size_t bytes(const struct tb_store_config *c) {
  const struct tb_cskv j = of(c);
  return 2 * factor_floats(c, &j) * sizeof(float) + (size_t)c->cap * row_bytes(&j);
}

/* The latents belong to all heads; the first one shows them. */
static void span(const struct tb_store_config *c, uint32_t head, uint32_t rows, size_t *offset, size_t *bytes_) {
  const struct tb_cskv j = of(c);
  *offset = 2 * factor_floats(c, &j) * sizeof(float);
  *bytes_ = head == 0 ? rows * row_bytes(&j) : 0;
}

static bool fine(const struct tb_store_config *c) {
  return of(c).format == TB_FMT_f32;
}

static void init(struct tb_store *st, void *work) {
  const struct tb_cskv j = of(&st->config);
  tb_cskv_factor(&st->config, &j, down_of(st), up_of(st, &j), work);
}

/* --------------------------------------------------------------------------------------------------------- rotation */

static void rotate(const struct tb_store *st, uint32_t pos, float *x, const float *sin_row) {
  const struct tb_rope_table *t = st->config.rope;
  const float *cos_row = t->cos + (size_t)pos * (t->n_rot / 2);
  (t->neox ? st->kernels->rope_neox : st->kernels->rope_norm)(x, cos_row, sin_row, t->n_rot);
}

/* Out of the rotation, and of the square of its magnitude that turning back the same way leaves (YaRN's is not 1). */
static void unrotate(const struct tb_store *st, uint32_t pos, float *x) {
  const struct tb_rope_table *t = st->config.rope;
  const size_t pairs = t->n_rot / 2;
  const float *cos_row = t->cos + pos * pairs, *sin_row = t->sin + pos * pairs;
  const float norm = cos_row[0] * cos_row[0] + sin_row[0] * sin_row[0];
  float back[MAX_HEAD / 2];
  for (size_t i = 0; i < pairs; i++)
    back[i] = -sin_row[i];
  rotate(st, pos, x, back);
  for (size_t i = 0; i < t->n_rot; i++)
    x[i] /= norm;
}

/* -------------------------------------------------------------------------------------------------------- operations
 */

static void encode(struct tb_store *st, uint32_t head_, uint32_t t0, uint32_t n, uint32_t pos, const float *x,
                   size_t ldx, void *scratch) {
  const struct tb_cskv j = of(&st->config);
  const uint32_t d = st->config.d, heads = st->config.n_heads, wide = heads * d;
  float *latent = scratch, head[MAX_HEAD];
  (void)head_;
  for (uint32_t t = 0; t < n; t++) {
    memset(latent, 0, j.rank * sizeof *latent);
    for (uint32_t h = 0; h < heads; h++) {
      memcpy(head, x + t * ldx + (size_t)h * d, d * sizeof *head);
      if (st->config.rope) unrotate(st, pos + t, head);
      float *part = latent + j.rank;
      st->kernels->tile_qk(part, j.rank, head, d, 1, down_of(st) + (size_t)h * d, wide, j.rank, d);
      for (uint32_t i = 0; i < j.rank; i++)
        latent[i] += part[i];
    }
    st->kernels->kvpack[j.format](row_at(st, &j, t0 + t), latent, j.rank);
  }
}

/* Up to TILE rows of one head, rebuilt: keys rotated. latent: TILE·rank floats of work. */
static void rebuild(const struct tb_store *st, const struct tb_cskv *j, uint32_t head, uint32_t t0, uint32_t n,
                    uint32_t pos, float *x, size_t ldx, float *latent) {
  const uint32_t d = st->config.d;
  for (uint32_t t = 0; t < n; t++) {
    st->kernels->kvdequant[j->format](latent + (size_t)t * j->rank, row_at(st, j, t0 + t), j->rank);
    memset(x + t * ldx, 0, d * sizeof *x);
  }
  st->kernels->tile_pv(x, ldx, latent, j->rank, n, up_of(st, j) + (size_t)head * d, (size_t)st->config.n_heads * d,
                       j->rank, d);
  for (uint32_t t = 0; st->config.rope && t < n; t++)
    rotate(st, pos + t, x + t * ldx, st->config.rope->sin + (size_t)(pos + t) * (st->config.rope->n_rot / 2));
}

static void expand(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, float *x,
                   size_t ldx, void *scratch) {
  const struct tb_cskv j = of(&st->config);
  for (uint32_t t = 0; t < n; t += TILE)
    rebuild(st, &j, head, t0 + t, n - t < TILE ? n - t : TILE, pos + t, x + t * ldx, ldx, scratch);
}

static void score(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos,
                  const struct tb_kv_query *q, float *s, size_t lds, void *scratch) {
  const struct tb_cskv j = of(&st->config);
  const uint32_t d = st->config.d;
  float *keys = scratch, *latent = keys + TILE * (size_t)d;
  for (uint32_t t = 0; t < n; t += TILE) {
    const uint32_t m = n - t < TILE ? n - t : TILE;
    rebuild(st, &j, head, t0 + t, m, pos + t, keys, d, latent);
    st->kernels->tile_qk(s + t, lds, q->acts.f, q->acts.ldf, q->n_q, keys, d, m, d);
  }
}

static void accum(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, const float *p, size_t ldp,
                  uint32_t n_q, float *acc, void *scratch) {
  const struct tb_cskv j = of(&st->config);
  const uint32_t d = st->config.d;
  float *latent = scratch;
  for (uint32_t g = 0; g < n_q; g += QUERIES) {
    const uint32_t m = n_q - g < QUERIES ? n_q - g : QUERIES;
    memset(latent, 0, (size_t)m * j.rank * sizeof *latent);
    st->kernels->attn_accum[j.format](latent, p + g * ldp, ldp, m, row_at(st, &j, t0), row_bytes(&j), n, j.rank);
    st->kernels->tile_pv(acc + (size_t)g * d, d, latent, j.rank, m, up_of(st, &j) + (size_t)head * d,
                         (size_t)st->config.n_heads * d, j.rank, d);
  }
}

extern const struct tb_store_ops tb_store_cskv;
const struct tb_store_ops tb_store_cskv = {.name = "cskv",
                                           .granule = GRANULE,
                                           .profiled = true,
                                           .check = check,
                                           .bytes = bytes,
                                           .init = init,
                                           .init_bytes = tb_cskv_factor_bytes,
                                           .fine = fine,
                                           .joint = true,
                                           .encode = encode,
                                           .score = score,
                                           .accum = accum,
                                           .span = span,
                                           .expand = expand};
