/* Hash tables of the tokenizers: symbol texts to ids, and pairs of ids to merges. Open addressing, at most half full,
 * one flat allocation each. A hostile vocabulary may aim at collisions: an entry that lands more than TB_MAP_PROBES
 * slots from home is refused, which also bounds every look-up. */
#ifndef TB_IO_TEXTMAP_H
#define TB_IO_TEXTMAP_H

#include <string.h>
#include "io/gguf.h"

enum { TB_MAP_PROBES = 512 }; /* a good hash needs under 100 at 4 million entries */

struct tb_text_map {
  struct tb_text_slot {
    uint32_t hash;
    uint32_t id1; /* id + 1; 0: empty */
  } *slots;
  uint32_t mask;
};

/* Room for n texts. False: out of memory. */
bool tb_text_map_init(struct tb_text_map *m, const struct tb_allocator *a, size_t n);
/* Puts texts[id] in; an equal text that is there already loses its place to the new id. False: too many collisions. */
bool tb_text_map_put(struct tb_text_map *m, const struct tb_str *texts, uint32_t id);
/* The id or -1. */
tb_token tb_text_map_find(const struct tb_text_map *m, const struct tb_str *texts, const char *text, size_t len);

struct tb_pair_map {
  struct tb_pair_slot {
    uint32_t left, right; /* symbol ids */
    uint32_t rank;
    uint32_t id1; /* id of the merged symbol + 1; 0: empty */
  } *slots;
  uint32_t mask;
};

bool tb_pair_map_init(struct tb_pair_map *m, const struct tb_allocator *a, size_t n);
/* The first of equal pairs stays. False: too many collisions. */
bool tb_pair_map_put(struct tb_pair_map *m, struct tb_pair_slot pair);

static inline uint32_t tb_pair_hash(uint32_t left, uint32_t right) {
  uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
  return (uint32_t)((h ^ h >> 29) >> 16);
}

/* NULL when the pair does not merge. */
static inline const struct tb_pair_slot *tb_pair_map_find(const struct tb_pair_map *m, uint32_t left, uint32_t right) {
  for (uint32_t i = tb_pair_hash(left, right) & m->mask;; i = (i + 1) & m->mask) {
    const struct tb_pair_slot *s = &m->slots[i];
    if (s->id1 == 0) return NULL;
    if (s->left == left && s->right == right) return s;
  }
}

#endif
