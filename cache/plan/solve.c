#include "cache/plan/solve.h"

#include <math.h>
#include <stdlib.h>

/* A partial choice: the options of the first layers, as a chain through `from`. */
struct state {
  uint64_t bytes;
  double cost, second;
  uint32_t from; /* index of the predecessor among the states of the layer before */
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

/* The least bytes that the layers from i on need. */
static uint64_t least_after(const struct tb_choice *choices, uint32_t n, uint32_t i) {
  uint64_t sum = 0;
  for (; i < n; i++) {
    uint64_t least = UINT64_MAX;
    for (uint32_t o = 0; o < choices[i].count; o++)
      if (choices[i].options[o].bytes < least) least = choices[i].options[o].bytes;
    sum += least;
  }
  return sum;
}

static void pick_smallest(const struct tb_choice *choices, uint32_t n, uint32_t *picked, uint64_t *bytes,
                          double *cost) {
  *bytes = 0;
  *cost = 0;
  for (uint32_t i = 0; i < n; i++) {
    const struct tb_option *o = choices[i].options;
    picked[i] = 0;
    for (uint32_t j = 1; j < choices[i].count; j++)
      if (o[j].bytes < o[picked[i]].bytes ||
          (o[j].bytes == o[picked[i]].bytes && cheaper(o[j].cost, o[j].second, o[picked[i]].cost, o[picked[i]].second)))
        picked[i] = j;
    *bytes += o[picked[i]].bytes;
    *cost += o[picked[i]].cost;
  }
}

/* One layer's states, kept for walking back. */
struct layer_states {
  struct state *s;
  size_t n;
};

/* The options that no other one beats, as the states that they would be alone. */
static struct state *undominated(const struct tb_choice *choice, size_t *n, const struct tb_allocator *a) {
  struct state *s = tb_alloc(a, choice->count, sizeof *s);
  for (uint32_t o = 0; s && o < choice->count; o++) {
    const struct tb_option *x = &choice->options[o];
    s[o] = (struct state){x->bytes, x->cost, x->second, 0, o};
  }
  *n = s ? drop_dominated(s, choice->count) : 0;
  return s;
}

static enum tb_status extend(const struct tb_choice *choice, const struct layer_states *before, uint64_t room,
                             struct layer_states *after, const struct tb_allocator *a, struct tb_error *err) {
  size_t n_options, n = 0;
  struct state *options = undominated(choice, &n_options, a);
  const size_t most = before->n * n_options;
  struct state *s = options && most <= TB_SOLVE_STATES ? tb_alloc(a, most, sizeof *s) : NULL;
  for (size_t i = 0; s && i < before->n; i++)
    for (size_t o = 0; o < n_options; o++) {
      const struct state *b = &before->s[i], *x = &options[o];
      if (b->bytes + x->bytes > room) break; /* sorted by bytes */
      s[n++] = (struct state){b->bytes + x->bytes, b->cost + x->cost, b->second + x->second, (uint32_t)i, x->option};
    }
  tb_free(a, options);
  if (!s && most > TB_SOLVE_STATES)
    return tb_fail(err, TB_E_LIMIT, "planner: the options have too many distinct sizes to solve exactly");
  if (!s) return tb_fail(err, TB_E_NOMEM, "planner: out of memory");
  after->s = s;
  after->n = drop_dominated(s, n);
  return TB_OK;
}

enum tb_status tb_solve(const struct tb_choice *choices, uint32_t n, uint64_t budget, uint32_t *picked, uint64_t *bytes,
                        double *cost, const struct tb_allocator *a, struct tb_error *err) {
  pick_smallest(choices, n, picked, bytes, cost);
  if (*bytes > budget)
    return tb_fail(err, TB_E_LIMIT, "planner: %llu bytes are the least that is needed, %llu are there",
                   (unsigned long long)*bytes, (unsigned long long)budget);
  struct layer_states *layers = tb_calloc(a, (size_t)n + 1, sizeof *layers);
  struct state start = {0};
  if (!layers) return tb_fail(err, TB_E_NOMEM, "planner: out of memory");
  struct layer_states first = {&start, 1};
  enum tb_status status = TB_OK;
  for (uint32_t i = 0; !status && i < n; i++)
    status =
        extend(&choices[i], i ? &layers[i - 1] : &first, budget - least_after(choices, n, i + 1), &layers[i], a, err);
  if (!status && n > 0) {
    /* The last state has the least cost; walk its chain back. */
    const struct state *s = &layers[n - 1].s[layers[n - 1].n - 1];
    *bytes = s->bytes;
    *cost = s->cost;
    for (uint32_t i = n; i-- > 0;) {
      picked[i] = s->option;
      if (i > 0) s = &layers[i - 1].s[s->from];
    }
  }
  for (uint32_t i = 0; i < n; i++)
    tb_free(a, layers[i].s);
  tb_free(a, layers);
  return status;
}
