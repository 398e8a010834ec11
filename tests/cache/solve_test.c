/* The planner's knapsack against brute force, and its promises: more budget is never worse, too little is said. */
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
  struct tb_option options[MAX_LAYERS][MAX_OPTIONS];
  struct tb_choice choices[MAX_LAYERS];
  uint32_t n;
  uint64_t most; /* bytes of all largest options */
};

static void make(struct problem *p, struct tb_rng *rng) {
  p->n = 1 + (uint32_t)(tb_rng_next(rng) % MAX_LAYERS);
  p->most = 0;
  for (uint32_t i = 0; i < p->n; i++) {
    uint32_t count = 1 + (uint32_t)(tb_rng_next(rng) % MAX_OPTIONS);
    uint64_t largest = 0;
    for (uint32_t o = 0; o < count; o++) {
      p->options[i][o] = (struct tb_option){1 + tb_rng_next(rng) % 40, (double)(tb_rng_next(rng) % 16) / 8,
                                            (double)(tb_rng_next(rng) % 4)};
      if (p->options[i][o].bytes > largest) largest = p->options[i][o].bytes;
    }
    p->choices[i] = (struct tb_choice){p->options[i], count};
    p->most += largest;
  }
}

/* The least cost within the budget, then the least second one, and the least bytes at both; infinity when nothing fits.
 */
static double brute_force(const struct problem *p, uint64_t budget, uint64_t *bytes, double *second) {
  double best = INFINITY;
  *second = INFINITY;
  uint32_t pick[MAX_LAYERS] = {0};
  for (;;) {
    uint64_t sum = 0;
    double cost = 0, then = 0;
    for (uint32_t i = 0; i < p->n; i++) {
      sum += p->options[i][pick[i]].bytes;
      cost += p->options[i][pick[i]].cost;
      then += p->options[i][pick[i]].second;
    }
    if (sum <= budget && (cost < best || (cost == best && (then < *second || (then == *second && sum < *bytes))))) {
      best = cost;
      *second = then;
      *bytes = sum;
    }
    uint32_t i = 0;
    while (i < p->n && ++pick[i] == p->choices[i].count)
      pick[i++] = 0;
    if (i == p->n) return best;
  }
}

static void equals_brute_force(void **state) {
  (void)state;
  struct tb_rng rng = {11};
  for (int round = 0; round < 300; round++) {
    struct problem p;
    make(&p, &rng);
    double before = INFINITY;
    for (uint64_t budget = 0; budget <= p.most + 2; budget += 1 + p.most / 16) {
      uint32_t picked[MAX_LAYERS];
      uint64_t bytes, want_bytes = 0;
      double cost, second, want = brute_force(&p, budget, &want_bytes, &second), got = 0;
      struct tb_error err;
      enum tb_status s = tb_solve(p.choices, p.n, budget, picked, &bytes, &cost, &tb_system_allocator, &err);
      if (isinf(want)) {
        assert_int_equal(s, TB_E_LIMIT);
        continue;
      }
      assert_int_equal(s, TB_OK);
      assert_true(cost == want && bytes == want_bytes);
      assert_true(cost <= before); /* more budget is never worse */
      before = cost;
      uint64_t sum = 0;
      for (uint32_t i = 0; i < p.n; i++) {
        sum += p.options[i][picked[i]].bytes;
        got += p.options[i][picked[i]].second;
      }
      assert_int_equal(sum, bytes);
      assert_true(got == second);
    }
  }
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
    choices[i] = (struct tb_choice){options[i], 20};
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
