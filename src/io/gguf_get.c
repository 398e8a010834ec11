/* Lookup and typed getters: the only way in which the rest of the program sees metadata. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include "io/gguf_impl.h"

bool tb_str_is(struct tb_str s, const char *text) { return s.len == strlen(text) && memcmp(s.ptr, text, s.len) == 0; }

const char *tb_gguf_type_name(enum tb_gguf_type type) {
  static const char *const names[] = {"u8",   "i8",   "u16",    "i16",   "u32", "i32", "f32",
                                      "bool", "string", "array", "u64", "i64", "f64"};
  return (size_t)type < sizeof names / sizeof names[0] ? names[type] : "unknown";
}

uint32_t tb_gguf_version(const struct tb_gguf *g) { return g->parts[0].header.version; }

uint64_t tb_gguf_file_bytes(const struct tb_gguf *g) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < g->n_parts; i++) sum += g->parts[i].size;
  return sum;
}

unsigned tb_gguf_parts(const struct tb_gguf *g) { return g->n_parts; }

size_t tb_gguf_kv_count(const struct tb_gguf *g) { return g->kvs.n; }

const struct tb_gguf_kv *tb_gguf_kv_at(const struct tb_gguf *g, size_t i) {
  return i < g->kvs.n ? &g->kvs.at[i] : NULL;
}

const struct tb_gguf_kv *tb_gguf_kvs_find(const struct tb_gguf_kvs *kvs, const char *key) {
  return tb_gguf_index_find(&kvs->index, kvs->at, sizeof *kvs->at, key, strlen(key));
}

const struct tb_gguf_kv *tb_gguf_kv_find(const struct tb_gguf *g, const char *key) {
  return tb_gguf_kvs_find(&g->kvs, key);
}

size_t tb_gguf_tensor_count(const struct tb_gguf *g) { return g->n_tensors; }

const struct tb_gguf_tensor *tb_gguf_tensor_at(const struct tb_gguf *g, size_t i) {
  return i < g->n_tensors ? &g->tensors[i] : NULL;
}

const struct tb_gguf_tensor *tb_gguf_tensor_find(const struct tb_gguf *g, const char *name) {
  return tb_gguf_index_find(&g->tensor_index, g->tensors, sizeof *g->tensors, name, strlen(name));
}

/* --------------------------------------------------------------------------------------------------- element access */

struct tb_str tb_gguf_next_str(const unsigned char **cursor) {
  uint64_t len;
  memcpy(&len, *cursor, sizeof len);
  struct tb_str s = {(const char *)*cursor + sizeof len, (size_t)len};
  *cursor += sizeof len + len;
  return s;
}

static bool is_int(enum tb_gguf_type t) {
  return t <= TB_GGUF_I32 || t == TB_GGUF_U64 || t == TB_GGUF_I64;
}


int64_t tb_gguf_array_int(const struct tb_gguf_kv *kv, uint64_t i) {
  const unsigned char *p = kv->data;
  union {
    uint16_t u16;
    int16_t i16;
    uint32_t u32;
    int32_t i32;
    int64_t i64;
  } v;
  switch (kv->elem) {
  case TB_GGUF_U8:
  case TB_GGUF_BOOL: return p[i];
  case TB_GGUF_I8: return (int8_t)p[i];
  case TB_GGUF_U16: return memcpy(&v, p + 2 * i, 2), v.u16;
  case TB_GGUF_I16: return memcpy(&v, p + 2 * i, 2), v.i16;
  case TB_GGUF_U32: return memcpy(&v, p + 4 * i, 4), v.u32;
  case TB_GGUF_I32: return memcpy(&v, p + 4 * i, 4), v.i32;
  case TB_GGUF_U64:
  case TB_GGUF_I64: return memcpy(&v, p + 8 * i, 8), v.i64;
  default: return 0;
  }
}

double tb_gguf_array_float(const struct tb_gguf_kv *kv, uint64_t i) {
  float f;
  double d;
  if (kv->elem == TB_GGUF_F32) return memcpy(&f, kv->data + 4 * i, 4), (double)f;
  if (kv->elem == TB_GGUF_F64) return memcpy(&d, kv->data + 8 * i, 8), d;
  int64_t v = tb_gguf_array_int(kv, i);
  return kv->elem == TB_GGUF_U64 ? (double)(uint64_t)v : (double)v;
}

/* ---------------------------------------------------------------------------------------------------- typed getters */

/* *kv: the key, or NULL when it may be absent and is. */
static enum tb_status find(const struct tb_gguf_kvs *kvs, const char *key, bool required, const struct tb_gguf_kv **kv,
                           struct tb_error *err) {
  *kv = tb_gguf_kvs_find(kvs, key);
  if (*kv || !required) return TB_OK;
  return tb_fail(err, TB_E_FORMAT, "key '%s' is missing", key);
}

static enum tb_status wrong_type(const char *key, const char *expected, const struct tb_gguf_kv *kv,
                                 struct tb_error *err) {
  if (kv->type == TB_GGUF_ARRAY)
    return tb_fail(err, TB_E_FORMAT, "key '%s': expected %s, found an array of %s", key, expected,
                   tb_gguf_type_name(kv->elem));
  return tb_fail(err, TB_E_FORMAT, "key '%s': expected %s, found %s", key, expected, tb_gguf_type_name(kv->type));
}

static enum tb_status u32_at(const struct tb_gguf_kv *kv, uint64_t i, const char *key, uint32_t *out,
                             struct tb_error *err) {
  int64_t v = tb_gguf_array_int(kv, i);
  if (kv->elem == TB_GGUF_U64 && v < 0)
    return tb_fail(err, TB_E_FORMAT, "key '%s': %" PRIu64 " is out of range", key, (uint64_t)v);
  if (v < 0 || v > UINT32_MAX) return tb_fail(err, TB_E_FORMAT, "key '%s': %" PRId64 " is out of range", key, v);
  *out = (uint32_t)v;
  return TB_OK;
}

enum tb_status tb_gguf_kvs_u32(const struct tb_gguf_kvs *kvs, const char *key, bool required, uint32_t *out,
                               struct tb_error *err) {
  const struct tb_gguf_kv *kv;
  enum tb_status s = find(kvs, key, required, &kv, err);
  if (s || !kv) return s;
  if (!is_int(kv->type)) return wrong_type(key, "an integer", kv, err);
  return u32_at(kv, 0, key, out, err);
}

enum tb_status tb_gguf_get_u32(const struct tb_gguf *g, const char *key, bool required, uint32_t *out,
                               struct tb_error *err) {
  return tb_gguf_kvs_u32(&g->kvs, key, required, out, err);
}

enum tb_status tb_gguf_get_f32(const struct tb_gguf *g, const char *key, bool required, float *out,
                               struct tb_error *err) {
  const struct tb_gguf_kv *kv;
  enum tb_status s = find(&g->kvs, key, required, &kv, err);
  if (s || !kv) return s;
  if (kv->type != TB_GGUF_F32 && kv->type != TB_GGUF_F64 && !is_int(kv->type))
    return wrong_type(key, "a number", kv, err);
  float v = (float)tb_gguf_array_float(kv, 0);
  if (!isfinite(v)) return tb_fail(err, TB_E_FORMAT, "key '%s': not a finite 32-bit number", key);
  *out = v;
  return TB_OK;
}

enum tb_status tb_gguf_get_bool(const struct tb_gguf *g, const char *key, bool required, bool *out,
                                struct tb_error *err) {
  const struct tb_gguf_kv *kv;
  enum tb_status s = find(&g->kvs, key, required, &kv, err);
  if (s || !kv) return s;
  if (kv->type != TB_GGUF_BOOL) return wrong_type(key, "bool", kv, err);
  *out = kv->data[0] != 0;
  return TB_OK;
}

enum tb_status tb_gguf_get_str(const struct tb_gguf *g, const char *key, bool required, struct tb_str *out,
                               struct tb_error *err) {
  const struct tb_gguf_kv *kv;
  enum tb_status s = find(&g->kvs, key, required, &kv, err);
  if (s || !kv) return s;
  if (kv->type != TB_GGUF_STRING) return wrong_type(key, "string", kv, err);
  const unsigned char *cursor = kv->data;
  *out = tb_gguf_next_str(&cursor);
  return TB_OK;
}

enum tb_status tb_gguf_get_u32s(const struct tb_gguf *g, const char *key, bool required, uint32_t *out, size_t n,
                                struct tb_error *err) {
  const struct tb_gguf_kv *kv;
  enum tb_status s = find(&g->kvs, key, required, &kv, err);
  if (s || !kv) return s;
  if (!is_int(kv->elem)) return wrong_type(key, "an integer or an array of integers", kv, err);
  bool array = kv->type == TB_GGUF_ARRAY;
  if (array && kv->count < n)
    return tb_fail(err, TB_E_FORMAT, "key '%s': an array of %" PRIu64 " values, %zu are needed", key, kv->count, n);
  /* *out stays as it is on failure: look at all values before the first is stored */
  uint32_t v;
  for (size_t i = 0; i < (array ? n : 1); i++)
    if ((s = u32_at(kv, i, key, &v, err))) return s;
  for (size_t i = 0; i < n; i++) (void)u32_at(kv, array ? i : 0, key, &out[i], NULL);
  return TB_OK;
}
