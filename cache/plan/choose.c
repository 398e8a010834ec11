#include "cache/plan/choose.h"

#include <string.h>
#include "cache/plan/bytes.h"
#include "cache/plan/loss.h"
#include "cache/plan/solve.h"
#include "cache/plan/time.h"

enum { MAX_TYPES = 24, DENSE = 2 /* first layers, whose attention is spread wide */ };

/* The types that one side of one layer may have, smallest first. */
struct ladder {
  const char *type[MAX_TYPES];
  double bits[MAX_TYPES];
  uint32_t n;
};

/* Keeps the ladder sorted by bits; a type that is both larger and worse than another never helps, the solver drops it.
 */
static void insert(struct ladder *l, const char *type, double bits) {
  if (l->n == MAX_TYPES) return;
  uint32_t at = l->n++;
  for (; at > 0 && l->bits[at - 1] > bits; at--) {
    l->type[at] = l->type[at - 1];
    l->bits[at] = l->bits[at - 1];
  }
  l->type[at] = type;
  l->bits[at] = bits;
}

/* f32 is left out: it is the oracle of the tests, and f16 loses nothing that could be measured. What is left: the types
 * of tb_loss_type. */
static void make_ladder(const struct tb_choose *c, enum tb_side side, uint32_t layer, struct ladder *l) {
  const struct tb_kv_shape *s = &c->shapes[layer];
  const char *fixed = side == TB_SIDE_K ? c->type_k : c->type_v;
  const double least = side == TB_SIDE_K ? c->least_bits_k : c->least_bits_v;
  l->n = 0;
  if (fixed) {
    insert(l, fixed, 0);
    return;
  }
  const char *name;
  for (size_t i = 0; (name = tb_loss_type(i)); i++) {
    if (!tb_loss_known(s, name, side) || (c->recall && tb_store_find(name)->ordered)) continue;
    const double bits = tb_plan_type_bits(name, side, s);
    if (bits > 0 && bits >= least) insert(l, name, bits);
  }
  if (l->n > 1 && tb_loss_at_end(layer, c->n_layer) && !tb_loss_measured(s->profile)) {
    l->n--;
    memmove(l->type, l->type + 1, l->n * sizeof l->type[0]);
    memmove(l->bits, l->bits + 1, l->n * sizeof l->bits[0]);
  }
}

static struct tb_plan_layer line(const struct tb_choose *c, const char *k, const char *v) {
  struct tb_plan_layer p = {.window = c->window, .sinks = c->sinks, .recall = c->recall, .resident = c->resident};
  memcpy(p.type_k, k, strlen(k) + 1); /* names of the registry, or checked by the caller: they fit */
  memcpy(p.type_v, v, strlen(v) + 1);
  return p;
}

struct work {
  struct tb_choice *choices;   /* n_layer */
  struct tb_option *options;   /* of all layers */
  struct tb_plan_layer *lines; /* parallel to options */
  uint32_t *picked;
};

/* Whether a line with recall may be chosen in a layer: shapes and types that it goes with (policy/recall.c). */
static bool may_recall(const struct tb_choose *c, uint32_t layer, const struct tb_plan_layer *p) {
  const struct tb_cache_config one = {.n_layer = 1,
                                      .shapes = &c->shapes[layer],
                                      .plan = p,
                                      .n_ctx = c->n_ctx,
                                      .n_batch = c->n_batch,
                                      .n_threads = c->n_threads};
  return layer >= DENSE && tb_cache_check(&one, NULL) == TB_OK;
}

static void add_option(const struct tb_choose *c, uint32_t i, const struct tb_plan_layer *p, struct work *w,
                       size_t *used) {
  const struct tb_kv_shape *s = &c->shapes[i];
  const double loss = tb_loss_line(s, p, c->n_layer, c->n_ctx), us = tb_time_us(s, p, c->n_ctx);
  w->lines[*used] = *p;
  w->options[(*used)++] = (struct tb_option){.bytes = tb_plan_layer_bytes(s, p, c->n_ctx, c->n_batch, c->n_threads),
                                             .cost = c->most_loss > 0 ? us : loss,
                                             .second = c->most_loss > 0 ? loss : us};
}

/* Drops what loses too much; at least one option stays. */
static void keep_bound(const struct tb_choose *c, struct tb_choice *choice, struct work *w, size_t *used) {
  const size_t first = *used - choice->count;
  double most = w->options[first].second;
  for (size_t o = first; o < *used; o++)
    if (w->options[o].second < most) most = w->options[o].second;
  if (most < c->most_loss) most = c->most_loss;
  size_t kept = first;
  for (size_t o = first; o < *used; o++)
    if (w->options[o].second <= most) {
      w->lines[kept] = w->lines[o];
      w->options[kept++] = w->options[o];
    }
  choice->count = (uint32_t)(kept - first);
  *used = kept;
}

static void layer_options(const struct tb_choose *c, uint32_t i, struct work *w, size_t *used) {
  const size_t first = *used;
  struct ladder k, v;
  make_ladder(c, TB_SIDE_K, i, &k);
  make_ladder(c, TB_SIDE_V, i, &v);
  for (uint32_t a = 0; a < k.n; a++)
    for (uint32_t b = 0; b < v.n; b++) {
      struct tb_plan_layer p = line(c, k.type[a], v.type[b]);
      add_option(c, i, &p, w, used);
      for (uint32_t o = 0; o < c->n_offers; o++) {
        p.recall = c->offers[o].recall;
        p.resident = c->offers[o].resident;
        if (may_recall(c, i, &p)) add_option(c, i, &p, w, used);
      }
    }
  w->choices[i] = (struct tb_choice){&w->options[first], (uint32_t)(*used - first)};
  if (c->most_loss > 0 && *used > first) keep_bound(c, &w->choices[i], w, used);
}

static struct tb_cache_config config(const struct tb_choose *c, const struct tb_plan_layer *plan) {
  return (struct tb_cache_config){.n_layer = c->n_layer,
                                  .shapes = c->shapes,
                                  .plan = plan,
                                  .n_ctx = c->n_ctx,
                                  .n_batch = c->n_batch,
                                  .n_threads = c->n_threads};
}

static uint64_t total(const struct tb_choose *c, const struct tb_plan_layer *plan) {
  struct tb_cache_config cfg = config(c, plan);
  uint64_t stored, bytes;
  tb_cache_bytes(&cfg, &stored, &bytes);
  return bytes + tb_cache_init_bytes(&cfg);
}

/* What the layers share (workspace), for the options that need most of it: option o of every layer together, and of
 * every other layer the next one, so that plain layers and those that recall are seen side by side. */
static uint64_t shared_bytes(const struct tb_choose *c, const struct work *w, struct tb_plan_layer *plan) {
  uint64_t most = 0;
  uint32_t rounds = 0;
  for (uint32_t i = 0; i < c->n_layer; i++)
    if (w->choices[i].count > rounds) rounds = w->choices[i].count;
  const uint32_t kinds = c->n_offers ? 2 : 1;
  for (uint32_t round = 0; round < kinds * rounds; round++) {
    uint64_t layers = 0;
    for (uint32_t i = 0; i < c->n_layer; i++) {
      const struct tb_choice *choice = &w->choices[i];
      const uint32_t o = round / kinds + round % kinds * (i % 2);
      const struct tb_option *option = &choice->options[o < choice->count ? o : choice->count - 1];
      plan[i] = w->lines[option - w->options];
      layers += option->bytes;
    }
    uint64_t all = total(c, plan), rest = all > layers ? all - layers : 0;
    if (rest > most) most = rest;
  }
  return most;
}

static enum tb_status make_options(const struct tb_choose *c, struct work *w, struct tb_error *err) {
  size_t used = 0;
  for (uint32_t i = 0; i < c->n_layer; i++) {
    layer_options(c, i, w, &used);
    if (w->choices[i].count == 0)
      return tb_fail(err, TB_E_UNSUPPORTED,
                     "layer %u: no cache type of at least %g bits for keys and %g for values suits its head sizes", i,
                     c->least_bits_k, c->least_bits_v);
  }
  return TB_OK;
}

/* One option of each layer within `room` bytes of layers; *bytes: of all. *fits false: the smallest are in plan. */
static enum tb_status solve_within(const struct tb_choose *c, uint64_t room, struct work *w, struct tb_plan_layer *plan,
                                   uint64_t *bytes, bool *fits, const struct tb_allocator *a, struct tb_error *err) {
  uint64_t sum;
  double cost;
  enum tb_status status = tb_solve(w->choices, c->n_layer, c->smallest ? 0 : room, w->picked, &sum, &cost, a, err);
  if (status != TB_OK && (status != TB_E_LIMIT || (!c->smallest && sum <= room)))
    return status; /* the solver gave up */
  for (uint32_t i = 0; i < c->n_layer; i++)
    plan[i] = w->lines[&w->choices[i].options[w->picked[i]] - w->options];
  *bytes = total(c, plan);
  *fits = sum <= room;
  return TB_OK;
}

static enum tb_status solve(const struct tb_choose *c, uint64_t budget, struct work *w, struct tb_plan_layer *plan,
                            uint64_t *bytes, double *loss, const struct tb_allocator *a, struct tb_error *err) {
  uint64_t shared = shared_bytes(c, w, plan);
  bool fits = true, again = true;
  while (again) {
    enum tb_status status = solve_within(c, budget > shared ? budget - shared : 0, w, plan, bytes, &fits, a, err);
    if (status) return status;
    again = fits && *bytes > budget; /* the chosen ones share more than was seen */
    if (again) shared += *bytes - budget;
  }
  *loss = tb_plan_loss(c->shapes, plan, c->n_layer, c->n_ctx);
  if (fits) return TB_OK;
  return tb_fail(err, TB_E_LIMIT, "KV cache: %u tokens take at least %.1f MiB, %.1f MiB are left for them", c->n_ctx,
                 (double)*bytes / 0x1p20, (double)budget / 0x1p20);
}

enum tb_status tb_choose_plan(const struct tb_choose *c, uint64_t budget, struct tb_plan_layer *plan, uint64_t *bytes,
                              double *loss, const struct tb_allocator *a, struct tb_error *err) {
  uint32_t types = 0;
  while (tb_loss_type(types))
    types++;
  if (types == 0 || types > MAX_TYPES) types = MAX_TYPES;
  const size_t most = (1 + c->n_offers) * (size_t)types * types * c->n_layer;
  struct work w = {.choices = tb_calloc(a, c->n_layer, sizeof *w.choices),
                   .options = tb_calloc(a, most, sizeof *w.options),
                   .lines = tb_calloc(a, most, sizeof *w.lines),
                   .picked = tb_calloc(a, c->n_layer, sizeof *w.picked)};
  enum tb_status status = w.choices && w.options && w.lines && w.picked
                              ? make_options(c, &w, err)
                              : tb_fail(err, TB_E_NOMEM, "plan: out of memory");
  if (!status) status = solve(c, budget, &w, plan, bytes, loss, a, err);
  tb_free(a, w.choices);
  tb_free(a, w.options);
  tb_free(a, w.lines);
  tb_free(a, w.picked);
  return status;
}

double tb_plan_loss(const struct tb_kv_shape *shapes, const struct tb_plan_layer *plan, uint32_t n_layer,
                    uint32_t n_ctx) {
  double loss = 0;
  for (uint32_t i = 0; i < n_layer; i++)
    loss += tb_loss_line(&shapes[i], &plan[i], n_layer, n_ctx);
  return loss;
}
