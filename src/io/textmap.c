#include "io/textmap.h"

bool tb_map_is_full(const struct tb_map *m, size_t n) {
  return (n + 1) * 8 > ((size_t)m->mask + 1) * 5;
}

bool tb_map_init(struct tb_map *m, const struct tb_allocator *a, size_t n) {
  m->mask = 15;
  while (n > 0 && tb_map_is_full(m, n - 1))
    m->mask = 2 * m->mask + 1;
  m->slots = tb_calloc(a, (size_t)m->mask + 1, sizeof *m->slots);
  return m->slots != NULL;
}

static uint32_t slot_of(uint32_t hash, uint32_t index) {
  return hash >> TB_MAP_INDEX_BITS << TB_MAP_INDEX_BITS | (index + 1);
}

/* Whether slot i is near enough to the hash's home. */
static bool in_reach(uint32_t hash, uint32_t i) {
  return i - hash < TB_MAP_PROBES;
}

/* ------------------------------------------------------------------------------------------------------------- texts */

/* Eight bytes a step, multiplied and folded. */
static uint32_t hash_text(const char *text, size_t len) {
  const uint64_t k = 0x9e3779b97f4a7c15u;
  uint64_t h = len * k;
  for (; len >= 8; text += 8, len -= 8) {
    uint64_t v;
    memcpy(&v, text, 8);
    h = (h ^ v) * k;
    h ^= h >> 32;
  }
  uint64_t v = 0;
  memcpy(&v, text, len);
  h = (h ^ v) * k;
  h ^= h >> 29;
  return (uint32_t)(h * k >> 32);
}

static bool is_text(struct tb_str t, const char *text, size_t len) {
  return t.len == len && memcmp(t.ptr, text, len) == 0;
}

bool tb_text_map_put(struct tb_map *m, const struct tb_texts *texts, uint32_t id) {
  const struct tb_str t = tb_text(texts, id);
  const uint32_t hash = hash_text(t.ptr, t.len);
  for (uint32_t i = hash;; i++) {
    const uint32_t id1 = tb_map_next(m, hash, &i);
    if (!in_reach(hash, i)) return false;
    if (id1 != 0 && !is_text(tb_text(texts, id1 - 1), t.ptr, t.len)) continue;
    m->slots[i & m->mask] = slot_of(hash, id);
    return true;
  }
}

uint32_t tb_text_map_fill(struct tb_map *m, const struct tb_texts *texts, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    if (tb_text(texts, i).len > 0 && !tb_text_map_put(m, texts, i)) return i;
  return n;
}

tb_token tb_text_map_find(const struct tb_map *m, const struct tb_texts *texts, const char *text, size_t len) {
  const uint32_t hash = hash_text(text, len);
  for (uint32_t i = hash;; i++) {
    const uint32_t id1 = tb_map_next(m, hash, &i);
    if (id1 == 0) return -1;
    if (is_text(tb_text(texts, id1 - 1), text, len)) return (tb_token)(id1 - 1);
  }
}

/* ------------------------------------------------------------------------------------------------------------- pairs */

bool tb_pair_map_init(struct tb_pair_map *p, const struct tb_allocator *a, size_t n) {
  p->all = tb_alloc(a, n, sizeof *p->all);
  return p->all && tb_map_init(&p->map, a, n);
}

bool tb_pair_map_put(struct tb_pair_map *p, uint32_t rank, struct tb_pair pair) {
  const uint32_t hash = tb_pair_hash(pair.left, pair.right);
  p->all[rank] = pair;
  for (uint32_t i = hash;; i++) {
    const uint32_t rank1 = tb_map_next(&p->map, hash, &i);
    if (!in_reach(hash, i)) return false;
    if (rank1 == 0) {
      p->map.slots[i & p->map.mask] = slot_of(hash, rank);
      return true;
    }
    const struct tb_pair *old = &p->all[rank1 - 1];
    if (old->left == pair.left && old->right == pair.right) return true;
  }
}
