/* The planner's knapsack against brute force, pairs of layers included, and its promises: more budget is never worse,
 * too little is said. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/rng.h"
#include "cache/plan/solve.h"

enum { MAX_LAYERS = 7, MAX_OPTIONS = 5 };

struct problem {
  struct tb_option options[MAX_LAYERS][MAX_OPTIONS], pairs[MAX_LAYERS][MAX_OPTIONS];
  struct tb_choice choices[MAX_LAYERS];
  uint32_t n;
  uint64_t most; /* bytes of all largest options */
};

static struct tb_option draw(struct tb_rng *rng, uint32_t layers) {
  return (struct tb_option){1 + tb_rng_next(rng) % (40 * layers), (double)(tb_rng_next(rng) % (16 * layers)) / 8,
                            (double)(tb_rng_next(rng) % 4)};
}

static void make(struct problem *p, struct tb_rng *rng) {
  p->n = 1 + (uint32_t)(tb_rng_next(rng) % MAX_LAYERS);
  p->most = 0;
  for (uint32_t i = 0; i < p->n; i++) {
    const uint32_t count = 1 + (uint32_t)(tb_rng_next(rng) % MAX_OPTIONS);
    const uint32_t n_pairs = i ? (uint32_t)(tb_rng_next(rng) % (MAX_OPTIONS + 1)) : 0;
    uint64_t largest = 0;
    for (uint32_t o = 0; o < count; o++) {
      p->options[i][o] = draw(rng, 1);
      if (p->options[i][o].bytes > largest) largest = p->options[i][o].bytes;
    }
    for (uint32_t o = 0; o < n_pairs; o++)
      p->pairs[i][o] = draw(rng, 2);
    p->choices[i] = (struct tb_choice){p->options[i], p->pairs[i], count, n_pairs};
    p->most += largest;
  }
}

struct sum {
  uint64_t bytes;
  double cost, second;
};

static struct sum with(struct sum s, const struct tb_option *o) {
  return (struct sum){s.bytes + o->bytes, s.cost + o->cost, s.second + o->second};
}

/* The least cost within the budget of the layers from i on behind `s`, then the least second one, and the least bytes
 * at both. */
static void brute_force(const struct problem *p, uint64_t budget, uint32_t i, struct sum s, struct sum *best) {
  if (i >= p->n || i >= MAX_LAYERS) {
    const bool less =
        s.cost < best->cost ||
        (s.cost == best->cost && (s.second < best->second || (s.second == best->second && s.bytes < best->bytes)));
    if (s.bytes <= budget && less) *best = s;
    return;
  }
  for (uint32_t o = 0; o < p->choices[i].count; o++)
    brute_force(p, budget, i + 1, with(s, &p->options[i][o]), best);
  for (uint32_t o = 0; i + 1 < p->n && i + 1 < MAX_LAYERS && o < p->choices[i + 1].n_pairs; o++)
    brute_force(p, budget, i + 2, with(s, &p->pairs[i + 1][o]), best);
}

/* What was picked; a pair's lower layer is marked. */
static struct sum sum_of(const struct problem *p, const uint32_t *picked) {
  struct sum s = {0, 0, 0};
  for (uint32_t i = 0; i < p->n; i++) {
    const struct tb_choice *c = &p->choices[i];
    const bool pair = picked[i] != TB_SOLVE_PAIRED && picked[i] >= c->count;
    if (pair) assert_true(i > 0 && picked[i - 1] == TB_SOLVE_PAIRED && picked[i] < c->count + c->n_pairs);
    if (picked[i] == TB_SOLVE_PAIRED)
      assert_true(i + 1 < p->n && picked[i + 1] != TB_SOLVE_PAIRED && picked[i + 1] >= p->choices[i + 1].count);
    else
      s = with(s, pair ? &c->pairs[picked[i] - c->count] : &c->options[picked[i]]);
  }
  return s;
}

static void equals_brute_force(void **state) {
  (void)state;
  struct tb_rng rng = {11};
  uint32_t paired = 0;
  for (int round = 0; round < 300; round++) {
    struct problem p;
    make(&p, &rng);
    double before = INFINITY;
    for (uint64_t budget = 0; budget <= p.most + 2; budget += 1 + p.most / 16) {
      uint32_t picked[MAX_LAYERS];
      uint64_t bytes;
      double cost;
      struct sum want = {0, INFINITY, INFINITY};
      struct tb_error err;
      brute_force(&p, budget, 0, (struct sum){0, 0, 0}, &want);
      const enum tb_status s = tb_solve(p.choices, p.n, budget, picked, &bytes, &cost, &tb_system_allocator, &err);
      const struct sum got = sum_of(&p, picked);
      assert_true(got.bytes == bytes && got.cost == cost);
      if (isinf(want.cost)) {
        assert_int_equal(s, TB_E_LIMIT);
        assert_true(bytes > budget);
        continue;
      }
      assert_int_equal(s, TB_OK);
      assert_true(got.cost == want.cost && got.second == want.second && got.bytes == want.bytes);
      assert_true(cost <= before); /* more budget is never worse */
      before = cost;
      for (uint32_t i = 0; i < p.n; i++)
        paired += picked[i] == TB_SOLVE_PAIRED;
    }
  }
  assert_true(paired > 0);
}

/* A hundred layers with twenty options each, as a large model has. */
static void large(void **state) {
  (void)state;
  static struct tb_option options[100][20];
  static struct tb_choice choices[100];
  uint32_t picked[100];
  uint64_t bytes, smallest = 0;
  double cost;
  struct tb_error err;
  struct tb_rng rng = {5};
  for (int i = 0; i < 100; i++) {
    for (int o = 0; o < 20; o++)
      options[i][o] = (struct tb_option){(uint64_t)(o + 1) << 20, tb_rng_unit(&rng) / (float)(o + 1), 0};
    choices[i] = (struct tb_choice){.options = options[i], .count = 20};
    smallest += 1 << 20;
  }
  if (tb_solve(choices, 100, 5 * smallest, picked, &bytes, &cost, &tb_system_allocator, &err) != TB_OK)
    fail_msg("%s", err.text);
  assert_true(bytes <= 5 * smallest && bytes > 4 * smallest);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(equals_brute_force), cmocka_unit_test(large)};
  return cmocka_run_group_tests_name("solve", tests, NULL, NULL);
}
