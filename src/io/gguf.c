#include "io/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "io/gguf_impl.h"

enum tb_status tb_gguf_scan(struct tb_gguf_part *part, struct tb_error *err) {
  struct tb_gguf_reader r = {.base = part->base, .size = part->size, .err = err};
  enum tb_status s = tb_gguf_read_header(&r, &part->header);
  if (s) return s;
  struct tb_gguf_kv kv;
  for (uint64_t i = 0; i < part->header.n_kvs; i++)
    if ((s = tb_gguf_read_kv(&r, &kv))) return s;
  part->tensors_pos = r.pos;
  struct tb_gguf_tensor t;
  uint64_t offset;
  for (uint64_t i = 0; i < part->header.n_tensors; i++)
    if ((s = tb_gguf_read_tensor(&r, &t, &offset))) return s;
  part->header_end = r.pos;
  return TB_OK;
}

enum tb_status tb_gguf_kvs_build(struct tb_gguf_kvs *kvs, const struct tb_gguf_part *part, const struct tb_allocator *a,
                                 struct tb_error *err) {
  kvs->n = (size_t)part->header.n_kvs;
  kvs->at = tb_calloc(a, kvs->n, sizeof *kvs->at);
  if (!kvs->at) return tb_fail(err, TB_E_NOMEM, "no memory for a table of %zu keys", kvs->n);
  struct tb_gguf_reader r = {.base = part->base, .size = part->size, .pos = TB_GGUF_HEADER_BYTES, .err = err};
  for (size_t i = 0; i < kvs->n; i++) {
    enum tb_status s = tb_gguf_read_kv(&r, &kvs->at[i]);
    if (s) return s;
  }
  return tb_gguf_index_build(&kvs->index, kvs->at, sizeof *kvs->at, kvs->n, a, "key", err);
}

void tb_gguf_kvs_free(struct tb_gguf_kvs *kvs, const struct tb_allocator *a) {
  tb_free(a, kvs->at);
  tb_free(a, kvs->index.slot);
  memset(kvs, 0, sizeof *kvs);
}

enum tb_status tb_gguf_place(struct tb_gguf_part *part, const struct tb_gguf_kvs *kvs, struct tb_error *err) {
  uint32_t alignment = TB_GGUF_ALIGNMENT;
  enum tb_status s = tb_gguf_kvs_u32(kvs, "general.alignment", false, &alignment, err);
  if (s) return s;
  /* gguf.md asks for a multiple of 8; kernels read rows of floats in place. */
  if (alignment < 8 || (alignment & (alignment - 1)) != 0)
    return tb_fail(err, TB_E_FORMAT, "key 'general.alignment': %" PRIu32 " is not a power of two from 8 on", alignment);
  part->alignment = alignment;
  part->data_pos = tb_round_up(part->header_end, alignment);
  return TB_OK;
}

static enum tb_status fill(struct tb_gguf *g, struct tb_error *err) {
  uint64_t n = 0;
  for (unsigned i = 0; i < g->n_parts; i++) n += g->parts[i].header.n_tensors;
  if (n >= INT32_MAX) return tb_fail(err, TB_E_LIMIT, "%" PRIu64 " tensors are too many", n);
  g->n_tensors = (size_t)n;
  g->tensors = tb_calloc(g->a, g->n_tensors, sizeof *g->tensors);
  if (!g->tensors) return tb_fail(err, TB_E_NOMEM, "no memory for a table of %zu tensors", g->n_tensors);
  size_t at = 0;
  for (unsigned i = 0; i < g->n_parts; i++) {
    enum tb_status s = tb_gguf_fill_tensors(g->tensors + at, g, i, err);
    if (s && g->n_parts > 1) {
      char name[32];
      return tb_fail_prefix(err, s, tb_gguf_part_name(name, i, g->n_parts));
    }
    if (s) return s;
    at += (size_t)g->parts[i].header.n_tensors;
  }
  return tb_gguf_index_build(&g->tensor_index, g->tensors, sizeof *g->tensors, g->n_tensors, g->a, "tensor", err);
}

static enum tb_status create(struct tb_gguf **out, const struct tb_allocator *a, struct tb_error *err) {
  *out = NULL;
  struct tb_gguf *g = tb_calloc(a, 1, sizeof *g);
  if (!g || !(g->parts = tb_calloc(a, 1, sizeof *g->parts))) {
    tb_free(a, g);
    return tb_fail(err, TB_E_NOMEM, "no memory for a GGUF file");
  }
  g->a = a;
  g->n_parts = 1;
  g->parts[0].file.fd = -1;
  *out = g;
  return TB_OK;
}

static enum tb_status named(enum tb_status s, const char *path, struct tb_error *err) {
  return s && path ? tb_fail_prefix(err, s, path) : s;
}

static enum tb_status load_first(struct tb_gguf *g, struct tb_error *err) {
  enum tb_status s = tb_gguf_scan(&g->parts[0], err);
  if (s || (s = tb_gguf_kvs_build(&g->kvs, &g->parts[0], g->a, err))) return s;
  return tb_gguf_place(&g->parts[0], &g->kvs, err);
}

/* Part 0 is mapped: its tables, then the other parts, then all tensors. path NULL: in memory. */
static enum tb_status load(struct tb_gguf *g, const char *path, struct tb_error *err) {
  enum tb_status s = named(load_first(g, err), path, err);
  if (s || (s = tb_gguf_open_parts(g, path, err))) return s;
  return named(fill(g, err), path, err);
}

enum tb_status tb_gguf_open(struct tb_gguf **out, const char *path, const struct tb_allocator *a, struct tb_error *err) {
  enum tb_status s = create(out, a, err);
  if (s) return s;
  struct tb_gguf_part *first = &(*out)->parts[0];
  if (!(s = tb_mapfile_open(&first->file, path, err))) {
    first->base = first->file.data;
    first->size = first->file.size;
    s = load(*out, path, err);
  }
  if (!s) return TB_OK;
  tb_gguf_free(*out);
  *out = NULL;
  return s;
}

enum tb_status tb_gguf_open_memory(struct tb_gguf **out, const void *data, size_t size, const struct tb_allocator *a,
                                   struct tb_error *err) {
  enum tb_status s = create(out, a, err);
  if (s) return s;
  (*out)->parts[0].base = data;
  (*out)->parts[0].size = size;
  if (!(s = load(*out, NULL, err))) return TB_OK;
  tb_gguf_free(*out);
  *out = NULL;
  return s;
}

void tb_gguf_free(struct tb_gguf *g) {
  if (!g) return;
  for (unsigned i = 0; i < g->n_parts; i++) tb_mapfile_close(&g->parts[i].file);
  tb_gguf_kvs_free(&g->kvs, g->a);
  tb_free(g->a, g->tensors);
  tb_free(g->a, g->names);
  tb_free(g->a, g->tensor_index.slot);
  tb_free(g->a, g->parts);
  tb_free(g->a, g);
}

enum tb_status tb_gguf_keep_names(struct tb_gguf *g, struct tb_error *err) {
  size_t bytes = 0; /* of a header that is mapped: no overflow */
  for (size_t i = 0; i < g->n_tensors; i++) bytes += g->tensors[i].name.len;
  char *at = tb_alloc(g->a, bytes + 1, 1);
  if (!at) return tb_fail(err, TB_E_NOMEM, "no memory for the names of %zu tensors", g->n_tensors);
  tb_free(g->a, g->names);
  g->names = at;
  for (size_t i = 0; i < g->n_tensors; i++) {
    struct tb_str *name = &g->tensors[i].name;
    if (name->len) memcpy(at, name->ptr, name->len);
    name->ptr = at;
    at += name->len;
  }
  return TB_OK;
}

enum tb_status tb_gguf_check(const struct tb_gguf *g, struct tb_error *err) {
  for (unsigned i = 0; i < g->n_parts; i++) {
    if (g->parts[i].file.fd < 0) continue;
    enum tb_status s = tb_mapfile_check(&g->parts[i].file, err);
    if (!s) continue;
    char part[32];
    snprintf(part, sizeof part, "part %u", i + 1);
    return g->n_parts > 1 ? tb_fail_prefix(err, s, part) : s;
  }
  return TB_OK;
}

const struct tb_mapfile *tb_gguf_mapping(const struct tb_gguf *g, unsigned part) {
  return part < g->n_parts && g->parts[part].file.fd >= 0 ? &g->parts[part].file : NULL;
}
