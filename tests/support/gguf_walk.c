#include "tests/support/gguf_walk.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint64_t sum(const void *p, size_t n) {
  const unsigned char *b = p;
  uint64_t s = 0;
  for (size_t i = 0; i < n; i++) s += b[i];
  return s;
}

static uint64_t walk_values(const struct tb_gguf_kv *kv) {
  const unsigned char *cursor = kv->data;
  uint64_t s = 0;
  for (uint64_t i = 0; i < kv->count; i++) {
    if (kv->elem == TB_GGUF_STRING) {
      struct tb_str text = tb_gguf_next_str(&cursor);
      s += sum(text.ptr, text.len);
      assert_true(cursor <= kv->data + kv->bytes);
    } else {
      s += (uint64_t)tb_gguf_array_int(kv, i);
      s += tb_gguf_array_float(kv, i) > 0;
    }
  }
  return s;
}

/* The typed getters may refuse, but not touch anything outside. */
static uint64_t try_getters(const struct tb_gguf *g, const char *key) {
  uint32_t u = 0, many[4] = {0};
  float f = 0;
  bool b = false;
  struct tb_str str = {0};
  uint64_t s = 0;
  s += tb_gguf_get_u32(g, key, true, &u, NULL);
  s += tb_gguf_get_f32(g, key, true, &f, NULL);
  s += tb_gguf_get_bool(g, key, true, &b, NULL);
  s += tb_gguf_get_u32s(g, key, true, many, 4, NULL);
  if (tb_gguf_get_str(g, key, true, &str, NULL) == TB_OK) s += sum(str.ptr, str.len);
  return s + u + many[3] + b;
}

uint64_t gguf_walk(const struct tb_gguf *g) {
  uint64_t s = tb_gguf_version(g) + tb_gguf_file_bytes(g) + tb_gguf_parts(g);
  for (size_t i = 0; i < tb_gguf_kv_count(g); i++) {
    const struct tb_gguf_kv *kv = tb_gguf_kv_at(g, i);
    s += sum(kv->key.ptr, kv->key.len) + sum(kv->data, (size_t)kv->bytes) + walk_values(kv);
    char key[128];
    if (kv->key.len >= sizeof key || memchr(kv->key.ptr, 0, kv->key.len)) continue;
    memcpy(key, kv->key.ptr, kv->key.len);
    key[kv->key.len] = '\0';
    assert_ptr_equal(tb_gguf_kv_find(g, key), kv);
    s += try_getters(g, key);
  }
  for (size_t i = 0; i < tb_gguf_tensor_count(g); i++) {
    const struct tb_gguf_tensor *t = tb_gguf_tensor_at(g, i);
    s += sum(t->name.ptr, t->name.len) + sum(t->data, (size_t)t->bytes);
  }
  assert_null(tb_gguf_kv_at(g, tb_gguf_kv_count(g)));
  assert_null(tb_gguf_tensor_at(g, tb_gguf_tensor_count(g)));
  return s;
}
