/* Binding of tensors and the hyper-parameters that decoder-only architectures share. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "core/model.h"

/* --------------------------------------------------------------------------------------------- hyper-parameters */

enum { KEY_SIZE = 128 };

static void make_key(char key[KEY_SIZE], const struct tb_model *m, const char *suffix) {
  snprintf(key, KEY_SIZE, "%s.%s", m->arch_name, suffix);
}

enum tb_status tb_hparam_u32(const struct tb_model *m, const char *suffix, bool required, uint32_t *out,
                             struct tb_error *err) {
  char key[KEY_SIZE];
  make_key(key, m, suffix);
  return tb_gguf_get_u32(m->gguf, key, required, out, err);
}

enum tb_status tb_hparam_f32(const struct tb_model *m, const char *suffix, bool required, float *out,
                             struct tb_error *err) {
  char key[KEY_SIZE];
  make_key(key, m, suffix);
  return tb_gguf_get_f32(m->gguf, key, required, out, err);
}

enum tb_status tb_hparam_u32s(const struct tb_model *m, const char *suffix, bool required, uint32_t *out, size_t n,
                              struct tb_error *err) {
  char key[KEY_SIZE];
  make_key(key, m, suffix);
  return tb_gguf_get_u32s(m->gguf, key, required, out, n, err);
}

static enum tb_status in_range(const struct tb_model *m, const char *suffix, uint32_t value, uint32_t lo, uint32_t hi,
                               struct tb_error *err) {
  if (value >= lo && value <= hi) return TB_OK;
  return tb_fail(err, TB_E_FORMAT, "%s.%s: %u is not in %u..%u", m->arch_name, suffix, value, lo, hi);
}

/* A required integer within bounds. */
static enum tb_status bounded(const struct tb_model *m, const char *suffix, uint32_t lo, uint32_t hi, uint32_t *out,
                              struct tb_error *err) {
  enum tb_status status = tb_hparam_u32(m, suffix, true, out, err);
  return status ? status : in_range(m, suffix, *out, lo, hi, err);
}

static enum tb_status load_scaling(struct tb_model *m, struct tb_rope_params *r, struct tb_error *err) {
  char key[KEY_SIZE];
  struct tb_str type = {0};
  make_key(key, m, "rope.scaling.type");
  enum tb_status status = tb_gguf_get_str(m->gguf, key, false, &type, err);
  if (status) return status;
  float factor = 0;
  if ((status = tb_hparam_f32(m, "rope.scaling.factor", false, &factor, err))) return status;
  /* The key of old files. */
  if (factor == 0 && (status = tb_hparam_f32(m, "rope.scale_linear", false, &factor, err))) return status;
  if (factor == 0) factor = 1;
  if (!(factor >= 1e-3f && factor <= 1e6f))
    return tb_fail(err, TB_E_FORMAT, "%s.rope.scaling.factor: %g is not in 0.001..1000000", m->arch_name,
                   (double)factor);
  r->factor = factor;
  if (!type.ptr || tb_str_is(type, "linear"))
    r->scaling = factor == 1 ? TB_ROPE_NONE : TB_ROPE_LINEAR;
  else if (tb_str_is(type, "none"))
    r->scaling = TB_ROPE_NONE;
  else if (tb_str_is(type, "yarn"))
    r->scaling = TB_ROPE_YARN;
  else
    return tb_fail(err, TB_E_UNSUPPORTED, "%s.rope.scaling.type: '%.*s' is not supported (none, linear, yarn)",
                   m->arch_name, (int)(type.len < 40 ? type.len : 40), type.ptr);
  if (r->scaling != TB_ROPE_YARN) return TB_OK;
  r->n_ctx_orig = m->hp.n_ctx_train;
  r->beta_fast = 32;
  r->beta_slow = 1;
  r->attn_factor = 1;
  if ((status = tb_hparam_u32(m, "rope.scaling.original_context_length", false, &r->n_ctx_orig, err)) ||
      (status = tb_hparam_f32(m, "rope.scaling.yarn_beta_fast", false, &r->beta_fast, err)) ||
      (status = tb_hparam_f32(m, "rope.scaling.yarn_beta_slow", false, &r->beta_slow, err)) ||
      (status = tb_hparam_f32(m, "rope.scaling.attn_factor", false, &r->attn_factor, err)))
    return status;
  if (r->n_ctx_orig == 0 || !(r->beta_fast > 0) || !(r->beta_slow > 0) || !(fabsf(r->attn_factor) <= 1e3f))
    return tb_fail(err, TB_E_FORMAT, "%s.rope.scaling: yarn parameters are out of range", m->arch_name);
  return TB_OK;
}

static enum tb_status load_rope(struct tb_model *m, bool neox, uint32_t head_size, struct tb_error *err) {
  struct tb_rope_params *r = &m->hp.rope;
  *r = (struct tb_rope_params){.n_rot = head_size, .neox = neox, .base = 10000.0f, .factor = 1};
  enum tb_status status;
  if ((status = tb_hparam_u32(m, "rope.dimension_count", false, &r->n_rot, err)) ||
      (status = in_range(m, "rope.dimension_count", r->n_rot, 2, head_size, err)) ||
      (status = tb_hparam_f32(m, "rope.freq_base", false, &r->base, err)))
    return status;
  if (r->n_rot % 2) return tb_fail(err, TB_E_FORMAT, "%s.rope.dimension_count: %u is odd", m->arch_name, r->n_rot);
  if (!(r->base > 1.0f && r->base < 1e12f))
    return tb_fail(err, TB_E_FORMAT, "%s.rope.freq_base: %g is not in 1..1e12", m->arch_name, (double)r->base);
  if ((status = load_scaling(m, r, err))) return status;
  status = tb_bind_vector(m, &r->freq_factors, "rope_freqs.weight", 0, false, r->n_rot / 2, err);
  if (status || !r->freq_factors) return status;
  for (uint32_t i = 0; i < r->n_rot / 2; i++)
    if (!(r->freq_factors[i] > 0))
      return tb_fail(err, TB_E_FORMAT, "tensor 'rope_freqs.weight': value %u is not positive", i);
  return TB_OK;
}

/* Head counts and sizes, per layer. */
static enum tb_status load_heads(struct tb_model *m, struct tb_error *err) {
  const struct tb_hparams *hp = &m->hp;
  uint32_t heads[TB_MAX_LAYERS], kv[TB_MAX_LAYERS], ff[TB_MAX_LAYERS];
  enum tb_status status;
  if ((status = tb_hparam_u32s(m, "attention.head_count", true, heads, hp->n_layer, err))) return status;
  memcpy(kv, heads, sizeof kv);
  if ((status = tb_hparam_u32s(m, "attention.head_count_kv", false, kv, hp->n_layer, err)) ||
      (status = tb_hparam_u32s(m, "feed_forward_length", true, ff, hp->n_layer, err)))
    return status;
  for (uint32_t i = 0; i < hp->n_layer; i++) {
    struct tb_layer *l = &m->layers[i];
    if ((status = in_range(m, "attention.head_count", heads[i], 1, TB_MAX_HEADS, err)) ||
        (status = in_range(m, "attention.head_count_kv", kv[i], 1, heads[i], err)) ||
        (status = in_range(m, "feed_forward_length", ff[i], 1, TB_MAX_WIDTH, err)))
      return status;
    if (heads[i] % kv[i] != 0)
      return tb_fail(err, TB_E_FORMAT, "%s.attention.head_count: %u is not a multiple of head_count_kv %u (layer %u)",
                     m->arch_name, heads[i], kv[i], i);
    uint32_t d_k = hp->n_embd / heads[i], d_v;
    if ((status = tb_hparam_u32(m, "attention.key_length", false, &d_k, err))) return status;
    d_v = d_k;
    if ((status = tb_hparam_u32(m, "attention.value_length", false, &d_v, err)) ||
        (status = in_range(m, "attention.key_length", d_k, 2, TB_MAX_HEAD_SIZE, err)) ||
        (status = in_range(m, "attention.value_length", d_v, 2, TB_MAX_HEAD_SIZE, err)))
      return status;
    if (i > 0 && d_k != m->layers[0].d_k)
      return tb_fail(err, TB_E_UNSUPPORTED, "%s: layers with different head sizes are not supported", m->arch_name);
    l->n_head = heads[i];
    l->n_kv = kv[i];
    l->d_k = d_k;
    l->d_v = d_v;
    l->n_ff = ff[i];
  }
  return TB_OK;
}

/* Whether a down projection is stored as floats: then what it multiplies is kept as floats, too. */
static bool has_float_down(const struct tb_model *m) {
  for (uint32_t i = 0; i < m->hp.n_layer; i++) {
    char name[KEY_SIZE];
    snprintf(name, sizeof name, "blk.%u.ffn_down.weight", i);
    const struct tb_gguf_tensor *t = tb_gguf_tensor_find(m->gguf, name);
    if (t && tb_formats[t->format].block_values == 1) return true;
  }
  return false;
}

enum tb_status tb_load_hparams(struct tb_model *m, bool neox, struct tb_error *err) {
  struct tb_hparams *hp = &m->hp;
  enum tb_status status;
  hp->norm_eps = 1e-5f;
  if ((status = bounded(m, "block_count", 1, TB_MAX_LAYERS, &hp->n_layer, err)) ||
      (status = bounded(m, "embedding_length", 1, TB_MAX_WIDTH, &hp->n_embd, err)) ||
      (status = bounded(m, "context_length", 1, UINT32_MAX / 4, &hp->n_ctx_train, err)) ||
      (status = tb_hparam_f32(m, "attention.layer_norm_rms_epsilon", false, &hp->norm_eps, err)))
    return status;
  if (!(hp->norm_eps > 0 && hp->norm_eps < 1))
    return tb_fail(err, TB_E_FORMAT, "%s.attention.layer_norm_rms_epsilon: %g is not in 0..1", m->arch_name,
                   (double)hp->norm_eps);
  uint32_t experts = 0;
  if ((status = tb_hparam_u32(m, "expert_count", false, &experts, err))) return status;
  if (experts)
    return tb_fail(err, TB_E_UNSUPPORTED, "%s.expert_count: %u: mixture-of-experts models are not supported",
                   m->arch_name, experts);
  m->layers = tb_calloc(&m->alloc, hp->n_layer, sizeof *m->layers);
  if (!m->layers) return tb_fail(err, TB_E_NOMEM, "layers: out of memory");
  if ((status = load_heads(m, err)) || (status = load_rope(m, neox, m->layers[0].d_k, err))) return status;
  hp->wide_floats = has_float_down(m);
  hp->attn_scale = 1.0f / sqrtf((float)m->layers[0].d_k);
  if ((status = tb_hparam_f32(m, "attention.scale", false, &hp->attn_scale, err))) return status;
  if (!(fabsf(hp->attn_scale) <= 1e3f))
    return tb_fail(err, TB_E_FORMAT, "%s.attention.scale: %g is out of range", m->arch_name, (double)hp->attn_scale);
  return TB_OK;
}

/* ------------------------------------------------------------------------------------------------------ tensors */

enum tb_status tb_bind_weight(const struct tb_model *m, struct tb_weight *w, const char *format, uint32_t layer,
                              bool required, size_t k, size_t rows, struct tb_error *err) {
  char name[KEY_SIZE];
  snprintf(name, sizeof name, format, layer);
  const struct tb_gguf_tensor *t = tb_gguf_tensor_find(m->gguf, name);
  *w = (struct tb_weight){0};
  if (!t) return required ? tb_fail(err, TB_E_FORMAT, "tensor '%s' is missing", name) : TB_OK;
  if (t->ne[0] != k || t->ne[1] != rows || t->ne[2] != 1 || t->ne[3] != 1)
    return tb_fail(err, TB_E_FORMAT, "tensor '%s': shape %llu x %llu x %llu x %llu, expected %zu x %zu", name,
                   (unsigned long long)t->ne[0], (unsigned long long)t->ne[1], (unsigned long long)t->ne[2],
                   (unsigned long long)t->ne[3], k, rows);
  *w = (struct tb_weight){
      .format = t->format, .data = t->data, .k = k, .rows = rows, .row_bytes = tb_row_bytes(t->format, k)};
  return TB_OK;
}

enum tb_status tb_bind_vector(const struct tb_model *m, const float **v, const char *format, uint32_t layer,
                              bool required, size_t n, struct tb_error *err) {
  char name[KEY_SIZE];
  snprintf(name, sizeof name, format, layer);
  const struct tb_gguf_tensor *t = tb_gguf_tensor_find(m->gguf, name);
  *v = NULL;
  if (!t) return required ? tb_fail(err, TB_E_FORMAT, "tensor '%s' is missing", name) : TB_OK;
  if (t->format != TB_FMT_f32)
    return tb_fail(err, TB_E_UNSUPPORTED, "tensor '%s': type %s, a vector must be f32", name,
                   tb_formats[t->format].name);
  if (t->ne[0] != n || t->ne[1] != 1 || t->ne[2] != 1 || t->ne[3] != 1)
    return tb_fail(err, TB_E_FORMAT, "tensor '%s': %llu values, expected %zu", name, (unsigned long long)t->ne[0], n);
  if ((uintptr_t)t->data % sizeof(float) != 0)
    return tb_fail(err, TB_E_FORMAT, "tensor '%s': not aligned to its type", name);
  const float *values = (const float *)(const void *)t->data;
  for (size_t i = 0; i < n; i++)
    if (!isfinite(values[i])) return tb_fail(err, TB_E_FORMAT, "tensor '%s': value %zu is not finite", name, i);
  *v = values;
  return TB_OK;
}

static enum tb_status load_layer(struct tb_model *m, uint32_t i, unsigned required, unsigned optional,
                                 struct tb_error *err) {
  struct tb_layer *l = &m->layers[i];
  const size_t embd = m->hp.n_embd, q = (size_t)l->n_head * l->d_k, k = (size_t)l->n_kv * l->d_k,
               v = (size_t)l->n_kv * l->d_v;
  const size_t attn = (size_t)l->n_head * l->d_v;
  const bool bias = required & TB_LOAD_QKV_BIAS, norm = required & TB_LOAD_QK_NORM;
  enum tb_status s;
  if ((s = tb_bind_vector(m, &l->attn_norm, "blk.%u.attn_norm.weight", i, true, embd, err)) ||
      (s = tb_bind_weight(m, &l->wq, "blk.%u.attn_q.weight", i, true, embd, q, err)) ||
      (s = tb_bind_weight(m, &l->wk, "blk.%u.attn_k.weight", i, true, embd, k, err)) ||
      (s = tb_bind_weight(m, &l->wv, "blk.%u.attn_v.weight", i, true, embd, v, err)) ||
      (s = tb_bind_weight(m, &l->wo, "blk.%u.attn_output.weight", i, true, attn, embd, err)) ||
      (s = tb_bind_vector(m, &l->bo, "blk.%u.attn_output.bias", i, false, embd, err)) ||
      (s = tb_bind_vector(m, &l->ffn_norm, "blk.%u.ffn_norm.weight", i, true, embd, err)) ||
      (s = tb_bind_weight(m, &l->gate, "blk.%u.ffn_gate.weight", i, true, embd, l->n_ff, err)) ||
      (s = tb_bind_weight(m, &l->up, "blk.%u.ffn_up.weight", i, true, embd, l->n_ff, err)) ||
      (s = tb_bind_weight(m, &l->down, "blk.%u.ffn_down.weight", i, true, l->n_ff, embd, err)))
    return s;
  if (optional & TB_LOAD_QKV_BIAS)
    if ((s = tb_bind_vector(m, &l->bq, "blk.%u.attn_q.bias", i, bias, q, err)) ||
        (s = tb_bind_vector(m, &l->bk, "blk.%u.attn_k.bias", i, bias, k, err)) ||
        (s = tb_bind_vector(m, &l->bv, "blk.%u.attn_v.bias", i, bias, v, err)))
      return s;
  if (optional & TB_LOAD_QK_NORM)
    if ((s = tb_bind_vector(m, &l->q_norm, "blk.%u.attn_q_norm.weight", i, norm, l->d_k, err)) ||
        (s = tb_bind_vector(m, &l->k_norm, "blk.%u.attn_k_norm.weight", i, norm, l->d_k, err)))
      return s;
  return TB_OK;
}

enum tb_status tb_load_decoder(struct tb_model *m, unsigned required, unsigned optional, struct tb_error *err) {
  const struct tb_hparams *hp = &m->hp;
  enum tb_status s;
  if ((s = tb_bind_weight(m, &m->embedding, "token_embd.weight", 0, true, hp->n_embd, hp->n_vocab, err)) ||
      (s = tb_bind_weight(m, &m->output, "output.weight", 0, false, hp->n_embd, hp->n_vocab, err)) ||
      (s = tb_bind_vector(m, &m->output_norm, "output_norm.weight", 0, true, hp->n_embd, err)))
    return s;
  if (!m->output.data) m->output = m->embedding; /* tied */
  for (uint32_t i = 0; i < hp->n_layer; i++)
    if ((s = load_layer(m, i, required, optional, err))) return s;
  return TB_OK;
}
