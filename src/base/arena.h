/* One block of memory, carved from the front. The same code that carves also predicts: with base == NULL the arena only
 * counts, so a prediction cannot disagree with the allocation. Everything is aligned to 64 bytes. */
#ifndef TB_BASE_ARENA_H
#define TB_BASE_ARENA_H

#include "base/alloc.h"

struct tb_arena {
  unsigned char *base; /* NULL: count only */
  size_t used;         /* saturates at SIZE_MAX when a sum overflows */
};

/* count × size bytes; NULL while counting. */
static inline void *tb_carve(struct tb_arena *a, size_t count, size_t size) {
  size_t bytes, at = a->used;
  if (!tb_mul(count, size, &bytes) || bytes > SIZE_MAX - TB_ALIGN || !tb_add(at, tb_round_up(bytes, TB_ALIGN), &a->used)) {
    a->used = SIZE_MAX;
    return NULL;
  }
  return a->base ? a->base + at : NULL;
}

#endif
