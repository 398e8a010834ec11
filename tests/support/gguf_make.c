#include "tests/support/gguf_make.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "io/gguf.h"

static void *grow(void *p, size_t *cap, size_t need, size_t size) {
  if (need <= *cap) return p;
  *cap = need * 2 + 64;
  p = realloc(p, *cap * size);
  assert_non_null(p);
  return p;
}

void make_free(struct gguf_make *m) {
  free(m->data);
  free(m->fields);
  memset(m, 0, sizeof *m);
}

void make_bytes(struct gguf_make *m, const void *data, size_t n) {
  m->data = grow(m->data, &m->cap, m->n + n, 1);
  if (n) memcpy(m->data + m->n, data, n);
  m->n += n;
}

static void field(struct gguf_make *m, enum make_kind kind, unsigned index, const void *data, size_t n) {
  m->fields = grow(m->fields, &m->cap_fields, m->n_fields + 1, sizeof *m->fields);
  struct make_field *f = &m->fields[m->n_fields++];
  *f = (struct make_field){.kind = kind, .index = index, .at = m->n, .len = n};
  memcpy(f->owner, m->owner, sizeof f->owner);
  make_bytes(m, data, n);
}

static void u32(struct gguf_make *m, enum make_kind kind, uint32_t v) { field(m, kind, 0, &v, sizeof v); }
static void u64(struct gguf_make *m, enum make_kind kind, unsigned index, uint64_t v) {
  field(m, kind, index, &v, sizeof v);
}

static void own(struct gguf_make *m, const char *name) { snprintf(m->owner, sizeof m->owner, "%s", name); }

void make_begin(struct gguf_make *m, uint32_t version, uint64_t n_tensors, uint64_t n_kvs) {
  memset(m, 0, sizeof *m);
  field(m, MAKE_MAGIC, 0, "GGUF", 4);
  u32(m, MAKE_VERSION, version);
  u64(m, MAKE_N_TENSORS, 0, n_tensors);
  u64(m, MAKE_N_KVS, 0, n_kvs);
}

static void key(struct gguf_make *m, const char *name, uint32_t type) {
  own(m, name);
  u64(m, MAKE_KEY_LEN, 0, strlen(name));
  field(m, MAKE_KEY, 0, name, strlen(name));
  u32(m, MAKE_TYPE, type);
}

static void string(struct gguf_make *m, unsigned index, const char *s) {
  u64(m, MAKE_STR_LEN, index, strlen(s));
  field(m, MAKE_STR, index, s, strlen(s));
}

void make_kv(struct gguf_make *m, const char *name, uint32_t type, const void *value, size_t len) {
  key(m, name, type);
  field(m, MAKE_VALUE, 0, value, len);
}

void make_kv_u32(struct gguf_make *m, const char *name, uint32_t v) { make_kv(m, name, TB_GGUF_U32, &v, sizeof v); }
void make_kv_u16(struct gguf_make *m, const char *name, uint16_t v) { make_kv(m, name, TB_GGUF_U16, &v, sizeof v); }
void make_kv_f32(struct gguf_make *m, const char *name, float v) { make_kv(m, name, TB_GGUF_F32, &v, sizeof v); }

void make_kv_str(struct gguf_make *m, const char *name, const char *value) {
  key(m, name, TB_GGUF_STRING);
  string(m, 0, value);
}

static void array_head(struct gguf_make *m, const char *name, uint32_t elem, uint64_t count) {
  key(m, name, TB_GGUF_ARRAY);
  u32(m, MAKE_ELEM, elem);
  u64(m, MAKE_COUNT, 0, count);
}

void make_array(struct gguf_make *m, const char *name, uint32_t elem, uint64_t count, const void *values, size_t len) {
  array_head(m, name, elem, count);
  field(m, MAKE_VALUE, 0, values, len);
}

void make_strings(struct gguf_make *m, const char *name, uint64_t count, const char *const *values) {
  array_head(m, name, TB_GGUF_STRING, count);
  for (unsigned i = 0; i < count; i++) string(m, i, values[i]);
}

void make_tensor(struct gguf_make *m, const char *name, uint32_t n_dims, const uint64_t *ne, uint32_t type,
                 uint64_t offset) {
  own(m, name);
  u64(m, MAKE_NAME_LEN, 0, strlen(name));
  field(m, MAKE_NAME, 0, name, strlen(name));
  u32(m, MAKE_N_DIMS, n_dims);
  for (unsigned i = 0; i < n_dims; i++) u64(m, MAKE_NE, i, ne[i]);
  u32(m, MAKE_FORMAT, type);
  u64(m, MAKE_OFFSET, 0, offset);
}

void make_data(struct gguf_make *m, size_t alignment, size_t n) {
  static const unsigned char zero[64];
  m->header_end = m->n;
  while (m->n % alignment) make_bytes(m, zero, 1);
  for (; n > 0; n -= n < 64 ? n : 64) make_bytes(m, zero, n < 64 ? n : 64);
}

const struct make_field *make_find(const struct gguf_make *m, enum make_kind kind, const char *owner, unsigned index) {
  for (size_t i = 0; i < m->n_fields; i++)
    if (m->fields[i].kind == kind && m->fields[i].index == index && strcmp(m->fields[i].owner, owner) == 0)
      return &m->fields[i];
  fail_msg("no field of kind %d of '%s'", (int)kind, owner);
  return NULL;
}

void make_set(struct gguf_make *m, const struct make_field *f, uint64_t value) {
  memcpy(m->data + f->at, &value, f->len < 8 ? f->len : 8);
}

struct gguf_make make_copy(const struct gguf_make *m) {
  struct gguf_make c = {0};
  make_bytes(&c, m->data, m->n);
  c.fields = grow(NULL, &c.cap_fields, m->n_fields, sizeof *c.fields);
  memcpy(c.fields, m->fields, m->n_fields * sizeof *c.fields);
  c.n_fields = m->n_fields;
  c.header_end = m->header_end;
  return c;
}

static void scalars(struct gguf_make *m) {
  make_kv(m, "t.u8", TB_GGUF_U8, &(uint8_t){200}, 1);
  make_kv(m, "t.i8", TB_GGUF_I8, &(int8_t){-5}, 1);
  make_kv(m, "t.u16", TB_GGUF_U16, &(uint16_t){60000}, 2);
  make_kv(m, "t.i16", TB_GGUF_I16, &(int16_t){-300}, 2);
  make_kv(m, "t.u32", TB_GGUF_U32, &(uint32_t){4000000000u}, 4);
  make_kv(m, "t.i32", TB_GGUF_I32, &(int32_t){-70000}, 4);
  make_kv(m, "t.f32", TB_GGUF_F32, &(float){1.5f}, 4);
  make_kv(m, "t.bool", TB_GGUF_BOOL, &(uint8_t){1}, 1);
  make_kv(m, "t.u64", TB_GGUF_U64, &(uint64_t){1ull << 40}, 8);
  make_kv(m, "t.i64", TB_GGUF_I64, &(int64_t){7}, 8);
  make_kv(m, "t.f64", TB_GGUF_F64, &(double){-0.25}, 8);
}

struct gguf_make make_sample(void) {
  static const char *const words[] = {"alpha", "", "\xc4\xa0gamma"};
  static const float floats[] = {1, 2.5f, -3};
  static const int32_t ints[] = {10, 20, 30, 40};
  struct gguf_make m;
  make_begin(&m, 3, 3, 17);
  make_kv_str(&m, "general.architecture", "llama");
  scalars(&m);
  make_array(&m, "a.f32", TB_GGUF_F32, 3, floats, sizeof floats);
  make_array(&m, "a.i32", TB_GGUF_I32, 4, ints, sizeof ints);
  make_array(&m, "a.bool", TB_GGUF_BOOL, 2, "\1", 2);
  make_strings(&m, "a.str", 3, words);
  make_array(&m, "a.empty", TB_GGUF_U8, 0, "", 0);
  make_tensor(&m, "one", 1, (const uint64_t[]){32}, 0, 0);
  make_tensor(&m, "two.weight", 2, (const uint64_t[]){32, 2}, 2, 128);
  make_tensor(&m, "three", 2, (const uint64_t[]){4, 8}, 0, 192);
  make_data(&m, 32, 192 + 128);
  return m;
}
