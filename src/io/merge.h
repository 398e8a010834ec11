/* The loop that BPE and SentencePiece share: of all neighbouring symbols that may merge, the pair of lowest rank (of
 * equal ones the leftmost) becomes one symbol, until none may. A heap holds the candidates: O(n log n) for n bytes.
 *
 * `sym` has one entry per byte of the word: a symbol's first byte holds its id, its last byte (of several) ~id, those
 * between DEAD. That makes both neighbours reachable without links: 4 bytes of state per byte of text. */
#ifndef TB_IO_MERGE_H
#define TB_IO_MERGE_H

#include "base/alloc.h"

enum { TB_MERGE_DEAD = INT32_MIN };

/* What is longer is merged in parts, cut between characters: memory for one part is at most 20 bytes per byte, and its
 * heap stays near the core. No text that a model was trained on has such a word. */
enum { TB_WORD_MAX = 1 << 16 };

struct tb_merge_pair {
  uint32_t rank;
  int32_t id; /* the merged symbol; -1: the two do not merge */
};

struct tb_merge_item {
  uint64_t key; /* rank << 32 | position */
  int32_t id;
};

struct tb_merger {
  const struct tb_allocator *a;
  const uint32_t *len; /* bytes of each symbol */
  int32_t *sym;
  size_t cap;
  struct tb_merge_item *heap;
  size_t n_heap, cap_heap;
};

static inline bool tb_merge_push(struct tb_merger *m, struct tb_merge_item item) {
  void *heap = m->heap;
  if (!tb_grow(m->a, &heap, &m->cap_heap, m->n_heap + 1, sizeof *m->heap)) return false;
  m->heap = heap;
  size_t i = m->n_heap++;
  for (; i > 0 && item.key < m->heap[(i - 1) / 2].key; i = (i - 1) / 2) m->heap[i] = m->heap[(i - 1) / 2];
  m->heap[i] = item;
  return true;
}

static inline struct tb_merge_item tb_merge_pop(struct tb_merger *m) {
  struct tb_merge_item top = m->heap[0], last = m->heap[--m->n_heap];
  size_t i = 0, c;
  for (; (c = 2 * i + 1) < m->n_heap; i = c) {
    c += c + 1 < m->n_heap && m->heap[c + 1].key < m->heap[c].key;
    if (last.key <= m->heap[c].key) break;
    m->heap[i] = m->heap[c];
  }
  m->heap[i] = last;
  return top;
}

/* Room for a word of n bytes. */
static inline bool tb_merge_reserve(struct tb_merger *m, size_t n) {
  void *sym = m->sym;
  bool ok = tb_grow(m->a, &sym, &m->cap, n, sizeof *m->sym);
  m->sym = sym;
  return ok;
}

static inline void tb_merge_set(struct tb_merger *m, size_t pos, int32_t id) {
  size_t last = pos + m->len[id] - 1;
  m->sym[last] = ~id;
  m->sym[pos] = id;
}

typedef struct tb_merge_pair (*tb_merge_fn)(const void *ctx, size_t pos, int32_t left, int32_t right);

/* One candidate: the symbols at `pos` and behind it. False: out of memory. */
static inline bool tb_merge_try(struct tb_merger *m, size_t pos, tb_merge_fn pair, const void *ctx) {
  int32_t left = m->sym[pos];
  struct tb_merge_pair p = pair(ctx, pos, left, m->sym[pos + m->len[left]]);
  return p.id < 0 || tb_merge_push(m, (struct tb_merge_item){(uint64_t)p.rank << 32 | pos, p.id});
}

/* Merges the n bytes whose first symbols are in m->sym (tb_merge_set). False: out of memory. Inline, so that `pair` is
 * a direct call in each of the two users. */
static inline bool tb_merge_run(struct tb_merger *m, size_t n, tb_merge_fn pair, const void *ctx) {
  m->n_heap = 0;
  for (size_t i = 0; i + m->len[m->sym[i]] < n; i += m->len[m->sym[i]])
    if (!tb_merge_try(m, i, pair, ctx)) return false;
  while (m->n_heap > 0) {
    struct tb_merge_item top = tb_merge_pop(m);
    size_t pos = (uint32_t)top.key, total = m->len[top.id];
    /* Symbols only grow: the pair is as it was when both lengths still add up. */
    int32_t left = m->sym[pos];
    if (left < 0 || pos + total > n) continue;
    size_t mid = pos + m->len[left];
    if (mid >= pos + total || mid + m->len[m->sym[mid]] != pos + total) continue;
    m->sym[mid - 1] = m->sym[mid] = TB_MERGE_DEAD;
    tb_merge_set(m, pos, top.id);
    if (pos + total < n && !tb_merge_try(m, pos, pair, ctx)) return false;
    if (pos > 0) {
      int32_t prev = m->sym[pos - 1];
      size_t at = pos - m->len[prev < 0 ? ~prev : prev];
      if (!tb_merge_try(m, at, pair, ctx)) return false;
    }
  }
  return true;
}

#endif
