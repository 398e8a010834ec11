/* What attention will read soon. Rows lie one behind the other, but tiles of several rows read them in an order that
 * hardware prefetchers lose: each tile asks for the bytes that lie `ahead` of its own. Who attends to few rows goes
 * elsewhere after them. */
#ifndef TB_SIMD_ATTN_AHEAD_H
#define TB_SIMD_ATTN_AHEAD_H

#include <stddef.h>
#include "simd/vec/inline.h"

/* For n rows. 8192 bytes: of 1, 2, 4, 6, 8 and 16 KiB the best on Zen 5. Not measured on ARM, where nothing is asked.
 */
TB_INLINE size_t ahead_of(size_t n) {
  return n < 64 ? 0 : 8192;
}

TB_INLINE void fetch_ahead(const unsigned char *p, size_t bytes, size_t ahead) {
#if defined(__x86_64__)
  TB_UNROLL for (size_t b = 0; b < bytes; b += 64) __builtin_prefetch(p + ahead + b);
#else
  (void)p, (void)bytes, (void)ahead;
#endif
}

#endif
