/* merge: two neighbouring layers share the directions of their keys and values.
 *
 * Paper: MiniCache (arXiv 2405.14366). Rows of neighbouring layers that differ in length more than in direction are
 * kept as one direction and two lengths. Here: per KV head, once both have left the exact window. Idea:
 *   - the unit vectors u, w of the two layers' rows are merged half way along the arc between them (SLERP),
 *       e = (sin((1-t)Ω)·u + sin(tΩ)·w) / sin Ω,   t = 1/2,   Ω the angle;
 *     nearly parallel ones (Ω < 1e-3) by their mean; of opposite ones (Ω > π - 1e-3) e is the lower layer's, and the
 * upper layer's length 0 unless the row is retained
 *   - e goes into any store (one for both layers), the two lengths are fp16
 *   - of every 160 rows a fixed number is retained: both originals in fp16, for the largest angles. The paper's
 * formula, as reported, keeps the smallest (`similar=1`), which is for comparison
 *   - first the upper layer is turned towards the lower one by what costs nothing: keys by one angle per rotated pair,
 *     which commutes with RoPE, values by any rotation, heads exchanged (merge_align.c). Both come from the profile,
 * and a pair of layers that does not agree to `cosine` percent is refused
 *   - keys are merged with RoPE: both layers' rotate alike, so angles between them are those before it
 * Memory of a merged layer, per token and KV head and side: half the direction store, 2 bytes of length and
 *   retain/160 · (1 + 2·d) bytes. d = 64, q8_0, retain 8: 34 + 2 + 6.5 = 42.5 of 68 bytes.
 * Error: angle Ω/2 on either side, |x - x̂|² = 2·(1 - cos Ω/2)·|x|²: 12.95 dB at cos Ω = 0.9.
 * Limits: nothing is read less often: the directions go through each layer's attention. Both layers need the same
 * types, window, sinks and shape, and no sliding window. Stores that keep heads together (cskv) cannot hold directions.
 */
#include "cache/policy/merge.h"

#include <math.h>
#include <string.h>

enum { BLOCK = TB_ATTN_BLOCK };

struct tb_merge {
  struct tb_plain plain;    /* first */
  struct tb_merge *lower;   /* of the upper layer; else NULL */
  struct tb_store inner[2]; /* directions of keys and values; memory of the lower layer */
  bool similar;
};

static struct tb_merge *merge_of(struct tb_policy *p) {
  return (struct tb_merge *)(void *)p;
}

/* --------------------------------------------------------------------------------------------------------- checking */

static const char *type_of(const struct tb_plan_layer *p, enum tb_side side) {
  return side == TB_SIDE_K ? p->type_k : p->type_v;
}

static bool same_lines(const struct tb_plan_layer *a, const struct tb_plan_layer *b) {
  return strcmp(a->type_k, b->type_k) == 0 && strcmp(a->type_v, b->type_v) == 0 && a->window == b->window &&
         a->sinks == b->sinks && a->merge.retain == b->merge.retain && a->merge.similar == b->merge.similar &&
         a->merge.unaligned == b->merge.unaligned && a->merge.cosine == b->merge.cosine;
}

static bool same_shapes(const struct tb_kv_shape *a, const struct tb_kv_shape *b) {
  return a->n_kv == b->n_kv && a->d_k == b->d_k && a->d_v == b->d_v && a->rope == b->rope && !a->sliding && !b->sliding;
}

static enum tb_status check_pair(const struct tb_policy_layer *l, struct tb_error *err) {
  const bool up = l->plan->merge.with == TB_MERGE_UP;
  if (up ? l->index + 1 >= l->n_layer : l->index == 0)
    return tb_fail(err, TB_E_ARG, "merge=%s: there is no layer %s this one", up ? "up" : "down",
                   up ? "above" : "below");
  const struct tb_plan_layer *other = up ? l->plan + 1 : l->plan - 1;
  if (other->merge.with != (uint32_t)(up ? TB_MERGE_DOWN : TB_MERGE_UP))
    return tb_fail(err, TB_E_ARG, "merge=%s: the layer %s this one has no merge=%s", up ? "up" : "down",
                   up ? "above" : "below", up ? "down" : "up");
  if (!same_lines(l->plan, other))
    return tb_fail(err, TB_E_ARG, "merge: both layers need the same types, window, sinks and options");
  if (!same_shapes(l->shape, up ? l->shape + 1 : l->shape - 1))
    return tb_fail(err, TB_E_UNSUPPORTED, "merge: the layers differ in heads, head sizes or rotation, or slide");
  return TB_OK;
}

static enum tb_status check_cosine(const struct tb_policy_layer *l, struct tb_error *err) {
  const struct tb_merge_plan *m = &l->plan->merge;
  for (enum tb_side side = TB_SIDE_K; side <= TB_SIDE_V; side++) {
    double cosine;
    enum tb_status status = tb_merge_cosine(l->shape, side, !m->unaligned, &cosine, err);
    if (status) return status;
    if (!(cosine * 100 >= m->cosine))
      return tb_fail(err, TB_E_ARG,
                     "merge: %s agree with those of the layer below to a cosine of %.3f%s, cosine=%u asks more",
                     side == TB_SIDE_K ? "keys" : "values", cosine, m->unaligned ? "" : " when aligned", m->cosine);
  }
  return TB_OK;
}

static enum tb_status merge_check(const struct tb_policy_layer *l, struct tb_error *err) {
  enum tb_status status = tb_policy_plain.check(l, err);
  if (!status && l->plan->recall)
    status = tb_fail(err, TB_E_UNSUPPORTED, "merge: recall= and merge= exclude each other");
  if (!status) status = check_pair(l, err);
  for (enum tb_side side = TB_SIDE_K; !status && side <= TB_SIDE_V; side++)
    if (tb_store_find(type_of(l->plan, side))->joint)
      status = tb_fail(err, TB_E_UNSUPPORTED, "merge: type %s keeps all heads together", type_of(l->plan, side));
  if (!status && l->plan->merge.retain > BLOCK)
    status = tb_fail(err, TB_E_ARG, "merge: retain=%u is not in 0..%d", l->plan->merge.retain, BLOCK);
  if (!status && l->plan->merge.with == TB_MERGE_DOWN) status = check_cosine(l, err);
  return status;
}

/* ------------------------------------------------------------------------------------------------------------ making
 */

static size_t encode_scratch(const struct tb_kv_shape *s) {
  const size_t d = s->d_k > s->d_v ? s->d_k : s->d_v;
  return TB_STORE_SCRATCH + 3 * BLOCK * d * sizeof(float);
}

static struct tb_policy_need merge_need(const struct tb_policy_layer *l) {
  struct tb_policy_need need = tb_policy_plain.need(l);
  const size_t d = l->shape->d_k > l->shape->d_v ? l->shape->d_k : l->shape->d_v;
  const size_t rows = (size_t)l->n_batch * l->shape->n_kv, encoding = encode_scratch(l->shape);
  const size_t align = tb_align_bytes(l->shape->n_kv, (uint32_t)d);
  if (encoding > need.scratch_bytes) need.scratch_bytes = encoding;
  if (align > need.init_bytes) need.init_bytes = align;
  need.chunk[0] = rows * tb_row_bytes(TB_FMT_f16, l->shape->d_k);
  need.chunk[1] = rows * tb_row_bytes(TB_FMT_f16, l->shape->d_v);
  return need;
}

static struct tb_plain_side make_side(struct tb_arena *arena, const struct tb_policy_layer *l, enum tb_side side,
                                      struct tb_store *inner, const struct tb_kernels *kernels, uint64_t *stored) {
  const bool upper = l->plan->merge.with == TB_MERGE_DOWN;
  const uint32_t cap = (uint32_t)tb_round_up(l->n_ctx, BLOCK);
  struct tb_plain_side s = {0};
  if (!upper) *inner = tb_plain_store(arena, l, side, type_of(l->plan, side), cap, kernels, stored);
  s.main = (struct tb_store){.ops = &tb_merged_store, .kernels = kernels};
  s.main.config = (struct tb_store_config){.side = side,
                                           .n_heads = l->shape->n_kv,
                                           .d = side == TB_SIDE_K ? l->shape->d_k : l->shape->d_v,
                                           .cap = cap,
                                           .layer = l->shape->layer,
                                           .profile = l->shape->profile,
                                           .rope = side == TB_SIDE_K ? l->shape->rope : NULL};
  const size_t bytes = tb_merged_bytes(&s.main.config, upper, l->plan->merge.retain);
  s.main.mem = tb_carve(arena, bytes, 1);
  *stored += bytes;
  if (s.main.mem) {
    tb_merged_init(&s.main, inner, upper, l->plan->merge.retain);
    struct tb_merged *m = (struct tb_merged *)(void *)s.main.mem;
    if (upper) tb_merge_align(l->shape, side, !l->plan->merge.unaligned, &m->map, l->init_work, NULL);
  }
  /* The lower layer waits until the upper one has the step's tokens too. */
  tb_plain_window(&s, arena, l, side, BLOCK + (upper ? 0 : l->n_batch), kernels, stored);
  return s;
}

static struct tb_policy *merge_create(struct tb_arena *arena, const struct tb_policy_layer *l, struct tb_policy *before,
                                      const struct tb_kernels *kernels, uint64_t *stored) {
  struct tb_merge *p = tb_carve(arena, 1, sizeof *p);
  struct tb_merge made = {.plain = {.base = {&tb_policy_merge}, .shape = l->shape}, .similar = l->plan->merge.similar};
  if (l->plan->merge.with == TB_MERGE_DOWN && before) {
    made.lower = merge_of(before);
    made.inner[0] = made.lower->inner[0];
    made.inner[1] = made.lower->inner[1];
  }
  made.plain.k = make_side(arena, l, TB_SIDE_K, &made.inner[0], kernels, stored);
  made.plain.v = make_side(arena, l, TB_SIDE_V, &made.inner[1], kernels, stored);
  if (!p) return NULL;
  *p = made;
  return &p->plain.base;
}

/* ----------------------------------------------------------------------------------------------------------- merging
 */

static float length(const float *x, uint32_t d) {
  double sum = 0;
  for (uint32_t c = 0; c < d; c++)
    sum += (double)x[c] * x[c];
  return (float)sqrt(sum);
}

/* Direction of two rows of lengths na, nb, and the angle between them. */
static float direction(float *e, const float *a, float na, const float *b, float nb, uint32_t d) {
  const double half_way = 0.5, pi = 3.14159265358979323846;
  double cosine = 0, wa = 1, wb = 0;
  if (na > 0 && nb > 0) {
    for (uint32_t c = 0; c < d; c++)
      cosine += (double)a[c] * b[c];
    cosine = fmax(-1, fmin(1, cosine / ((double)na * nb)));
  } else {
    cosine = 1; /* one of them has no direction: the other's serves both */
    wa = na > 0;
    wb = nb > 0;
  }
  const double angle = acos(cosine);
  if (na > 0 && nb > 0 && angle <= pi - 1e-3) {
    wa = angle < 1e-3 ? 1 - half_way : sin((1 - half_way) * angle) / sin(angle);
    wb = angle < 1e-3 ? half_way : sin(half_way * angle) / sin(angle);
  }
  for (uint32_t c = 0; c < d; c++)
    e[c] = (float)((na > 0 ? wa * a[c] / na : 0) + (nb > 0 ? wb * b[c] / nb : 0));
  const float unit = length(e, d);
  for (uint32_t c = 0; unit > 0 && c < d; c++)
    e[c] /= unit;
  return (float)angle;
}

/* Numbers of the `keep` rows of largest angle (or smallest), ascending; the first of equals. */
static void retained(const float *angle, uint32_t keep, bool similar, uint8_t *which) {
  bool taken[BLOCK] = {false};
  for (uint32_t i = 0; i < keep; i++) {
    int best = -1;
    for (int t = 0; t < BLOCK; t++)
      if (!taken[t] && (best < 0 || (similar ? angle[t] < angle[best] : angle[t] > angle[best]))) best = t;
    taken[best] = true;
  }
  for (int t = 0, n = 0; t < BLOCK; t++)
    if (taken[t]) which[n++] = (uint8_t)t;
}

struct job {
  struct tb_merge *upper;
  struct tb_cache_work *w;
  enum tb_side side;
  uint32_t blocks;
};

static struct tb_plain_side *side_of(struct tb_merge *m, enum tb_side side) {
  return side == TB_SIDE_K ? &m->plain.k : &m->plain.v;
}

static void merge_task(void *arg, size_t task, unsigned thread) {
  const struct job *j = arg;
  struct tb_plain_side *lower = side_of(j->upper->lower, j->side), *upper = side_of(j->upper, j->side);
  const struct tb_merged *m = (const struct tb_merged *)(const void *)upper->main.mem;
  const uint32_t d = upper->main.config.d, head = (uint32_t)(task / j->blocks), other = m->map.head[head];
  const uint32_t row = upper->encoded + (uint32_t)(task % j->blocks) * BLOCK, pos = upper->sinks + row;
  unsigned char *scratch = j->w->scratch + thread * j->w->scratch_bytes;
  float *a = (float *)(void *)(scratch + TB_STORE_SCRATCH), *b = a + BLOCK * (size_t)d, *e = b + BLOCK * (size_t)d;
  float na[BLOCK], nb[BLOCK], angle[BLOCK];
  uint8_t which[BLOCK];
  tb_plain_rows(lower, other, pos, BLOCK, a, d, scratch);
  tb_plain_rows(upper, head, pos, BLOCK, b, d, scratch);
  for (uint32_t t = 0; t < BLOCK; t++) {
    na[t] = length(a + (size_t)t * d, d);
    nb[t] = length(b + (size_t)t * d, d);
    angle[t] = direction(e + (size_t)t * d, a + (size_t)t * d, na[t], b + (size_t)t * d, nb[t], d);
    if (angle[t] > 3.1405926f) nb[t] = 0;
  }
  retained(angle, m->keep, j->upper->similar, which);
  tb_merged_put(&lower->main, other, row, na, which, a, d);
  tb_merged_put(&upper->main, head, row, nb, which, b, d);
  struct tb_store *inner = &j->upper->inner[j->side];
  inner->ops->encode(inner, other, row, BLOCK, pos, e, d, scratch);
}

static void settle(struct tb_merge *upper, struct tb_cache_work *w, enum tb_side side) {
  struct tb_plain_side *a = side_of(upper->lower, side), *b = side_of(upper, side);
  const uint32_t n = tb_plain_due(b);
  struct job j = {upper, w, side, n / BLOCK};
  tb_parallel_for(w->team, (size_t)j.blocks * b->main.config.n_heads, merge_task, &j);
  tb_plain_leave(a, n);
  tb_plain_leave(b, n);
}

/* --------------------------------------------------------------------------------------------------------- the steps
 */

static void merge_append(struct tb_policy *self, struct tb_cache_work *w, uint32_t pos, uint32_t n, float *k,
                         float *v) {
  tb_policy_plain.append(self, w, pos, n, k, v);
}

static void merge_attend(struct tb_policy *self, struct tb_cache_work *w, uint32_t pos, uint32_t n, const float *q,
                         float *out) {
  struct tb_merge *m = merge_of(self);
  tb_plain_look(&m->plain, w, pos, n, q, out);
  if (!m->lower) return;
  settle(m, w, TB_SIDE_K);
  settle(m, w, TB_SIDE_V);
}

static void merge_truncate(struct tb_policy *self, struct tb_cache_work *w, uint32_t n) {
  tb_policy_plain.truncate(self, w, n);
}

static uint32_t merge_encoded(const struct tb_policy *self) {
  return tb_policy_plain.encoded(self);
}

/* ------------------------------------------------------------------------------------------------------------ saving
 */

static uint32_t merge_state_words(const struct tb_policy *self) {
  return tb_policy_plain.state_words(self);
}

static void merge_get_state(const struct tb_policy *self, uint32_t *words) {
  tb_policy_plain.get_state(self, words);
}

/* The two layers hold the same rows. */
static bool merge_set_state(struct tb_policy *self, uint32_t length_, const uint32_t *words) {
  const struct tb_merge *lower = merge_of(self)->lower;
  return tb_policy_plain.set_state(self, length_, words) &&
         (!lower || (words[0] == lower->plain.k.encoded && words[1] == lower->plain.v.encoded));
}

static enum tb_status merge_pieces(struct tb_policy *self, tb_cache_piece_fn fn, void *user, struct tb_error *err) {
  struct tb_merge *m = merge_of(self);
  enum tb_status status = tb_policy_plain.pieces(self, fn, user, err);
  for (enum tb_side side = TB_SIDE_K; !status && side <= TB_SIDE_V; side++) {
    struct tb_plain_side *s = side_of(m, side);
    for (uint32_t head = 0; !status && s->encoded && head < s->main.config.n_heads; head++) {
      unsigned char *at;
      size_t bytes;
      tb_merged_records(&s->main, head, s->encoded, &at, &bytes);
      status = fn(user, at, bytes, err);
    }
    if (!status && !m->lower) status = tb_plain_store_pieces(&m->inner[side], s->encoded, fn, user, err);
  }
  return status;
}

static bool merge_verify(const struct tb_policy *self) {
  const struct tb_plain *p = &((const struct tb_merge *)(const void *)self)->plain;
  return tb_merged_verify(&p->k.main, p->k.encoded) && tb_merged_verify(&p->v.main, p->v.encoded);
}

const struct tb_policy_ops tb_policy_merge = {.name = "merge",
                                              .check = merge_check,
                                              .need = merge_need,
                                              .create = merge_create,
                                              .append = merge_append,
                                              .attend = merge_attend,
                                              .truncate = merge_truncate,
                                              .encoded = merge_encoded,
                                              .state_words = merge_state_words,
                                              .get_state = merge_get_state,
                                              .set_state = merge_set_state,
                                              .pieces = merge_pieces,
                                              .verify = merge_verify};
