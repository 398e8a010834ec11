/* Stored rows and queries for the tests of attention over rows. */
#ifndef TB_TESTS_ATTN_CASES_H
#define TB_TESTS_ATTN_CASES_H

#include "tests/check/check.h"

struct attn_case {
  const struct tb_check_row *row;
  size_t n_q, n, d;
  enum tb_check_gen gen;
  /* filled by attn_case_begin */
  struct tb_acts q;
  unsigned char *rows; /* guarded: ends with the last row's last byte */
  size_t stride;
  float *values; /* n × d, decoded */
};

/* Head sizes: multiples of 32 for blocks, all kinds of remainders for floats. */
size_t attn_n_sizes(bool quick, bool blocks);
size_t attn_size(bool quick, bool blocks, size_t i);

void attn_case_begin(struct attn_case *c, struct tb_rng *rng);
void attn_case_end(struct attn_case *c);

bool attn_blocks(const struct attn_case *c);
/* Value i of row t, and of query g as the format's kernels see it (codes for block formats). */
double attn_value(const struct attn_case *c, size_t t, size_t i);
double attn_query(const struct attn_case *c, size_t g, size_t i);

#endif
