/* The blocks that attention walks over: block 0 is the sinks (empty when there are none), block i ≥ 1 covers positions
 * sinks + (i-1)·TB_ATTN_BLOCK … . They depend on positions only, and a granule of a block store is exactly one block.
 */
#ifndef TB_CACHE_POLICY_BLOCKS_H
#define TB_CACHE_POLICY_BLOCKS_H

#include "cache/cache.h"

struct tb_block {
  uint32_t first, end; /* positions first … end-1 */
};

static inline uint32_t tb_block_of(uint32_t pos, uint32_t sinks) {
  return pos < sinks ? 0 : (pos - sinks) / TB_ATTN_BLOCK + 1;
}

/* Block i, cut at `end` positions; empty when it begins behind it. */
static inline struct tb_block tb_block_at(uint32_t i, uint32_t sinks, uint32_t end) {
  struct tb_block b = {0, sinks};
  if (i > 0) {
    b.first = sinks + (i - 1) * TB_ATTN_BLOCK;
    b.end = b.first + TB_ATTN_BLOCK;
  }
  if (b.end > end) b.end = end;
  return b;
}

#endif
