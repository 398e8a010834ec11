/* The planner's choice: one option per layer, or one for a layer and the one before it together, so that the sum of
 * costs is smallest while the sum of bytes stays within a budget: the multiple-choice knapsack problem, solved exactly.
 * What a cost is (loss, time) is the caller's; a second one decides between equal sums of the first.
 *
 * Method: layer by layer, keep every partial choice that no other one beats in both bytes and cost (dominance, as in
 * Nemhauser and Ullmann 1969). Real models have few distinct sizes per layer, so these lists stay short; when one would
 * grow past TB_SOLVE_STATES the call fails rather than answering approximately. */
#ifndef TB_CACHE_PLAN_SOLVE_H
#define TB_CACHE_PLAN_SOLVE_H

#include "base/alloc.h"
#include "base/status.h"

enum { TB_SOLVE_STATES = 4 << 20 };

struct tb_option {
  uint64_t bytes;
  double cost, second; /* finite, ≥ 0; sums over layers */
};

/* A layer's options: count ≥ 1. Pairs are for this layer and the one before it; the first layer has none. */
struct tb_choice {
  const struct tb_option *options, *pairs;
  uint32_t count, n_pairs;
};

#define TB_SOLVE_PAIRED UINT32_MAX

/* picked[i]: index of the option of choices[i], or count + that of a pair; then picked[i-1] is TB_SOLVE_PAIRED. Of equal
 * costs the smaller sum of seconds wins, then that of bytes, of equal all the earlier options. TB_E_LIMIT when even the
 * smallest options exceed the budget: then picked holds those, and *bytes their sum. */
enum tb_status tb_solve(const struct tb_choice *choices, uint32_t n, uint64_t budget, uint32_t *picked, uint64_t *bytes,
                        double *cost, const struct tb_allocator *a, struct tb_error *err);

#endif
