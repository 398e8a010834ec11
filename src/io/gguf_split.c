/* Models split over several files: "<name>-00001-of-00003.gguf", numbered from 1 in the name and from 0 in split.no.
 * The first part holds all metadata; each part has a tensor table of its own. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "io/gguf_impl.h"

const char *tb_gguf_part_name(char buf[32], unsigned part, unsigned count) {
  snprintf(buf, 32, "-%05u-of-%05u.gguf", part + 1, count);
  return buf;
}

struct split {
  uint32_t no, count;
};

static enum tb_status read_split(const struct tb_gguf_kvs *kvs, bool required, struct split *s, struct tb_error *err) {
  enum tb_status status = tb_gguf_kvs_u32(kvs, "split.no", required, &s->no, err);
  return status ? status : tb_gguf_kvs_u32(kvs, "split.count", required, &s->count, err);
}

/* Part `no` is mapped at p: does it say that it is that part? */
static enum tb_status check_part(struct tb_gguf_part *p, const struct split *expected, const struct tb_allocator *a,
                                 struct tb_error *err) {
  enum tb_status s = tb_gguf_scan(p, err);
  if (s) return s;
  struct tb_gguf_kvs kvs = {0};
  struct split found = {0};
  if (!(s = tb_gguf_kvs_build(&kvs, p, a, err)) && !(s = tb_gguf_place(p, &kvs, err)))
    s = read_split(&kvs, true, &found, err);
  if (!s && (found.no != expected->no || found.count != expected->count))
    s = tb_fail(err, TB_E_FORMAT, "it says that it is part %" PRIu64 " of %" PRIu32 ", expected part %" PRIu64 " of %" PRIu32,
                (uint64_t)found.no + 1, found.count, (uint64_t)expected->no + 1, expected->count);
  tb_gguf_kvs_free(&kvs, a);
  return s;
}

static enum tb_status open_part(struct tb_gguf_part *p, const char *path, const struct split *expected,
                                const struct tb_allocator *a, struct tb_error *err) {
  enum tb_status s = tb_mapfile_open(&p->file, path, err);
  if (s) return s;
  p->base = p->file.data;
  p->size = p->file.size;
  s = check_part(p, expected, a, err);
  return s ? tb_fail_prefix(err, s, path) : TB_OK;
}

/* Opens parts 1 … into g->parts; `path` is a writable copy of the first part's path, `suffix` its numbered end. */
static enum tb_status open_rest(struct tb_gguf *g, char *path, char *suffix, uint32_t count, struct tb_error *err) {
  struct tb_gguf_part *parts = tb_calloc(g->a, count, sizeof *parts);
  if (!parts) return tb_fail(err, TB_E_NOMEM, "no memory for %" PRIu32 " parts", count);
  parts[0] = g->parts[0];
  tb_free(g->a, g->parts);
  g->parts = parts;
  for (uint32_t i = 1; i < count; i++) {
    char name[32];
    tb_gguf_part_name(name, i, count);
    memcpy(suffix, name, strlen(name));
    struct split expected = {i, count};
    g->n_parts = i + 1; /* also when the part fails: its mapping has to be closed */
    enum tb_status s = open_part(&parts[i], path, &expected, g->a, err);
    if (s) return s;
  }
  return TB_OK;
}

static enum tb_status check_total(const struct tb_gguf *g, struct tb_error *err) {
  uint64_t n = 0;
  for (unsigned i = 0; i < g->n_parts; i++) n += g->parts[i].header.n_tensors;
  uint32_t expected = (uint32_t)n;
  enum tb_status s = tb_gguf_kvs_u32(&g->kvs, "split.tensors.count", false, &expected, err);
  if (s || expected == n) return s;
  return tb_fail(err, TB_E_FORMAT, "key 'split.tensors.count': %" PRIu32 " tensors, but the parts hold %" PRIu64, expected,
                 n);
}

/* *count: the parts of the model that g->parts[0] begins. 1: it is not split. */
static enum tb_status count_parts(const struct tb_gguf *g, const char *path, uint32_t *count, struct tb_error *err) {
  struct split split = {0, 1};
  enum tb_status s = read_split(&g->kvs, false, &split, err);
  *count = split.count;
  if (s || split.count <= 1) return s;
  if (split.count > TB_GGUF_MAX_PARTS)
    return tb_fail(err, TB_E_LIMIT, "key 'split.count': %" PRIu32 " parts, at most %d are supported", split.count,
                   TB_GGUF_MAX_PARTS);
  if (!path) return tb_fail(err, TB_E_UNSUPPORTED, "a part of a split model, which can only be opened as files");
  char suffix[32];
  tb_gguf_part_name(suffix, 0, split.count);
  if (split.no != 0)
    return tb_fail(err, TB_E_ARG, "part %" PRIu64 " of %" PRIu32 " of a split model; open the first part (...%s)",
                   (uint64_t)split.no + 1, split.count, suffix);
  size_t len = strlen(path), tail = strlen(suffix);
  if (len > tail && strcmp(path + len - tail, suffix) == 0) return TB_OK;
  return tb_fail(err, TB_E_FORMAT, "the first of %" PRIu32 " parts, so its name must end in %s to find the others",
                 split.count, suffix);
}

enum tb_status tb_gguf_open_parts(struct tb_gguf *g, const char *path, struct tb_error *err) {
  uint32_t count;
  enum tb_status s = count_parts(g, path, &count, err);
  if (s) return path ? tb_fail_prefix(err, s, path) : s;
  if (count <= 1) return TB_OK;
  char *copy = tb_strndup(g->a, path, strlen(path));
  if (!copy) return tb_fail(err, TB_E_NOMEM, "no memory for a path");
  char suffix[32];
  size_t tail = strlen(tb_gguf_part_name(suffix, 0, count));
  s = open_rest(g, copy, copy + strlen(copy) - tail, count, err);
  tb_free(g->a, copy);
  if (!s && (s = check_total(g, err))) tb_fail_prefix(err, s, path);
  return s;
}
