/* Clusters in a file (recall's `resident`): of each KV head's clustered rows a fixed number is in memory, those that were
 * used last; the others are read when they are wanted. Rows are moved by the page, keys and values together:
 *
 *   page   16 rows where both sides keep rows one by one, else the block of 160
 *   slot   where a page is in the two stores: rows slot · page … of them. The first `n_slots` form the LRU; behind them
 *          every thread has slots for one block of 160, for pages that are read once (prompts attend to everything)
 *   file   pages as they are in memory, layer after layer, head after head, written when their segment is clustered
 *
 * What was written is known by its CRC-32C, kept in memory: what comes back is that or an error. Evicting costs nothing,
 * because pages never change. A head's LRU is moved by one task at a time, between which all tasks may look.
 *
 * Memory per KV head: resident rows, 160 per thread, 8 bytes for each page of the context and 12 for each slot. */
#ifndef TB_CACHE_POLICY_SPILL_H
#define TB_CACHE_POLICY_SPILL_H

#include "cache/policy/plain.h"

enum { TB_SPILL_PAGES = 10 }; /* of a block, at most: 160 / 16 */
#define TB_SPILL_NONE UINT32_MAX

/* Sizes that follow from a plan line. */
struct tb_spill_shape {
  uint32_t page;    /* rows */
  uint32_t n_pages; /* of a head */
  uint32_t n_slots; /* of a head, the threads' not counted */
  uint32_t rows;    /* of a head's slots, the threads' counted */
};

struct tb_spill {
  struct tb_spill_shape shape;
  struct tb_store *side[2];
  uint64_t at; /* in the file */
  size_t part[2], bytes; /* of a page: keys, values, both */
  uint32_t *slot; /* n_heads · n_pages: where a page is, or NONE */
  uint32_t *crc;  /* likewise */
  uint32_t *page; /* n_heads · n_slots: what a slot holds, or NONE */
  uint32_t *next, *prev; /* n_heads · (n_slots + 1): the LRU as a ring; the last element is before its first */
  struct tb_spill_counts {
    uint64_t wanted, read; /* pages by decoding steps */
    unsigned char pad[48];
  } *counts; /* n_heads, a cache line each */
};

/* `resident` tokens, at least a segment of them. */
struct tb_spill_shape tb_spill_shape_of(const struct tb_policy_layer *l, uint32_t resident, uint32_t segment,
                                        uint32_t rows);

struct tb_spill *tb_spill_make(struct tb_arena *a, const struct tb_policy_layer *l, struct tb_spill_shape shape);
/* The sides whose main stores hold shape.rows rows of every head, and where in the file it begins; returns where it ends. */
uint64_t tb_spill_attach(struct tb_spill *s, struct tb_plain_side *k, struct tb_plain_side *v, uint64_t at);

/* Pages of a head come into the LRU, those that already are to its front; false when they do not all fit, the last ones
 * are then missing, or when one cannot be read: then the thread's error says so. Pages rise. */
bool tb_spill_load(struct tb_spill *s, const struct tb_cache_work *w, unsigned thread, uint32_t head,
                   const uint32_t *pages, uint32_t n);

/* Slots of the pages of a block that are in `wanted` (bit i: page i of it), of which some may be read into the thread's
 * own. False: the thread's error says why. */
bool tb_spill_block(const struct tb_spill *s, const struct tb_cache_work *w, unsigned thread, uint32_t head,
                    uint32_t block, unsigned wanted, uint32_t slots[TB_SPILL_PAGES]);

/* A slot for a page that is about to be filled; then the page to the file. */
uint32_t tb_spill_take(struct tb_spill *s, uint32_t head, uint32_t page);
bool tb_spill_write(struct tb_spill *s, const struct tb_cache_work *w, unsigned thread, uint32_t head, uint32_t page);

/* Row `at` of a head's clustered rows, which is in memory. */
static inline uint32_t tb_spill_row(const struct tb_spill *s, uint32_t head, uint32_t at) {
  return s->slot[(size_t)head * s->shape.n_pages + at / s->shape.page] * s->shape.page + at % s->shape.page;
}
/* How many of these pages are not in the LRU. */
uint32_t tb_spill_missing(const struct tb_spill *s, uint32_t head, const uint32_t *pages, uint32_t n);

/* Clustered rows from n on are no more, in all heads; n: whole pages. */
void tb_spill_forget(struct tb_spill *s, uint32_t n);

#endif
