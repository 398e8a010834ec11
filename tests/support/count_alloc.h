/* An allocator that counts, and fails on demand. */
#ifndef TB_TESTS_COUNT_ALLOC_H
#define TB_TESTS_COUNT_ALLOC_H

#include "base/alloc.h"

struct count_alloc {
  struct tb_allocator hooks; /* pass &c.hooks; valid while the object does not move */
  size_t live, peak;         /* bytes as requested */
  size_t blocks;             /* not yet freed */
  size_t calls;              /* of alloc, the failed ones included */
  size_t fail_at;            /* the call that fails, from 1; 0: none */
  bool fail_after;           /* so do all later ones */
};

void count_alloc_init(struct count_alloc *c);

#endif
