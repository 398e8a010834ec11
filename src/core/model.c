#include "core/context.h"

#include <string.h>
#include "io/mapfile.h"
#include "io/synth.h"
#include "models/arch.h"
#include "simd/isa.h"

static enum tb_status choose_kernels(struct tb_model *m, const char *isa, struct tb_error *err) {
  const char *reason;
  if (!tb_isa_select(isa, &m->isa_mask, &reason)) return tb_fail(err, TB_E_ARG, "ISA tier '%s': %s", isa, reason);
  tb_kernels_init(&m->kernels, m->isa_mask);
  return TB_OK;
}

static enum tb_status copy_str(const struct tb_model *m, const char *key, char **out, struct tb_error *err) {
  struct tb_str s = {0};
  enum tb_status status = tb_gguf_get_str(m->gguf, key, false, &s, err);
  if (status || !s.ptr) return status;
  *out = tb_strndup(&m->alloc, s.ptr, s.len);
  return *out ? TB_OK : tb_fail(err, TB_E_NOMEM, "%s: out of memory", key);
}

static enum tb_status find_arch(struct tb_model *m, struct tb_error *err) {
  struct tb_str arch;
  enum tb_status status = tb_gguf_get_str(m->gguf, "general.architecture", true, &arch, err);
  if (status) return status;
  if (arch.len < sizeof m->arch_name) memcpy(m->arch_name, arch.ptr, arch.len); /* zeroed before */
  m->arch = arch.len < sizeof m->arch_name ? tb_arch_find(m->arch_name) : NULL;
  if (m->arch) return TB_OK;
  return tb_fail(err, TB_E_UNSUPPORTED, "general.architecture: '%.*s' is not supported (%s)",
                 (int)(arch.len < 60 ? arch.len : 60), arch.ptr, tb_arch_list());
}

static enum tb_status load(struct tb_model *m, struct tb_error *err) {
  enum tb_status status;
  if ((status = find_arch(m, err)) || (status = copy_str(m, "general.name", &m->name, err)) ||
      (status = copy_str(m, "tokenizer.chat_template", &m->chat_template, err)) ||
      (status = tb_tokenizer_create(&m->tokenizer, m->gguf, &m->alloc, err)))
    return status;
  m->hp.n_vocab = tb_tokenizer_size(m->tokenizer);
  if ((status = m->arch->load(m, err))) return status;
  m->identity = tb_session_identity(m);
  return TB_OK;
}

/* A model without its file yet. */
static enum tb_status create(struct tb_model **out, const char *path, const struct tb_model_options *options,
                             struct tb_error *err) {
  const struct tb_allocator *a = options && options->allocator ? options->allocator : &tb_system_allocator;
  struct tb_model *m = tb_calloc(a, 1, sizeof *m);
  if (!m) return tb_fail(err, TB_E_NOMEM, "model: out of memory");
  m->alloc = *a;
  m->path = tb_strndup(a, path, strlen(path));
  enum tb_status status = m->path ? choose_kernels(m, options ? options->isa : NULL, err)
                                  : tb_fail(err, TB_E_NOMEM, "model: out of memory");
  if (status) {
    tb_model_free(m);
    return status;
  }
  *out = m;
  return TB_OK;
}

enum tb_status tb_model_open(struct tb_model **out, const char *path, const struct tb_model_options *options,
                             struct tb_error *err) {
  struct tb_model *m = NULL;
  enum tb_status status = create(&m, path, options, err);
  if (status) return status;
  status = tb_gguf_open(&m->gguf, path, &m->alloc, err); /* names the file in its errors */
  if (status) goto fail;
  status = load(m, err);
  if (status) {
    tb_fail_prefix(err, status, path);
    goto fail;
  }
  m->shared_storage = tb_mapfile_on_shared_storage(path);
  *out = m;
  return TB_OK;
fail:
  tb_model_free(m);
  return status;
}

enum tb_status tb_model_open_synthetic(struct tb_model **out, const struct tb_synth_options *synth,
                                       const struct tb_model_options *options, struct tb_error *err) {
  struct tb_model *m = NULL;
  size_t size;
  enum tb_status status = create(&m, "random weights", options, err);
  if (status) return status;
  if ((status = tb_synth_image(&m->image, &size, synth, &m->alloc, err)) ||
      (status = tb_gguf_open_memory(&m->gguf, m->image, size, &m->alloc, err)) || (status = load(m, err))) {
    tb_model_free(m);
    return status;
  }
  *out = m;
  return TB_OK;
}

void tb_model_free(struct tb_model *m) {
  if (!m) return;
  const struct tb_allocator a = m->alloc;
  tb_free(&a, m->layers);
  tb_free(&a, m->chat_template);
  tb_free(&a, m->name);
  tb_free(&a, m->path);
  tb_tokenizer_free(m->tokenizer);
  tb_gguf_free(m->gguf);
  tb_free(&a, m->image);
  tb_free(&a, m);
}

enum tb_status tb_model_check(const struct tb_model *m, struct tb_error *err) {
  enum tb_status status = tb_gguf_check(m->gguf, err);
  return status ? tb_fail_prefix(err, status, m->path) : TB_OK;
}

bool tb_model_get_mapping(const struct tb_model *m, size_t i, struct tb_model_mapping *out) {
  const struct tb_mapfile *f = i < tb_gguf_parts(m->gguf) ? tb_gguf_mapping(m->gguf, (unsigned)i) : NULL;
  if (f) *out = (struct tb_model_mapping){.data = f->data, .size = f->size};
  return f != NULL;
}

static uint64_t count_params(const struct tb_gguf *g) {
  uint64_t n = 0;
  for (size_t i = 0; i < tb_gguf_tensor_count(g); i++) {
    const struct tb_gguf_tensor *t = tb_gguf_tensor_at(g, i);
    n += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
  }
  return n;
}

/* Every matrix is read once per token; of the embedding one row, unless it is the output matrix too. */
static uint64_t bytes_per_token(const struct tb_model *m) {
  uint64_t n = m->output.rows * m->output.row_bytes + m->embedding.row_bytes;
  for (uint32_t i = 0; i < m->hp.n_layer; i++) {
    const struct tb_layer *l = &m->layers[i];
    const struct tb_weight *all[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->gate, &l->up, &l->down};
    for (size_t j = 0; j < sizeof all / sizeof all[0]; j++)
      n += all[j]->rows * all[j]->row_bytes;
  }
  return n;
}

static uint64_t macs_per_token(const struct tb_model *m) {
  uint64_t n = 0;
  for (uint32_t i = 0; i < m->hp.n_layer; i++) {
    const struct tb_layer *l = &m->layers[i];
    const struct tb_weight *all[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->gate, &l->up, &l->down};
    for (size_t j = 0; j < sizeof all / sizeof all[0]; j++)
      n += (uint64_t)all[j]->rows * all[j]->k;
  }
  return n;
}

void tb_model_get_info(const struct tb_model *m, struct tb_model_info *info) {
  *info = (struct tb_model_info){
      .architecture = m->arch_name,
      .name = m->name ? m->name : "",
      .chat_template = m->chat_template,
      .isa = tb_isa_name(m->isa_mask),
      .n_vocab = m->hp.n_vocab,
      .n_ctx_train = m->hp.n_ctx_train,
      .n_embd = m->hp.n_embd,
      .n_layer = m->hp.n_layer,
      .n_head = m->layers[0].n_head,
      .n_head_kv = m->layers[0].n_kv,
      .n_params = count_params(m->gguf),
      .file_bytes = tb_gguf_file_bytes(m->gguf),
      .bytes_per_token = bytes_per_token(m),
      .n_batch = tb_context_default_batch(m, tb_gguf_file_bytes(m->gguf)),
      .macs_per_token = macs_per_token(m),
      .shared_storage = m->shared_storage,
  };
}

const char *const *tb_isa_names(void) {
  return tb_isa_list();
}

/* --------------------------------------------------------------------------------------------------------- text */

enum tb_status tb_tokenize(const struct tb_model *m, const char *text, size_t length, unsigned flags, tb_token *ids,
                           size_t cap, size_t *n, struct tb_error *err) {
  struct tb_tokens list = {0};
  enum tb_status status = tb_tokenizer_encode(m->tokenizer, text, length, flags, &list, err);
  if (status == TB_OK) {
    *n = list.n;
    size_t copied = list.n < cap ? list.n : cap;
    if (copied) memcpy(ids, list.data, copied * sizeof *ids);
  }
  tb_free(&m->alloc, list.data);
  return status;
}

size_t tb_token_text(const struct tb_model *m, tb_token token, bool special, char *buf, size_t cap) {
  return tb_tokenizer_piece(m->tokenizer, token, special, buf, cap);
}

bool tb_token_ends(const struct tb_model *m, tb_token token) {
  return tb_tokenizer_ends(m->tokenizer, token);
}
