#include "io/textmap.h"

/* Slots for n entries: a power of two, at least twice n. */
static uint32_t mask_for(size_t n) {
  uint32_t slots = 16;
  while (slots < 2 * n) slots *= 2;
  return slots - 1;
}

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

bool tb_text_map_init(struct tb_text_map *m, const struct tb_allocator *a, size_t n) {
  m->mask = mask_for(n);
  m->slots = tb_calloc(a, (size_t)m->mask + 1, sizeof *m->slots);
  return m->slots != NULL;
}

bool tb_text_map_put(struct tb_text_map *m, const struct tb_str *texts, uint32_t id) {
  struct tb_str t = texts[id];
  uint32_t hash = hash_text(t.ptr, t.len);
  for (uint32_t i = 0; i < TB_MAP_PROBES; i++) {
    struct tb_text_slot *s = &m->slots[(hash + i) & m->mask];
    const struct tb_str *old = s->id1 ? &texts[s->id1 - 1] : NULL;
    if (old && !(s->hash == hash && old->len == t.len && memcmp(old->ptr, t.ptr, t.len) == 0)) continue;
    *s = (struct tb_text_slot){.hash = hash, .id1 = id + 1};
    return true;
  }
  return false;
}

tb_token tb_text_map_find(const struct tb_text_map *m, const struct tb_str *texts, const char *text, size_t len) {
  uint32_t hash = hash_text(text, len);
  for (uint32_t i = hash & m->mask;; i = (i + 1) & m->mask) {
    struct tb_text_slot s = m->slots[i];
    if (s.id1 == 0) return -1;
    if (s.hash != hash) continue;
    struct tb_str t = texts[s.id1 - 1];
    if (t.len == len && memcmp(t.ptr, text, len) == 0) return (tb_token)(s.id1 - 1);
  }
}

bool tb_pair_map_init(struct tb_pair_map *m, const struct tb_allocator *a, size_t n) {
  m->mask = mask_for(n);
  m->slots = tb_calloc(a, (size_t)m->mask + 1, sizeof *m->slots);
  return m->slots != NULL;
}

bool tb_pair_map_put(struct tb_pair_map *m, struct tb_pair_slot pair) {
  uint32_t home = tb_pair_hash(pair.left, pair.right);
  for (uint32_t i = 0; i < TB_MAP_PROBES; i++) {
    struct tb_pair_slot *s = &m->slots[(home + i) & m->mask];
    if (s->id1 && s->left == pair.left && s->right == pair.right) return true;
    if (s->id1) continue;
    *s = pair;
    return true;
  }
  return false;
}
