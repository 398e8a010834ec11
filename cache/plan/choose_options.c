#include "cache/plan/choose_options.h"

#include <string.h>
#include "cache/plan/bytes.h"
#include "cache/plan/loss.h"
#include "cache/plan/time.h"
#include "cache/policy/merge.h"

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

struct tb_cache_config tb_choose_config(const struct tb_choose *c, uint32_t first, uint32_t n,
                                        const struct tb_plan_layer *lines) {
  return (struct tb_cache_config){.n_layer = n,
                                  .shapes = &c->shapes[first],
                                  .plan = lines,
                                  .n_ctx = c->n_ctx,
                                  .n_batch = c->n_batch,
                                  .n_threads = c->n_threads};
}

/* Whether a line with recall may be chosen in a layer: shapes and types that it goes with (policy/recall.c). */
static bool may_recall(const struct tb_choose *c, uint32_t layer, const struct tb_plan_layer *p) {
  const struct tb_cache_config one = tb_choose_config(c, layer, 1, p);
  return layer >= DENSE && tb_cache_check(&one, NULL) == TB_OK;
}

/* An option of n layers, the last of which is i. */
static void add_option(const struct tb_choose *c, uint32_t i, const struct tb_plan_layer *lines, uint32_t n,
                       struct tb_choose_lists *l) {
  double loss = 0, us = 0;
  struct tb_option *out = &l->options[l->used];
  *out = (struct tb_option){0};
  for (uint32_t j = 0; j < n; j++) {
    const struct tb_kv_shape *s = &c->shapes[i + 1 - n + j];
    out->bytes += tb_plan_layer_bytes(s, &lines[j], c->n_ctx, c->n_batch, c->n_threads);
    loss += tb_loss_line(s, &lines[j], c->n_layer, c->n_ctx);
    us += tb_time_us(s, &lines[j], c->n_ctx);
  }
  out->cost = c->most_loss > 0 ? us : loss;
  out->second = c->most_loss > 0 ? loss : us;
  l->lines[l->used++] = lines[0];
}

/* Drops what loses too much; at least one option stays. */
static void keep_bound(const struct tb_choose *c, struct tb_choose_lists *l, struct tb_choice *choice) {
  const size_t first = l->used - choice->count;
  double most = l->options[first].second;
  for (size_t o = first; o < l->used; o++)
    if (l->options[o].second < most) most = l->options[o].second;
  if (most < c->most_loss) most = c->most_loss;
  size_t kept = first;
  for (size_t o = first; o < l->used; o++)
    if (l->options[o].second <= most) {
      l->lines[kept] = l->lines[o];
      l->options[kept++] = l->options[o];
    }
  choice->count = (uint32_t)(kept - first);
  l->used = kept;
}

static void layer_options(const struct tb_choose *c, uint32_t i, struct tb_choose_lists *l) {
  const size_t first = l->used;
  struct ladder k, v;
  make_ladder(c, TB_SIDE_K, i, &k);
  make_ladder(c, TB_SIDE_V, i, &v);
  for (uint32_t a = 0; a < k.n; a++)
    for (uint32_t b = 0; b < v.n; b++) {
      struct tb_plan_layer p = line(c, k.type[a], v.type[b]);
      add_option(c, i, &p, 1, l);
      for (uint32_t o = 0; o < c->n_offers; o++) {
        p.recall = c->offers[o].recall;
        p.resident = c->offers[o].resident;
        if (may_recall(c, i, &p)) add_option(c, i, &p, 1, l);
      }
    }
  l->choices[i] = (struct tb_choice){.options = &l->options[first], .count = (uint32_t)(l->used - first)};
  if (c->most_loss > 0 && l->used > first) keep_bound(c, l, &l->choices[i]);
}

/* ------------------------------------------------------------------------------------------------------------- pairs
 */

/* Merging saves memory and costs time, and how much it loses is a matter of the layers alone: chosen only where that
 * was measured, and where neither types nor their bits are prescribed. */
static bool may_merge(const struct tb_choose *c, uint32_t upper) {
  return upper > 0 && !c->type_k && !c->type_v && !c->recall && c->most_loss <= 0 && c->least_bits_k <= 0 &&
         c->least_bits_v <= 0 && tb_loss_merge_known(&c->shapes[upper - 1], TB_MERGE_UP) &&
         tb_loss_merge_known(&c->shapes[upper], TB_MERGE_DOWN);
}

/* What the two layers agree to, in whole percent: with another profile, by which they agree less, the line is refused.
 */
static bool agreement(const struct tb_kv_shape *upper, uint32_t *percent) {
  double least = 1;
  for (enum tb_side side = TB_SIDE_K; side <= TB_SIDE_V; side++) {
    double cosine;
    if (tb_merge_cosine(upper, side, true, &cosine, NULL) != TB_OK) return false;
    if (cosine < least) least = cosine;
  }
  *percent = least > 0 ? (uint32_t)(100 * least) : 0;
  return true;
}

struct tb_plan_layer tb_choose_upper(const struct tb_plan_layer *lower) {
  struct tb_plan_layer upper = *lower;
  upper.merge.with = TB_MERGE_DOWN;
  return upper;
}

static void pair_options(const struct tb_choose *c, uint32_t upper, struct tb_choose_lists *l) {
  const size_t first = l->used;
  struct ladder k, v;
  uint32_t percent;
  if (!may_merge(c, upper) || !agreement(&c->shapes[upper], &percent)) return;
  make_ladder(c, TB_SIDE_K, upper, &k);
  make_ladder(c, TB_SIDE_V, upper, &v);
  for (uint32_t a = 0; a < k.n; a++)
    for (uint32_t b = 0; b < v.n; b++) {
      struct tb_plan_layer two[2] = {line(c, k.type[a], v.type[b])};
      two[0].merge = (struct tb_merge_plan){.with = TB_MERGE_UP, .retain = TB_MERGE_RETAIN, .cosine = percent};
      two[1] = tb_choose_upper(&two[0]);
      const struct tb_cache_config both = tb_choose_config(c, upper - 1, 2, two);
      const struct tb_kv_shape *below = &c->shapes[upper - 1];
      if (tb_loss_known(below, k.type[a], TB_SIDE_K) && tb_loss_known(below, v.type[b], TB_SIDE_V) &&
          tb_cache_check(&both, NULL) == TB_OK)
        add_option(c, upper, two, 2, l);
    }
  l->choices[upper].pairs = &l->options[first];
  l->choices[upper].n_pairs = (uint32_t)(l->used - first);
}

/* ------------------------------------------------------------------------------------------------------------ all
 */

static size_t n_types(void) {
  size_t n = 0;
  while (tb_loss_type(n))
    n++;
  return n && n < MAX_TYPES ? n : MAX_TYPES;
}

size_t tb_choose_most_options(const struct tb_choose *c) {
  return (2 + c->n_offers) * n_types() * n_types() * c->n_layer;
}

enum tb_status tb_choose_list(const struct tb_choose *c, struct tb_choose_lists *l, struct tb_error *err) {
  for (uint32_t i = 0; i < c->n_layer; i++) {
    layer_options(c, i, l);
    if (l->choices[i].count == 0)
      return tb_fail(err, TB_E_UNSUPPORTED,
                     "layer %u: no cache type of at least %g bits for keys and %g for values suits its head sizes", i,
                     c->least_bits_k, c->least_bits_v);
    pair_options(c, i, l);
  }
  return TB_OK;
}
