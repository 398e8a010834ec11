#include "cache/profile.h"

#include <math.h>
#include <stdio.h>
#include "base/checksum.h"

struct tb_profile {
  const struct tb_allocator *alloc;
  struct tb_gguf *gguf; /* owned */
  uint64_t model, tokens, identity;
};

static enum tb_status get_u64(const struct tb_gguf *g, const char *key, uint64_t *out, struct tb_error *err) {
  const struct tb_gguf_kv *kv = tb_gguf_kv_find(g, key);
  if (!kv || kv->type != TB_GGUF_U64)
    return tb_fail(err, TB_E_FORMAT, "profile: key '%s' is %s", key, kv ? "not a u64" : "missing");
  *out = 0;
  for (int i = 7; i >= 0; i--)
    *out = *out << 8 | kv->data[i];
  return TB_OK;
}

static enum tb_status check_values(const struct tb_gguf_tensor *t, struct tb_error *err) {
  const float *x = (const float *)(const void *)t->data;
  float sum = 0; /* x - x is 0 for finite x and NaN otherwise */
  if (t->format != TB_FMT_f32)
    return tb_fail(err, TB_E_FORMAT, "profile: tensor '%.*s' is not F32", (int)t->name.len, t->name.ptr);
  for (size_t i = 0; i < t->bytes / sizeof *x; i++)
    sum += x[i] - x[i];
  if (sum != 0)
    return tb_fail(err, TB_E_FORMAT, "profile: tensor '%.*s' holds a value that is not finite", (int)t->name.len,
                   t->name.ptr);
  return TB_OK;
}

static enum tb_status read_profile(struct tb_profile *p, struct tb_error *err) {
  const struct tb_gguf *g = p->gguf;
  uint32_t version = 0;
  enum tb_status s = tb_gguf_get_u32(g, "thimble.profile.version", true, &version, err);
  if (!s && version != 1) s = tb_fail(err, TB_E_UNSUPPORTED, "profile: version %u, only 1 is known", version);
  if (!s) s = get_u64(g, "thimble.profile.model", &p->model, err);
  if (!s) s = get_u64(g, "thimble.profile.tokens", &p->tokens, err);
  struct tb_crc crc;
  tb_crc64_start(&crc);
  for (size_t i = 0; !s && i < tb_gguf_tensor_count(g); i++) {
    const struct tb_gguf_tensor *t = tb_gguf_tensor_at(g, i);
    s = check_values(t, err);
    tb_crc_add(&crc, t->name.ptr, t->name.len);
    tb_crc_add(&crc, t->data, t->bytes);
  }
  p->identity = tb_crc_value(&crc);
  return s;
}

enum tb_status tb_profile_from_gguf(struct tb_profile **out, struct tb_gguf *g, const struct tb_allocator *a,
                                    struct tb_error *err) {
  struct tb_profile *p = tb_calloc(a, 1, sizeof *p);
  if (!p) {
    tb_gguf_free(g);
    return tb_fail(err, TB_E_NOMEM, "profile: out of memory");
  }
  p->alloc = a;
  p->gguf = g;
  enum tb_status s = read_profile(p, err);
  if (!s) s = tb_gguf_keep_names(g, err); /* types ask for tensors whenever a cache is saved */
  if (s)
    tb_profile_free(p);
  else
    *out = p;
  return s;
}

enum tb_status tb_profile_open(struct tb_profile **out, const char *path, const struct tb_allocator *a,
                               struct tb_error *err) {
  struct tb_gguf *g;
  enum tb_status s = tb_gguf_open(&g, path, a, err);
  if (s) return s;
  s = tb_profile_from_gguf(out, g, a, err);
  return s ? tb_fail_prefix(err, s, path) : TB_OK;
}

void tb_profile_free(struct tb_profile *p) {
  if (!p) return;
  tb_gguf_free(p->gguf);
  tb_free(p->alloc, p);
}

uint64_t tb_profile_model(const struct tb_profile *p) {
  return p->model;
}

uint64_t tb_profile_tokens(const struct tb_profile *p) {
  return p->tokens;
}

uint64_t tb_profile_identity(const struct tb_profile *p) {
  return p->identity;
}

bool tb_profile_numbers(const struct tb_profile *p, const char *key, size_t n, double *out) {
  const struct tb_gguf_kv *kv = tb_gguf_kv_find(p->gguf, key);
  if (!kv || kv->type != TB_GGUF_ARRAY || kv->elem != TB_GGUF_F32 || kv->count != n) return false;
  for (size_t i = 0; i < n; i++)
    out[i] = tb_gguf_array_float(kv, i);
  return true;
}

enum tb_status tb_profile_get(const struct tb_profile *p, uint32_t layer, const char *name, size_t n, const float **out,
                              struct tb_error *err) {
  char full[64];
  *out = NULL;
  if (!p) return TB_OK;
  snprintf(full, sizeof full, "blk.%u.%s", layer, name);
  const struct tb_gguf_tensor *t = tb_gguf_tensor_find(p->gguf, full);
  if (!t) return TB_OK;
  if (t->bytes != n * sizeof(float))
    return tb_fail(err, TB_E_FORMAT, "profile: tensor '%s' has %zu values, the model's layer needs %zu", full,
                   (size_t)(t->bytes / sizeof(float)), n);
  *out = (const float *)(const void *)t->data;
  return TB_OK;
}
