/* Choosing tokens to attend to: the ways that are compared. */
#ifndef TB_TESTS_QUALITY_SELECTION_H
#define TB_TESTS_QUALITY_SELECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Queries, keys and values of one layer for n tokens; rows of n_head·d and n_kv·d floats. */
struct layer_rows {
  uint32_t n, n_head, n_kv, d;
  float scale;
  const float *q, *k, *v;
};

/* The context is n0 tokens; tokens sinks … n0-1 are chosen from, `budget` of them. The rest is always attended to. */
struct question {
  const struct layer_rows *rows;
  uint32_t kv, pos, sinks, n0, budget;
  const double *weight; /* n_head/n_kv rows of n0: softmax over 0 … pos of each query head */
};

/* Marks chosen[g·n0 + t] for every query head g of the KV head. */
typedef void select_fn(const struct question *a, bool *chosen);

select_fn select_oracle, select_oracle_shared, select_pages, select_pages_shared, select_newest, select_random;

#endif
