/* The search: for a context, the types of every layer within all limits; without one, the largest context first. */
#include "core/plan.h"

#include <math.h>
#include <string.h>
#include "cache/plan/choose.h"
#include "cache/plan/loss.h"

enum {
  STEP = 256,    /* contexts are multiples of it */
  USEFUL = 2048, /* below this many tokens values may be packed to have more of them */
  SPEED_CTX = 8192,
  RECALL_FROM = 8192, /* tokens from which on recall saves time worth its loss, */
  RECALL_SHARE = 8,   /* one of so many being attended to */
  SPILL_RESIDENT = 2, /* times what is attended to is in memory, where a file holds the rest */
};

#define NEARLY_EXACT 1e-6 /* loss of a layer in f16, rounded up */
#define SPEED_LOSS 0.01   /* nats that speed may cost, the layers in equal parts: 1 % in perplexity */

/* Types that a search may use. */
struct floors {
  double k, v;
  bool smallest;
  double most_loss; /* as in struct tb_choose */
  bool recall;
};

struct search {
  const struct tb_plan_ask *ask;
  const struct tb_context_options *o;
  struct tb_kv_shape *shapes;
  struct tb_rope_table rope;
  struct tb_plan_layer *lines;
  struct tb_plan_layer *given; /* the plan of the options, or NULL: chosen */
  struct tb_plan_layer line;   /* window, sinks, recall, resident */
  bool soft;                   /* soft bounds count */
  const struct tb_allocator *a;
  struct tb_error *err;
};

static struct tb_plan_size size_of(const struct search *s, uint32_t n_ctx) {
  uint32_t batch = s->o->n_batch < n_ctx ? s->o->n_batch : n_ctx;
  return (struct tb_plan_size){.n_ctx = n_ctx, .n_batch = batch, .n_threads = s->o->n_threads};
}

/* Bytes for the cache at a context, and the bound that leaves the fewest (NULL without bounds). */
static uint64_t room_at(const struct search *s, uint32_t n_ctx, const char **source) {
  struct tb_plan_count without;
  tb_plan_count_all(s->ask->subject, size_of(s, n_ctx), s->shapes, NULL, &without);
  uint64_t least = UINT64_MAX / 4;
  *source = NULL;
  for (size_t i = 0; i < s->ask->n_bounds; i++) {
    const struct tb_plan_bound *b = &s->ask->bounds[i];
    if (b->soft && !s->soft) continue;
    uint64_t room = tb_plan_cache_room(&without, b->total, b->bytes);
    if (room >= least) continue;
    least = room;
    *source = b->source;
  }
  return least;
}

/* Whether a plan stays within every bound; what it takes is counted exactly. */
static bool within(const struct search *s, uint32_t n_ctx, const struct tb_plan_layer *lines) {
  struct tb_plan_count all;
  tb_plan_count_all(s->ask->subject, size_of(s, n_ctx), s->shapes, lines, &all);
  for (size_t i = 0; i < s->ask->n_bounds; i++) {
    const struct tb_plan_bound *b = &s->ask->bounds[i];
    if ((!b->soft || s->soft) && all.total[b->total] > b->bytes) return false;
  }
  return true;
}

static uint64_t given_bytes(const struct search *s, uint32_t n_ctx) {
  struct tb_plan_size size = size_of(s, n_ctx);
  struct tb_cache_config c = {.n_layer = s->ask->subject->model.hp.n_layer,
                              .shapes = s->shapes,
                              .plan = s->given,
                              .n_ctx = n_ctx,
                              .n_batch = size.n_batch,
                              .n_threads = size.n_threads};
  uint64_t stored, total;
  tb_cache_bytes(&c, &stored, &total);
  return total;
}

/* Recall that may be chosen: for speed with everything in memory, for memory with clusters in a file. */
static uint32_t make_offers(const struct search *s, uint32_t n_ctx, struct floors f, struct tb_offer *offers) {
  uint32_t n = 0;
  if (f.recall && n_ctx >= RECALL_FROM && !s->line.recall) offers[n++] = (struct tb_offer){n_ctx / RECALL_SHARE, 0};
  for (uint32_t part = RECALL_SHARE; tb_plan_may_spill(s->o) && part <= 2 * RECALL_SHARE; part *= 2) {
    const uint32_t recall = n_ctx / part, resident = s->o->kv_resident;
    if (recall) offers[n++] = (struct tb_offer){recall, resident ? resident : SPILL_RESIDENT * recall};
  }
  return n;
}

/* Chooses at a context. TB_E_LIMIT: the smallest types are in `lines` and do not fit. */
static enum tb_status at(struct search *s, uint32_t n_ctx, struct floors f, uint64_t *bytes, double *loss,
                         const char **source) {
  const struct tb_plan_size size = size_of(s, n_ctx);
  const uint32_t n_layer = s->ask->subject->model.hp.n_layer;
  uint64_t room = room_at(s, n_ctx, source);
  if (s->given) {
    memcpy(s->lines, s->given, n_layer * sizeof *s->lines);
    *bytes = given_bytes(s, n_ctx);
    *loss = tb_plan_loss(s->shapes, s->lines, n_layer, n_ctx);
    return within(s, n_ctx, s->lines) ? TB_OK : tb_fail(s->err, TB_E_LIMIT, "the cache does not fit");
  }
  struct tb_choose c = {.shapes = s->shapes,
                        .n_layer = n_layer,
                        .n_ctx = n_ctx,
                        .n_batch = size.n_batch,
                        .n_threads = size.n_threads,
                        .window = s->line.window,
                        .sinks = s->line.sinks,
                        .recall = s->line.recall,
                        .resident = s->line.resident,
                        .type_k = s->o->type_k,
                        .type_v = s->o->type_v,
                        .least_bits_k = f.k,
                        .least_bits_v = f.v,
                        .smallest = f.smallest,
                        .most_loss = f.most_loss};
  c.n_offers = make_offers(s, n_ctx, f, c.offers);
  enum tb_status status = tb_choose_plan(&c, room, s->lines, bytes, loss, s->a, s->err);
  /* The room for the cache is rounded down; the smallest plan may fit it after all. */
  return status == TB_E_LIMIT && within(s, n_ctx, s->lines) ? TB_OK : status;
}

/* Whether the smallest types fit at a context. */
static enum tb_status fits_at(struct search *s, uint32_t n_ctx, struct floors f, bool *fits) {
  uint64_t bytes;
  double loss;
  const char *source;
  f.smallest = true;
  enum tb_status status = at(s, n_ctx, f, &bytes, &loss, &source);
  *fits = status == TB_OK;
  return status == TB_E_LIMIT ? TB_OK : status;
}

/* The largest context that fits, 0 when none does: `most`, or a multiple of STEP. Bytes grow with the context. */
static enum tb_status largest(struct search *s, uint32_t most, struct floors f, uint32_t *n_ctx) {
  bool fits;
  enum tb_status status = fits_at(s, most, f, &fits);
  uint32_t lo = 0, hi = most / STEP;
  if (fits) {
    *n_ctx = most;
    return status;
  }
  while (!status && lo < hi) {
    uint32_t mid = lo + (hi - lo + 1) / 2;
    status = fits_at(s, mid * STEP, f, &fits);
    if (fits)
      lo = mid;
    else
      hi = mid - 1;
  }
  *n_ctx = lo * STEP;
  return status;
}

/* The largest context that is wanted. */
static uint32_t most_wanted(const struct search *s) {
  const uint32_t train = s->ask->subject->model.hp.n_ctx_train;
  return s->ask->prefer == TB_PREFER_SPEED && train > SPEED_CTX ? SPEED_CTX : train;
}

/* More memory is never worse: each part of the maximum grows with it. */
static enum tb_status choose_context(struct search *s, struct floors f, uint32_t *n_ctx) {
  const uint32_t most = most_wanted(s);
  const struct floors even = {.k = 8, .v = 8};
  if (s->ask->prefer != TB_PREFER_QUALITY) return largest(s, most, f, n_ctx);
  enum tb_status status = largest(s, most, even, n_ctx);
  if (status || *n_ctx >= USEFUL || *n_ctx == most) return status;
  uint32_t packed = 0;
  status = largest(s, most < USEFUL ? most : USEFUL, f, &packed);
  if (packed > *n_ctx) *n_ctx = packed;
  return status;
}

/* What is known needs no floor. Speed: the loss is bounded by what was measured, or by types that do no harm anywhere.
 */
static struct floors floors_of(const struct search *s) {
  const bool measured = tb_loss_measured(s->ask->subject->profile);
  switch (s->ask->prefer) {
  case TB_PREFER_SPEED:
    return measured ? (struct floors){.most_loss = SPEED_LOSS / s->ask->subject->model.hp.n_layer, .recall = true}
                    : (struct floors){.k = 8, .v = 4, .most_loss = INFINITY};
  case TB_PREFER_CONTEXT:
    return (struct floors){0};
  default:
    return (struct floors){.k = measured ? 0 : 8};
  }
}

static enum tb_status search(struct search *s, struct tb_plan_answer *out) {
  const struct floors f = floors_of(s);
  uint32_t n_ctx = s->o->n_ctx;
  enum tb_status status = TB_OK;
  if (n_ctx == 0 && (status = choose_context(s, f, &n_ctx))) return status;
  const uint32_t train = s->ask->subject->model.hp.n_ctx_train;
  const bool none = n_ctx == 0;
  if (none) n_ctx = train < STEP ? train : STEP;
  uint64_t bytes;
  double loss;
  const char *source, *binding;
  status = at(s, n_ctx, f, &bytes, &loss, &source);
  if (status && status != TB_E_LIMIT) return status;
  *out = (struct tb_plan_answer){.lines = s->lines,
                                 .n_ctx = n_ctx,
                                 .n_batch = size_of(s, n_ctx).n_batch,
                                 .fits = status == TB_OK,
                                 .loss = loss,
                                 .cache = bytes};
  /* What stands in the way: of fitting at all, or of a larger context or better types. */
  room_at(s, n_ctx, &binding);
  const bool best = loss <= NEARLY_EXACT * s->ask->subject->model.hp.n_layer;
  if (!out->fits || (s->o->n_ctx == 0 && n_ctx < most_wanted(s)) || (!best && f.most_loss == 0 && !s->given))
    out->limited_by = binding;
  return TB_OK;
}

static enum tb_status prepare(struct search *s) {
  const struct tb_model *m = &s->ask->subject->model;
  struct tb_context_options words = *s->o;
  words.kv_plan = NULL;
  if (s->o->kv_plan || tb_plan_may_spill(s->o)) { /* recall may be in lines alone */
    words.kv_spill = NULL;
    words.kv_resident = 0;
  }
  enum tb_status status = tb_context_make_plan(&words, m->hp.n_layer, s->lines, s->err); /* checks the type names */
  if (status) return status;
  s->line = s->lines[0];
  s->rope = (struct tb_rope_table){.n_rot = m->hp.rope.n_rot, .neox = m->hp.rope.neox};
  tb_context_make_shapes(m, &s->rope, s->ask->subject->profile, s->shapes);
  struct tb_cache_config c = {
      .n_layer = m->hp.n_layer, .shapes = s->shapes, .plan = s->lines, .n_ctx = STEP, .n_batch = 1, .n_threads = 1};
  if ((status = tb_cache_check(&c, s->err))) return status;
  if (!s->o->kv_plan && (!s->o->type_k || !s->o->type_v)) return TB_OK;
  s->given = tb_calloc(s->a, m->hp.n_layer, sizeof *s->given);
  if (!s->given) return tb_fail(s->err, TB_E_NOMEM, "plan: out of memory");
  if ((status = tb_context_make_plan(s->o, m->hp.n_layer, s->given, s->err))) return status;
  c.plan = s->given;
  return tb_cache_check(&c, s->err);
}

enum tb_status tb_plan_search(const struct tb_plan_ask *ask, struct tb_plan_answer *out, const struct tb_allocator *a,
                              struct tb_error *err) {
  struct search s = {.ask = ask, .o = ask->options, .lines = out->lines, .soft = true, .a = a, .err = err};
  s.shapes = tb_calloc(a, ask->subject->model.hp.n_layer, sizeof *s.shapes);
  enum tb_status status = s.shapes ? prepare(&s) : tb_fail(err, TB_E_NOMEM, "plan: out of memory");
  if (!status) status = search(&s, out);
  bool any_soft = false;
  for (size_t i = 0; i < ask->n_bounds; i++)
    any_soft |= ask->bounds[i].soft;
  if (!status && !out->fits && any_soft) { /* the weights will be paged */
    s.soft = false;
    status = search(&s, out);
    out->paging = !status && out->fits;
  }
  tb_free(a, s.given);
  tb_free(a, s.shapes);
  return status;
}
