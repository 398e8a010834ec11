#include "tests/support/gguf_edit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/support/gguf_make.h"

static void *copy_of(const void *p, size_t n) {
  void *q = malloc(n ? n : 1);
  assert_non_null(q);
  if (n) memcpy(q, p, n);
  return q;
}

static void copy_name(char out[64], struct tb_str s) {
  assert_true(s.len < 64);
  memcpy(out, s.ptr, s.len);
  out[s.len] = '\0';
}

void edit_read(struct gguf_edit *e, const struct tb_gguf *g) {
  e->n_kvs = tb_gguf_kv_count(g);
  e->n_tensors = tb_gguf_tensor_count(g);
  e->kvs = calloc(e->n_kvs + 1, sizeof *e->kvs);
  e->tensors = calloc(e->n_tensors + 1, sizeof *e->tensors);
  for (size_t i = 0; i < e->n_kvs; i++) {
    const struct tb_gguf_kv *kv = tb_gguf_kv_at(g, i);
    struct edit_kv *out = &e->kvs[i];
    copy_name(out->key, kv->key);
    out->type = kv->type;
    out->elem = kv->elem;
    out->count = kv->count;
    out->n = (size_t)kv->bytes;
    out->data = copy_of(kv->data, out->n);
  }
  for (size_t i = 0; i < e->n_tensors; i++) {
    const struct tb_gguf_tensor *t = tb_gguf_tensor_at(g, i);
    struct edit_tensor *out = &e->tensors[i];
    copy_name(out->name, t->name);
    out->id = tb_formats[t->format].gguf_id;
    out->n_dims = t->n_dims;
    memcpy(out->ne, t->ne, sizeof out->ne);
    out->n = (size_t)t->bytes;
    out->data = copy_of(t->data, out->n);
  }
}

void edit_free(struct gguf_edit *e) {
  for (size_t i = 0; i < e->n_kvs; i++) free(e->kvs[i].data);
  for (size_t i = 0; i < e->n_tensors; i++) free(e->tensors[i].data);
  free(e->kvs);
  free(e->tensors);
  memset(e, 0, sizeof *e);
}

struct gguf_edit edit_copy(const struct gguf_edit *e) {
  struct gguf_edit c = *e;
  c.kvs = copy_of(e->kvs, (e->n_kvs + 1) * sizeof *e->kvs);
  c.tensors = copy_of(e->tensors, (e->n_tensors + 1) * sizeof *e->tensors);
  for (size_t i = 0; i < c.n_kvs; i++) c.kvs[i].data = copy_of(e->kvs[i].data, e->kvs[i].n);
  for (size_t i = 0; i < c.n_tensors; i++) c.tensors[i].data = copy_of(e->tensors[i].data, e->tensors[i].n);
  return c;
}

static struct edit_kv *find_kv(struct gguf_edit *e, const char *key) {
  for (size_t i = 0; i < e->n_kvs; i++)
    if (strcmp(e->kvs[i].key, key) == 0) return &e->kvs[i];
  return NULL;
}

struct edit_kv *edit_kv(struct gguf_edit *e, const char *key) {
  struct edit_kv *kv = find_kv(e, key);
  if (!kv) fail_msg("no key '%s'", key);
  return kv;
}

struct edit_tensor *edit_tensor(struct gguf_edit *e, const char *name) {
  for (size_t i = 0; i < e->n_tensors; i++)
    if (strcmp(e->tensors[i].name, name) == 0) return &e->tensors[i];
  fail_msg("no tensor '%s'", name);
  return NULL;
}

void edit_remove_kv(struct gguf_edit *e, const char *key) {
  struct edit_kv *kv = edit_kv(e, key);
  size_t i = (size_t)(kv - e->kvs);
  free(kv->data);
  memmove(kv, kv + 1, (--e->n_kvs - i) * sizeof *kv);
}

void edit_remove_tensor(struct gguf_edit *e, const char *name) {
  struct edit_tensor *t = edit_tensor(e, name);
  size_t i = (size_t)(t - e->tensors);
  free(t->data);
  memmove(t, t + 1, (--e->n_tensors - i) * sizeof *t);
}

void edit_set(struct gguf_edit *e, const char *key, uint32_t type, uint32_t elem, uint64_t count, const void *data,
              size_t n) {
  struct edit_kv *kv = find_kv(e, key);
  unsigned char *copy = copy_of(data, n); /* before the old value goes: it may be a part of that */
  if (!kv) {
    e->kvs = realloc(e->kvs, (e->n_kvs + 2) * sizeof *e->kvs);
    assert_non_null(e->kvs);
    kv = &e->kvs[e->n_kvs++];
    memset(kv, 0, sizeof *kv);
    snprintf(kv->key, sizeof kv->key, "%s", key);
  }
  free(kv->data);
  kv->type = type;
  kv->elem = elem;
  kv->count = count;
  kv->data = copy;
  kv->n = n;
}

void edit_set_u32(struct gguf_edit *e, const char *key, uint32_t value) {
  edit_set(e, key, TB_GGUF_U32, TB_GGUF_U32, 1, &value, sizeof value);
}

void edit_set_f32(struct gguf_edit *e, const char *key, float value) {
  edit_set(e, key, TB_GGUF_F32, TB_GGUF_F32, 1, &value, sizeof value);
}

static void append_str(struct gguf_make *m, const char *text, size_t len) {
  uint64_t n = len;
  make_bytes(m, &n, sizeof n);
  make_bytes(m, text, len);
}

void edit_set_str(struct gguf_edit *e, const char *key, const char *text, size_t len) {
  struct gguf_make m = {0};
  append_str(&m, text, len);
  edit_set(e, key, TB_GGUF_STRING, TB_GGUF_STRING, 1, m.data, m.n);
  make_free(&m);
}

void edit_set_strings(struct gguf_edit *e, const char *key, const char *const *texts, uint64_t count) {
  struct gguf_make m = {0};
  for (uint64_t i = 0; i < count; i++) append_str(&m, texts[i], strlen(texts[i]));
  edit_set(e, key, TB_GGUF_ARRAY, TB_GGUF_STRING, count, m.data, m.n);
  make_free(&m);
}

void edit_set_element(struct gguf_edit *e, const char *key, uint64_t i, const char *text, size_t len) {
  struct edit_kv *kv = edit_kv(e, key);
  struct gguf_make m = {0};
  const unsigned char *cursor = kv->data;
  for (uint64_t k = 0; k < kv->count; k++) {
    struct tb_str s = tb_gguf_next_str(&cursor);
    append_str(&m, k == i ? text : s.ptr, k == i ? len : s.len);
  }
  edit_set(e, key, TB_GGUF_ARRAY, TB_GGUF_STRING, kv->count, m.data, m.n);
  make_free(&m);
}

void edit_resize(struct edit_tensor *t, size_t n) {
  free(t->data);
  t->data = calloc(n ? n : 1, 1);
  assert_non_null(t->data);
  t->n = n;
}

static void write_kv(struct gguf_make *m, const struct edit_kv *kv) {
  append_str(m, kv->key, strlen(kv->key));
  make_bytes(m, &kv->type, 4);
  if (kv->type == TB_GGUF_ARRAY) {
    make_bytes(m, &kv->elem, 4);
    make_bytes(m, &kv->count, 8);
  }
  make_bytes(m, kv->data, kv->n);
}

static size_t padded(size_t n) { return (n + 31) / 32 * 32; }

void edit_write(const struct gguf_edit *e, const char *path) {
  struct gguf_make m;
  uint64_t offset = 0;
  make_begin(&m, 3, e->n_tensors, e->n_kvs);
  for (size_t i = 0; i < e->n_kvs; i++) write_kv(&m, &e->kvs[i]);
  for (size_t i = 0; i < e->n_tensors; i++) {
    const struct edit_tensor *t = &e->tensors[i];
    make_tensor(&m, t->name, t->n_dims, t->ne, t->id, offset);
    offset += padded(t->n);
  }
  make_data(&m, 32, 0);
  for (size_t i = 0; i < e->n_tensors; i++) {
    make_bytes(&m, e->tensors[i].data, e->tensors[i].n);
    make_data(&m, 32, 0);
  }
  remove(path); /* a truncated and rewritten file would be flushed to the disk at once */
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(m.data, 1, m.n, f), m.n);
  assert_int_equal(fclose(f), 0);
  make_free(&m);
}
