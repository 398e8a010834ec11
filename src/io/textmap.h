/* Hash tables of the tokenizers: symbol texts to ids, and pairs of ids to merges. Open addressing, at most five eighths
 * full; a slot is a number and a few bits of a hash, what it stands for lies elsewhere. A hostile vocabulary may aim at
 * collisions: an entry that lands more than TB_MAP_PROBES slots from home is refused, which also bounds every look-up. */
#ifndef TB_IO_TEXTMAP_H
#define TB_IO_TEXTMAP_H

#include <string.h>
#include "io/gguf.h"

enum {
  TB_MAP_PROBES = 512,   /* a good hash needs under 100 in a table of 4 million slots */
  TB_MAP_INDEX_BITS = 24,
  TB_MAP_MAX = (1 << TB_MAP_INDEX_BITS) - 1, /* entries */
};

/* A slot holds index + 1 in its low bits, the hash's highest bits above; 0: empty. */
struct tb_map {
  uint32_t *slots;
  uint32_t mask;
};

/* Room for n entries. False: out of memory. */
bool tb_map_init(struct tb_map *m, const struct tb_allocator *a, size_t n);
/* Whether one more than n entries would fill the table too far. */
bool tb_map_is_full(const struct tb_map *m, size_t n);

/* The next slot of this hash that may be what is looked for, or an empty one. Start with *i = hash. */
static inline uint32_t tb_map_next(const struct tb_map *m, uint32_t hash, uint32_t *i) {
  for (;; ++*i) {
    const uint32_t s = m->slots[*i & m->mask];
    if (s == 0 || (s ^ hash) >> TB_MAP_INDEX_BITS == 0) return s & TB_MAP_MAX;
  }
}

/* ------------------------------------------------------------------------------------------------------------- texts */

/* Texts of symbols. The first n are strings of a GGUF array, which must live as long, and take 4 bytes each: a text ends
 * where the next string begins. Lengths are not read again, a file that changes meanwhile must not lead astray. */
struct tb_texts {
  const char *strings;
  uint32_t *at; /* n + 1: where the text of string i begins, behind its length; the last as if there were one more */
  uint32_t n;
  struct tb_str *more; /* of symbols n, n+1 … */
  size_t cap_more;
};

static inline struct tb_str tb_text(const struct tb_texts *t, uint32_t id) {
  if (id >= t->n) return t->more[id - t->n];
  return (struct tb_str){t->strings + t->at[id], t->at[id + 1] - t->at[id] - sizeof(uint64_t)};
}

/* Puts the text of `id` in; an equal text that is there already loses its place to the new id. False: too many
 * collisions. */
bool tb_text_map_put(struct tb_map *m, const struct tb_texts *texts, uint32_t id);
/* Puts in symbols 0 … n-1, but for empty texts: n, or the first that tb_text_map_put refused. */
uint32_t tb_text_map_fill(struct tb_map *m, const struct tb_texts *texts, uint32_t n);
/* The id or -1. */
tb_token tb_text_map_find(const struct tb_map *m, const struct tb_texts *texts, const char *text, size_t len);

/* ------------------------------------------------------------------------------------------------------------- pairs */

/* Merges: the one of rank i is all[i]. */
struct tb_pair_map {
  struct tb_pair {
    uint32_t left, right; /* symbol ids */
    uint32_t id;          /* of the merged symbol */
  } *all;
  struct tb_map map;
};

/* Room for n. False: out of memory. */
bool tb_pair_map_init(struct tb_pair_map *p, const struct tb_allocator *a, size_t n);
/* The first of equal pairs stays. False: too many collisions. */
bool tb_pair_map_put(struct tb_pair_map *p, uint32_t rank, struct tb_pair pair);

static inline uint32_t tb_pair_hash(uint32_t left, uint32_t right) {
  uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
  return (uint32_t)((h ^ h >> 29) >> 16);
}

/* The rank or -1: the pair does not merge. */
static inline int32_t tb_pair_map_find(const struct tb_pair_map *p, uint32_t left, uint32_t right) {
  const uint32_t hash = tb_pair_hash(left, right);
  for (uint32_t i = hash;; i++) {
    const uint32_t rank1 = tb_map_next(&p->map, hash, &i);
    if (rank1 == 0) return -1;
    const struct tb_pair *pair = &p->all[rank1 - 1];
    if (pair->left == left && pair->right == right) return (int32_t)(rank1 - 1);
  }
}

#endif
