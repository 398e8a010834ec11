#include "cache/plan/solve.h"

#include <math.h>
#include <stdlib.h>

/* A partial choice: the options of the first layers, as a chain through `from`. */
struct state {
  uint64_t bytes;
  double cost, second;
  uint32_t from; /* index of the predecessor among the states one layer before, or two with a pair */
  uint32_t option;
};

static bool cheaper(double cost, double second, double than, double than_second) {
  return cost < than || (cost == than && second < than_second);
}

/* Fewer bytes first, then less cost, then the earlier choice: the first of equals survives. */
static int compare(const void *a, const void *b) {
  const struct state *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
  if (x->cost != y->cost) return x->cost < y->cost ? -1 : 1;
  if (x->second != y->second) return x->second < y->second ? -1 : 1;
  if (x->from != y->from) return x->from < y->from ? -1 : 1;
  return x->option < y->option ? -1 : x->option > y->option;
}

/* Keeps the states that cost less than every smaller one; returns how many. */
static size_t drop_dominated(struct state *s, size_t n) {
  size_t kept = 0;
  double best = INFINITY, second = INFINITY;
  qsort(s, n, sizeof *s, compare);
  for (size_t i = 0; i < n; i++) {
    if (!cheaper(s[i].cost, s[i].second, best, second)) continue;
    best = s[i].cost;
    second = s[i].second;
    s[kept++] = s[i];
  }
  return kept;
}

static const struct tb_option *smallest(const struct tb_option *options, uint32_t n) {
  const struct tb_option *best = NULL;
  for (const struct tb_option *o = options; o < options + n; o++)
    if (!best || o->bytes < best->bytes ||
        (o->bytes == best->bytes && cheaper(o->cost, o->second, best->cost, best->second)))
      best = o;
  return best;
}

/* What the layers from i on need at the least: `after` of n+1, from the last one back. */
static void least_after(const struct tb_choice *choices, uint32_t n, uint64_t *after) {
  after[n] = 0;
  for (uint32_t i = n; i-- > 0;) {
    after[i] = after[i + 1] + smallest(choices[i].options, choices[i].count)->bytes;
    if (i + 1 == n || !choices[i + 1].n_pairs) continue;
    const uint64_t paired = after[i + 2] + smallest(choices[i + 1].pairs, choices[i + 1].n_pairs)->bytes;
    if (paired < after[i]) after[i] = paired;
  }
}

static void pick_smallest(const struct tb_choice *choices, uint32_t n, const uint64_t *after, uint32_t *picked,
                          double *cost) {
  *cost = 0;
  for (uint32_t i = 0; i < n; i++) {
    const struct tb_option *o = smallest(choices[i].options, choices[i].count);
    if (after[i] == after[i + 1] + o->bytes) {
      picked[i] = (uint32_t)(o - choices[i].options);
    } else {
      picked[i++] = TB_SOLVE_PAIRED;
      o = smallest(choices[i].pairs, choices[i].n_pairs);
      picked[i] = choices[i].count + (uint32_t)(o - choices[i].pairs);
    }
    *cost += o->cost;
  }
}

/* States behind some layers, kept for walking back. */
struct layer_states {
  struct state *s;
  size_t n;
};

/* The options that no other one beats, as the states that they would be alone; their numbers begin at `first`. */
static struct state *undominated(const struct tb_option *options, uint32_t count, uint32_t first, size_t *n,
                                 const struct tb_allocator *a) {
  struct state *s = tb_alloc(a, count ? count : 1, sizeof *s);
  for (uint32_t o = 0; s && o < count; o++)
    s[o] = (struct state){options[o].bytes, options[o].cost, options[o].second, 0, first + o};
  *n = s ? drop_dominated(s, count) : 0;
  return s;
}

/* Every state with every option behind it that leaves enough room; returns how many. */
static size_t combine(const struct layer_states *before, const struct state *options, size_t n_options, uint64_t room,
                      struct state *out) {
  size_t n = 0;
  for (size_t i = 0; i < before->n; i++)
    for (size_t o = 0; o < n_options; o++) {
      const struct state *b = &before->s[i], *x = &options[o];
      if (b->bytes + x->bytes > room) break; /* sorted by bytes */
      out[n++] = (struct state){b->bytes + x->bytes, b->cost + x->cost, b->second + x->second, (uint32_t)i, x->option};
    }
  return n;
}

/* The states behind a layer: of the one before it with its options, of the one before that with its pairs. */
static enum tb_status extend(const struct tb_choice *choice, const struct layer_states *before,
                             const struct layer_states *earlier, uint64_t room, struct layer_states *after,
                             const struct tb_allocator *a, struct tb_error *err) {
  size_t n_options, n_pairs;
  struct state *options = undominated(choice->options, choice->count, 0, &n_options, a);
  struct state *pairs = undominated(choice->pairs, choice->n_pairs, choice->count, &n_pairs, a);
  const size_t most = before->n * n_options + earlier->n * n_pairs;
  struct state *s = options && pairs && most <= TB_SOLVE_STATES ? tb_alloc(a, most, sizeof *s) : NULL;
  if (s) {
    size_t n = combine(before, options, n_options, room, s);
    n += combine(earlier, pairs, n_pairs, room, s + n);
    after->n = drop_dominated(s, n);
    after->s = s;
  }
  tb_free(a, pairs);
  tb_free(a, options);
  if (!s && most > TB_SOLVE_STATES)
    return tb_fail(err, TB_E_LIMIT, "planner: the options have too many distinct sizes to solve exactly");
  return s ? TB_OK : tb_fail(err, TB_E_NOMEM, "planner: out of memory");
}

/* The last state has the least cost; its chain is walked back. */
static void walk_back(const struct tb_choice *choices, const struct layer_states *layers, uint32_t n,
                      uint32_t *picked) {
  const struct state *s = &layers[n].s[layers[n].n - 1];
  for (uint32_t i = n; i > 0; i--) {
    const uint32_t from = s->from;
    picked[i - 1] = s->option;
    if (s->option >= choices[i - 1].count) picked[--i - 1] = TB_SOLVE_PAIRED;
    if (i > 1) s = &layers[i - 1].s[from];
  }
}

/* layers[i]: the states behind i layers. */
static enum tb_status solve(const struct tb_choice *choices, uint32_t n, uint64_t budget, const uint64_t *after,
                            struct layer_states *layers, uint32_t *picked, uint64_t *bytes, double *cost,
                            const struct tb_allocator *a, struct tb_error *err) {
  static const struct layer_states none;
  enum tb_status status = TB_OK;
  for (uint32_t i = 0; !status && i < n; i++)
    status = extend(&choices[i], &layers[i], i ? &layers[i - 1] : &none, budget - after[i + 1], &layers[i + 1], a, err);
  if (status || n == 0) return status;
  const struct state *best = &layers[n].s[layers[n].n - 1];
  *bytes = best->bytes;
  *cost = best->cost;
  walk_back(choices, layers, n, picked);
  return TB_OK;
}

enum tb_status tb_solve(const struct tb_choice *choices, uint32_t n, uint64_t budget, uint32_t *picked, uint64_t *bytes,
                        double *cost, const struct tb_allocator *a, struct tb_error *err) {
  struct state start = {0};
  struct layer_states *layers = tb_calloc(a, (size_t)n + 1, sizeof *layers);
  uint64_t *after = tb_calloc(a, (size_t)n + 1, sizeof *after);
  enum tb_status status = layers && after ? TB_OK : tb_fail(err, TB_E_NOMEM, "planner: out of memory");
  if (!status) {
    layers[0] = (struct layer_states){&start, 1};
    least_after(choices, n, after);
    *bytes = after[0];
    pick_smallest(choices, n, after, picked, cost);
    status = *bytes > budget
                 ? tb_fail(err, TB_E_LIMIT, "planner: %llu bytes are the least that is needed, %llu are there",
                           (unsigned long long)*bytes, (unsigned long long)budget)
                 : solve(choices, n, budget, after, layers, picked, bytes, cost, a, err);
  }
  for (uint32_t i = 1; layers && i <= n; i++)
    tb_free(a, layers[i].s);
  tb_free(a, after);
  tb_free(a, layers);
  return status;
}
