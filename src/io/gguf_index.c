/* Names to entries: open addressing with linear probing, two thirds full at most, 4 bytes per slot. */
#include <inttypes.h>
#include <string.h>
#include "io/gguf_impl.h"

/* FNV-1a (Fowler, Noll, Vo), its high half mixed in: the slot is taken from the upper bits. */
static uint32_t hash(const char *s, size_t n) {
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
  h ^= h >> 32;
  h *= 0x9e3779b97f4a7c15u;
  return (uint32_t)(h >> 32);
}

static struct tb_str name_of(const void *entries, size_t stride, size_t i) {
  struct tb_str s;
  memcpy(&s, (const char *)entries + i * stride, sizeof s);
  return s;
}

/* The slot that holds the name, or the free one where it belongs; the number of slots looked at is added to *steps. */
static size_t probe(const struct tb_gguf_index *x, const void *entries, size_t stride, struct tb_str name,
                    uint64_t *steps) {
  size_t i = (size_t)((uint64_t)hash(name.ptr, name.len) * x->n_slots >> 32);
  for (;; i = i + 1 < x->n_slots ? i + 1 : 0) {
    ++*steps;
    if (x->slot[i] == 0) return i;
    struct tb_str s = name_of(entries, stride, x->slot[i] - 1);
    if (s.len == name.len && memcmp(s.ptr, name.ptr, s.len) == 0) return i;
  }
}

static enum tb_status fill(struct tb_gguf_index *x, const void *entries, size_t stride, size_t n, const char *kind,
                           struct tb_error *err) {
  /* About two steps per name are expected. The budget keeps names that were made to collide from taking n² steps. */
  uint64_t steps = 0, budget = 4096 + 16 * (uint64_t)n;
  for (size_t i = 0; i < n; i++) {
    struct tb_str name = name_of(entries, stride, i);
    size_t at = probe(x, entries, stride, name, &steps);
    if (x->slot[at] != 0)
      return tb_fail(err, TB_E_FORMAT, "%s '%.*s' occurs twice", kind, name.len > 96 ? 96 : (int)name.len, name.ptr);
    if (steps > budget) return tb_fail(err, TB_E_LIMIT, "the names of the %ss were made to collide", kind);
    x->slot[at] = (uint32_t)(i + 1);
  }
  return TB_OK;
}

enum tb_status tb_gguf_index_build(struct tb_gguf_index *index, const void *entries, size_t stride, size_t n,
                                   const struct tb_allocator *a, const char *kind, struct tb_error *err) {
  index->n_slots = n + n / 2 + 1;
  index->slot = tb_calloc(a, index->n_slots, sizeof *index->slot);
  if (!index->slot) return tb_fail(err, TB_E_NOMEM, "no memory for an index of %zu %ss", n, kind);
  return fill(index, entries, stride, n, kind, err);
}

const void *tb_gguf_index_find(const struct tb_gguf_index *index, const void *entries, size_t stride, const char *name,
                               size_t len) {
  uint64_t steps = 0;
  if (!index->slot) return NULL;
  size_t at = probe(index, entries, stride, (struct tb_str){name, len}, &steps);
  return index->slot[at] ? (const char *)entries + (index->slot[at] - 1) * stride : NULL;
}
