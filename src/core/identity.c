/* What binds a saved file to a model. */
#include "base/checksum.h"
#include "core/model.h"

/* The model as its header tells it: every key with its value, every tensor's name, format and shape. */
uint64_t tb_model_identity(const struct tb_gguf *g) {
  struct tb_crc crc;
  tb_crc64_start(&crc);
  for (size_t i = 0; i < tb_gguf_kv_count(g); i++) {
    const struct tb_gguf_kv *kv = tb_gguf_kv_at(g, i);
    tb_crc_add(&crc, kv->key.ptr, kv->key.len);
    tb_crc_add(&crc, kv->data, kv->bytes);
  }
  for (size_t i = 0; i < tb_gguf_tensor_count(g); i++) {
    const struct tb_gguf_tensor *t = tb_gguf_tensor_at(g, i);
    const uint32_t format = t->format;
    tb_crc_add(&crc, t->name.ptr, t->name.len);
    tb_crc_add(&crc, &format, sizeof format);
    tb_crc_add(&crc, t->ne, sizeof t->ne);
  }
  const uint64_t bytes = tb_gguf_file_bytes(g);
  tb_crc_add(&crc, &bytes, sizeof bytes);
  return tb_crc_value(&crc);
}

enum tb_status tb_model_profile(struct tb_profile **out, const char *path, uint64_t model, const struct tb_allocator *a,
                                struct tb_error *err) {
  struct tb_profile *p;
  enum tb_status s = tb_profile_open(&p, path, a, err);
  if (s) return s;
  if (tb_profile_model(p) != model) {
    tb_profile_free(p);
    return tb_fail(err, TB_E_ARG, "%s: the profile belongs to another model", path);
  }
  *out = p;
  return TB_OK;
}

enum tb_status tb_file_identity(const char *path, const struct tb_allocator *allocator, uint64_t *identity,
                                struct tb_error *err) {
  struct tb_gguf *g;
  enum tb_status s = tb_gguf_open(&g, path, allocator ? allocator : &tb_system_allocator, err);
  if (s) return s;
  *identity = tb_model_identity(g);
  tb_gguf_free(g);
  return TB_OK;
}

enum tb_status tb_profile_read_info(const char *path, const struct tb_allocator *allocator, struct tb_profile_info *info,
                                    struct tb_error *err) {
  struct tb_profile *p;
  enum tb_status s = tb_profile_open(&p, path, allocator ? allocator : &tb_system_allocator, err);
  if (s) return s;
  double check[4] = {0};
  *info = (struct tb_profile_info){.model = tb_profile_model(p),
                                   .tokens = tb_profile_tokens(p),
                                   .losses = tb_profile_numbers(p, "thimble.profile.loss.check", 4, check)};
  for (int i = 0; i < 2; i++) {
    info->check[i].predicted = check[2 * i];
    info->check[i].measured = check[2 * i + 1];
  }
  tb_profile_free(p);
  return TB_OK;
}
