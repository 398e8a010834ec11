#include "cache/policy/spill.h"

#include <string.h>

/* ------------------------------------------------------------------------------------------------------- making */

struct tb_spill_shape tb_spill_shape_of(const struct tb_policy_layer *l, uint32_t resident, uint32_t segment,
                                        uint32_t rows) {
  const bool single = tb_store_find(l->plan->type_k)->granule == 1 && tb_store_find(l->plan->type_v)->granule == 1;
  struct tb_spill_shape s = {.page = single ? TB_ATTN_BLOCK / TB_SPILL_PAGES : TB_ATTN_BLOCK};
  if (resident < segment) resident = segment;
  if (resident > rows) resident = rows;
  s.n_pages = rows / s.page;
  s.n_slots = (resident + s.page - 1) / s.page;
  s.rows = (uint32_t)tb_round_up(s.n_slots * s.page, TB_ATTN_BLOCK) + l->n_threads * TB_ATTN_BLOCK;
  return s;
}

static uint32_t heads_of(const struct tb_spill *s) {
  return s->side[0]->config.n_heads;
}

struct tb_spill *tb_spill_make(struct tb_arena *a, const struct tb_policy_layer *l, struct tb_spill_shape shape) {
  struct tb_spill *s = tb_carve(a, 1, sizeof *s), made = {.shape = shape};
  const size_t heads = l->shape->n_kv, u = sizeof(uint32_t);
  made.slot = tb_carve(a, heads * shape.n_pages, u);
  made.crc = tb_carve(a, heads * shape.n_pages, u);
  made.page = tb_carve(a, heads * shape.n_slots, u);
  made.next = tb_carve(a, heads * (shape.n_slots + 1), u);
  made.prev = tb_carve(a, heads * (shape.n_slots + 1), u);
  made.counts = tb_carve(a, heads, sizeof *made.counts);
  if (s) *s = made;
  return s;
}

uint64_t tb_spill_attach(struct tb_spill *s, struct tb_plain_side *k, struct tb_plain_side *v, uint64_t at) {
  const uint32_t ring = s->shape.n_slots + 1;
  struct tb_plain_side *sides[2] = {k, v};
  for (int i = 0; i < 2; i++) {
    size_t unused;
    struct tb_store *st = &sides[i]->main;
    st->ops->span(&st->config, 0, s->shape.page, &unused, &s->part[i]);
    sides[i]->page = s->shape.page;
    s->side[i] = st;
    s->bytes += s->part[i];
  }
  s->at = at;
  for (uint32_t i = 0; i < heads_of(s) * ring; i++) {
    const uint32_t first = i / ring * ring;
    s->next[i] = (i - first + 1) % ring;
    s->prev[i] = (i - first + ring - 1) % ring;
  }
  memset(s->slot, 0xff, (size_t)heads_of(s) * s->shape.n_pages * sizeof *s->slot);
  memset(s->page, 0xff, (size_t)heads_of(s) * s->shape.n_slots * sizeof *s->page);
  return at + (uint64_t)heads_of(s) * s->shape.n_pages * s->bytes;
}

/* ------------------------------------------------------------------------------------------------------ the LRU */

static uint32_t *slot_of(const struct tb_spill *s, uint32_t head, uint32_t page) {
  return &s->slot[(size_t)head * s->shape.n_pages + page];
}

static uint32_t *page_of(const struct tb_spill *s, uint32_t head, uint32_t slot) {
  return &s->page[(size_t)head * s->shape.n_slots + slot];
}

/* Slot `slot` to the front of its head's ring, or to its end. */
static void move(struct tb_spill *s, uint32_t head, uint32_t slot, bool front) {
  const uint32_t anchor = s->shape.n_slots;
  uint32_t *next = s->next + (size_t)head * (anchor + 1), *prev = s->prev + (size_t)head * (anchor + 1);
  next[prev[slot]] = next[slot];
  prev[next[slot]] = prev[slot];
  const uint32_t before = front ? anchor : prev[anchor], after = next[before];
  next[before] = prev[after] = slot;
  next[slot] = after;
  prev[slot] = before;
}

static void leave(struct tb_spill *s, uint32_t head, uint32_t page) {
  uint32_t *slot = slot_of(s, head, page);
  if (*slot == TB_SPILL_NONE) return;
  move(s, head, *slot, false);
  *page_of(s, head, *slot) = TB_SPILL_NONE;
  *slot = TB_SPILL_NONE;
}

uint32_t tb_spill_take(struct tb_spill *s, uint32_t head, uint32_t page) {
  const uint32_t anchor = s->shape.n_slots, slot = s->prev[(size_t)head * (anchor + 1) + anchor];
  leave(s, head, page);
  if (*page_of(s, head, slot) != TB_SPILL_NONE) *slot_of(s, head, *page_of(s, head, slot)) = TB_SPILL_NONE;
  *page_of(s, head, slot) = page;
  *slot_of(s, head, page) = slot;
  move(s, head, slot, true);
  return slot;
}

void tb_spill_forget(struct tb_spill *s, uint32_t n) {
  for (uint32_t head = 0; head < heads_of(s); head++)
    for (uint32_t page = n / s->shape.page; page < s->shape.n_pages; page++)
      leave(s, head, page);
}

/* ----------------------------------------------------------------------------------------------------- the file */

static uint64_t place_of(const struct tb_spill *s, uint32_t head, uint32_t page) {
  return s->at + ((uint64_t)head * s->shape.n_pages + page) * s->bytes;
}

static void parts_of(const struct tb_spill *s, uint32_t head, uint32_t slot, struct tb_spill_part part[2]) {
  for (int i = 0; i < 2; i++) {
    size_t at, unused;
    s->side[i]->ops->span(&s->side[i]->config, head, s->shape.page, &at, &unused);
    part[i] = (struct tb_spill_part){s->side[i]->mem + at + slot * s->part[i], s->part[i]};
  }
}

static uint32_t sum_of(const struct tb_cache_work *w, unsigned thread, const struct tb_spill_part part[2]) {
  struct tb_crc *crc = &w->crcs[thread];
  tb_crc_restart(crc);
  for (int i = 0; i < 2; i++)
    tb_crc_add(crc, part[i].data, part[i].bytes);
  return (uint32_t)tb_crc_value(crc);
}

static bool read_page(const struct tb_spill *s, const struct tb_cache_work *w, unsigned thread, uint32_t head,
                      uint32_t page, uint32_t slot) {
  struct tb_spill_part part[2];
  struct tb_error *err = &w->errors[thread];
  parts_of(s, head, slot, part);
  if (tb_spillfile_read(w->file, place_of(s, head, page), part, err)) return false;
  if (sum_of(w, thread, part) == s->crc[(size_t)head * s->shape.n_pages + page]) return true;
  tb_fail(err, TB_E_FORMAT, "%s: what the memory does not hold was damaged in its file (page %u of KV head %u)",
          w->file->dir, page, head);
  return false;
}

bool tb_spill_write(struct tb_spill *s, const struct tb_cache_work *w, unsigned thread, uint32_t head, uint32_t page) {
  struct tb_spill_part part[2];
  parts_of(s, head, *slot_of(s, head, page), part);
  s->crc[(size_t)head * s->shape.n_pages + page] = sum_of(w, thread, part);
  return tb_spillfile_write(w->file, place_of(s, head, page), part, &w->errors[thread]) == TB_OK;
}

/* Those that are there move to the front first: then none of them is at the end when room is made for the others. */
bool tb_spill_load(struct tb_spill *s, const struct tb_cache_work *w, unsigned thread, uint32_t head,
                   const uint32_t *pages, uint32_t n) {
  uint32_t there = 0;
  for (uint32_t i = 0; i < n; i++) {
    const uint32_t slot = *slot_of(s, head, pages[i]);
    if (slot == TB_SPILL_NONE) continue;
    move(s, head, slot, true);
    there++;
  }
  for (uint32_t i = 0; i < n; i++) {
    if (*slot_of(s, head, pages[i]) != TB_SPILL_NONE) continue;
    if (there++ == s->shape.n_slots) return false;
    if (read_page(s, w, thread, head, pages[i], tb_spill_take(s, head, pages[i]))) continue;
    leave(s, head, pages[i]);
    return false;
  }
  return true;
}

bool tb_spill_block(const struct tb_spill *s, const struct tb_cache_work *w, unsigned thread, uint32_t head,
                    uint32_t block, unsigned wanted, uint32_t slots[TB_SPILL_PAGES]) {
  const uint32_t each = TB_ATTN_BLOCK / s->shape.page;
  const uint32_t own = s->shape.rows / s->shape.page - (w->n_threads - thread) * each; /* the thread's first slot */
  for (uint32_t i = 0; i < each; i++) {
    const uint32_t page = block * each + i;
    if (!(wanted >> i & 1)) continue;
    slots[i] = *slot_of(s, head, page);
    if (slots[i] != TB_SPILL_NONE) continue;
    slots[i] = own + i;
    if (!read_page(s, w, thread, head, page, slots[i])) return false;
  }
  return true;
}

uint32_t tb_spill_missing(const struct tb_spill *s, uint32_t head, const uint32_t *pages, uint32_t n) {
  uint32_t missing = 0;
  for (uint32_t i = 0; i < n; i++)
    missing += *slot_of(s, head, pages[i]) == TB_SPILL_NONE;
  return missing;
}
