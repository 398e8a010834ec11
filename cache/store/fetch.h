/* Asking the memory for what will be read soon: pieces of a block that lie where no hardware prefetcher looks. */
#ifndef TB_CACHE_STORE_FETCH_H
#define TB_CACHE_STORE_FETCH_H

#include <stddef.h>
#include <stdint.h>
#include "simd/kvblock.h"

static inline void tb_fetch(const void *from, size_t bytes) {
  const unsigned char *p = from, *end = p + bytes;
  for (p -= (uintptr_t)p % 64; p < end; p += 64)
    __builtin_prefetch(p);
}

static inline void tb_fetch_to_write(const void *from, size_t bytes) {
  const unsigned char *p = from, *end = p + bytes;
  for (p -= (uintptr_t)p % 64; p < end; p += 64)
    __builtin_prefetch(p, 1);
}

/* Codes of tokens first … first+n-1 of a packed block. */
static inline void tb_fetch_keys2(const unsigned char *block, size_t planes, size_t first, size_t n) {
  tb_fetch(block + first / 32 * planes * 8, n / 32 * planes * 8);
}

static inline void tb_fetch_values2(const unsigned char *block, size_t planes, size_t first, size_t n) {
  for (size_t c = 0; c < planes; c += 64) {
    const size_t width = planes - c < 64 ? 32 : 64;
    tb_fetch(block + c * (TB_KV_BLOCK / 4) + first / 4 * width, n / 4 * width);
  }
}

static inline void tb_fetch_ternary(const unsigned char *block, size_t planes, size_t first, size_t n) {
  for (size_t c = 0; c < planes; c += 64) {
    const size_t bytes = planes - c < 64 ? 128 : 256, group = first / 20;
    tb_fetch(block + c * (TB_KV_BLOCK / 5) + group * bytes, ((first + n + 19) / 20 - group) * bytes);
  }
}

#endif
