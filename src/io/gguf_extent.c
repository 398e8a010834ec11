/* Where the tensors of one file lie: inside its data section, aligned, no two sharing a byte. */
#include <inttypes.h>
#include <string.h>
#include "io/gguf_impl.h"

static enum tb_status place(struct tb_gguf_tensor *t, const struct tb_gguf_part *p, uint64_t offset,
                            const struct tb_gguf_reader *r) {
  size_t have = p->size > p->data_pos ? p->size - p->data_pos : 0;
  if (offset % p->alignment != 0)
    return tb_gguf_fail(r, TB_E_FORMAT, "offset %" PRIu64 " is not a multiple of the alignment %zu", offset,
                        p->alignment);
  if (offset > have || t->bytes > have - offset)
    return tb_gguf_fail(r, TB_E_FORMAT,
                        "bytes %" PRIu64 " to %" PRIu64 " of the tensor data, but the file has only %zu (truncated?)",
                        offset, offset + (t->bytes - 1), have);
  t->data = p->base + p->data_pos + offset;
  return TB_OK;
}

static enum tb_status overlap(const struct tb_gguf_tensor *a, const struct tb_gguf_tensor *b, struct tb_error *err) {
  return tb_fail(err, TB_E_FORMAT, "tensors '%.*s' and '%.*s' overlap", (int)a->name.len, a->name.ptr, (int)b->name.len,
                 b->name.ptr);
}

/* One stable counting-sort pass over byte `digit` of the data addresses. */
static void sort_pass(uint32_t *to, const uint32_t *from, const struct tb_gguf_tensor *t, size_t n, unsigned digit) {
  size_t start[257] = {0};
  for (size_t i = 0; i < n; i++) start[((uintptr_t)t[i].data >> 8 * digit & 255) + 1]++;
  for (unsigned b = 0; b < 256; b++) start[b + 1] += start[b];
  for (size_t i = 0; i < n; i++) to[start[(uintptr_t)t[from[i]].data >> 8 * digit & 255]++] = from[i];
}

/* order[0 … n-1]: the tensors by address; order[n … 2n-1] is scratch. Linear, whatever the order in the file. */
static void sort_by_address(uint32_t *order, const struct tb_gguf_tensor *t, size_t n) {
  uint32_t *a = order, *b = order + n;
  for (size_t i = 0; i < n; i++) a[i] = (uint32_t)i;
  for (unsigned digit = 0; digit < sizeof(uintptr_t); digit += 2) {
    sort_pass(b, a, t, n, digit);
    sort_pass(a, b, t, n, digit + 1);
  }
}

static bool in_order(const struct tb_gguf_tensor *t, size_t n) {
  for (size_t i = 1; i < n; i++)
    if (t[i].data < t[i - 1].data + t[i - 1].bytes) return false;
  return true;
}

static enum tb_status check_disjoint(const struct tb_gguf_tensor *t, size_t n, const struct tb_allocator *a,
                                     struct tb_error *err) {
  if (in_order(t, n)) return TB_OK; /* so do all writers we know */
  uint32_t *order = tb_alloc(a, n, 2 * sizeof *order);
  if (!order) return tb_fail(err, TB_E_NOMEM, "no memory to sort %zu tensors", n);
  sort_by_address(order, t, n);
  enum tb_status s = TB_OK;
  for (size_t i = 1; i < n && !s; i++) {
    const struct tb_gguf_tensor *before = &t[order[i - 1]], *after = &t[order[i]];
    if (after->data < before->data + before->bytes) s = overlap(before, after, err);
  }
  tb_free(a, order);
  return s;
}

enum tb_status tb_gguf_fill_tensors(struct tb_gguf_tensor *t, const struct tb_gguf *g, unsigned part,
                                    struct tb_error *err) {
  const struct tb_gguf_part *p = &g->parts[part];
  struct tb_gguf_reader r = {.base = p->base, .size = p->size, .pos = p->tensors_pos, .err = err};
  for (size_t i = 0; i < p->header.n_tensors; i++) {
    uint64_t offset;
    enum tb_status s = tb_gguf_read_tensor(&r, &t[i], &offset);
    if (s) return s;
    t[i].part = part;
    r.kind = "tensor";
    if ((s = place(&t[i], p, offset, &r))) return s;
  }
  return check_disjoint(t, (size_t)p->header.n_tensors, g->a, err);
}
