/* tb_synth: a model file with the dimensions, metadata and formats of a real one and random weights. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "io/synth_impl.h"

enum content { MATRIX, NORM, BIAS, ROPE_FREQS };

struct tensor {
  char name[48];
  enum content content;
  enum tb_format format;
  uint32_t n_dims;
  uint64_t ne[2];
  float sigma; /* of a MATRIX */
};

/* The tensors of a model in file order; about 14 per layer. */
struct plan {
  const struct tb_synth_shape *shape;
  const struct tb_synth_type *type;
  struct tensor *at;
  size_t n;
};

enum { MAX_PER_LAYER = 14, MAX_GLOBAL = 4, ALIGNMENT = 32, PIECE = 256 << 10 };

/* ----------------------------------------------------------------------------------------------------------- tensors
 */

static struct tensor *next(struct plan *p, int layer, const char *name) {
  struct tensor *t = &p->at[p->n++];
  if (layer < 0)
    snprintf(t->name, sizeof t->name, "%s", name);
  else
    snprintf(t->name, sizeof t->name, "blk.%d.%s", layer, name);
  return t;
}

static void vector(struct plan *p, int layer, const char *name, enum content content, uint64_t n) {
  struct tensor *t = next(p, layer, name);
  t->content = content;
  t->format = TB_FMT_f32;
  t->n_dims = 1;
  t->ne[0] = n;
  t->ne[1] = 1;
}

/* rows × row values. Inputs have unit variance (they are normalised), so `gain`/sqrt(row) makes outputs of deviation
 * `gain`: activations stay finite and attention is neither flat nor a single spike, however many layers. */
static void matrix(struct plan *p, int layer, const char *name, enum tb_synth_role role, uint64_t row, uint64_t rows,
                   float gain) {
  struct tensor *t = next(p, layer, name);
  t->content = MATRIX;
  t->format = tb_synth_format(p->type, p->shape, role, layer < 0 ? 0 : (uint32_t)layer, row);
  t->n_dims = 2;
  t->ne[0] = row;
  t->ne[1] = rows;
  t->sigma = gain / sqrtf((float)row);
}

static void attention(struct plan *p, int i) {
  const struct tb_synth_shape *s = p->shape;
  uint64_t q = (uint64_t)s->n_head * s->head_dim, k = (uint64_t)s->n_head_kv * s->head_dim;
  uint64_t v = (uint64_t)s->n_head_kv * s->head_dim_v, o = (uint64_t)s->n_head * s->head_dim_v;
  vector(p, i, "attn_norm.weight", NORM, s->n_embd);
  matrix(p, i, "attn_q.weight", TB_ROLE_Q, s->n_embd, q, 1.5f);
  matrix(p, i, "attn_k.weight", TB_ROLE_K, s->n_embd, k, 1.5f);
  matrix(p, i, "attn_v.weight", TB_ROLE_V, s->n_embd, v, 1.0f);
  matrix(p, i, "attn_output.weight", TB_ROLE_O, o, s->n_embd, 1.0f);
  if (s->bias) {
    vector(p, i, "attn_q.bias", BIAS, q);
    vector(p, i, "attn_k.bias", BIAS, k);
    vector(p, i, "attn_v.bias", BIAS, v);
  }
  if (s->qk_norm) {
    vector(p, i, "attn_q_norm.weight", NORM, s->head_dim);
    vector(p, i, "attn_k_norm.weight", NORM, s->head_dim);
  }
}

static void ffn(struct plan *p, int i) {
  const struct tb_synth_shape *s = p->shape;
  vector(p, i, "ffn_norm.weight", NORM, s->n_embd);
  matrix(p, i, "ffn_gate.weight", TB_ROLE_GATE, s->n_embd, s->n_ff, 1.0f);
  matrix(p, i, "ffn_up.weight", TB_ROLE_UP, s->n_embd, s->n_ff, 1.0f);
  matrix(p, i, "ffn_down.weight", TB_ROLE_DOWN, s->n_ff, s->n_embd, 1.0f);
}

static void list(struct plan *p) {
  const struct tb_synth_shape *s = p->shape;
  /* Logits of deviation 3: a few tokens share most of the probability, as in a trained model. */
  matrix(p, -1, "token_embd.weight", TB_ROLE_EMBEDDING, s->n_embd, s->n_vocab, 3.0f);
  vector(p, -1, "output_norm.weight", NORM, s->n_embd);
  if (!s->tied) matrix(p, -1, "output.weight", TB_ROLE_OUTPUT, s->n_embd, s->n_vocab, 3.0f);
  if (s->rope_freqs) vector(p, -1, "rope_freqs.weight", ROPE_FREQS, s->rope_dim / 2);
  for (int i = 0; i < (int)s->n_layer; i++) {
    attention(p, i);
    ffn(p, i);
  }
}

/* ---------------------------------------------------------------------------------------------------------- metadata
 */

struct writer {
  struct tb_gguf_writer *w;
  const char *architecture;
};

static const char *arch_key(char buf[96], const struct writer *w, const char *key) {
  snprintf(buf, 96, "%s.%s", w->architecture, key);
  return buf;
}

static void add_u32(const struct writer *w, const char *key, uint32_t v) {
  char buf[96];
  tb_gguf_add_u32(w->w, arch_key(buf, w, key), v);
}

static void add_f32(const struct writer *w, const char *key, float v) {
  char buf[96];
  tb_gguf_add_f32(w->w, arch_key(buf, w, key), v);
}

static void add_rope(const struct writer *w, const struct tb_synth_shape *s) {
  char buf[96];
  add_u32(w, "rope.dimension_count", s->rope_dim);
  add_f32(w, "rope.freq_base", s->rope_base);
  if (!s->rope_scaling[0]) return;
  tb_gguf_add_str(w->w, arch_key(buf, w, "rope.scaling.type"), s->rope_scaling);
  add_f32(w, "rope.scaling.factor", s->rope_factor);
  add_u32(w, "rope.scaling.original_context_length", s->rope_orig_ctx);
}

static void add_metadata(struct tb_gguf_writer *gw, const struct tb_synth_shape *s, uint32_t file_type) {
  struct writer w = {gw, s->architecture};
  tb_gguf_add_str(gw, "general.architecture", s->architecture);
  tb_gguf_add_str(gw, "general.type", "model");
  tb_gguf_add_str(gw, "general.name", s->name);
  tb_gguf_add_str(gw, "general.description", "random weights");
  tb_gguf_add_u32(gw, "general.file_type", file_type);
  tb_gguf_add_u32(gw, "general.quantization_version", 2);
  add_u32(&w, "block_count", s->n_layer);
  add_u32(&w, "context_length", s->n_ctx);
  add_u32(&w, "embedding_length", s->n_embd);
  add_u32(&w, "feed_forward_length", s->n_ff);
  add_u32(&w, "attention.head_count", s->n_head);
  add_u32(&w, "attention.head_count_kv", s->n_head_kv);
  add_u32(&w, "attention.key_length", s->head_dim);
  add_u32(&w, "attention.value_length", s->head_dim_v);
  add_f32(&w, "attention.layer_norm_rms_epsilon", s->rms_eps);
  add_u32(&w, "vocab_size", s->n_vocab);
  add_rope(&w, s);
  tb_synth_add_vocab(gw, s);
}

/* -------------------------------------------------------------------------------------------------------------- data
 */

/* Divisors of the rotation frequencies as Llama 3.1 and later define them (rope_type "llama3" with low and high
 * frequency factors 1 and 4): wavelengths shorter than a quarter of the original context keep their frequency, those
 * longer than it are slowed by `factor`, in between it is blended. */
static float rope_divisor(const struct tb_synth_shape *s, uint64_t i) {
  float wavelength = 6.28318531f * powf(s->rope_base, 2.0f * (float)i / (float)s->rope_dim);
  float turns = (float)s->rope_orig_ctx / wavelength;
  if (turns >= 4) return 1;
  if (turns <= 1) return s->rope_factor;
  float keep = (turns - 1) / 3;
  return 1 / ((1 - keep) / s->rope_factor + keep);
}

static float vector_value(const struct tb_synth_shape *s, const struct tensor *t, uint64_t i, struct tb_rng *rng) {
  float noise = 0.2f * (tb_rng_unit(rng) - 0.5f);
  if (t->content == ROPE_FREQS) return rope_divisor(s, i);
  return t->content == NORM ? 1 + noise : noise;
}

/* The next `bytes` of a tensor's data, from value `first` on (which only vectors look at). */
static void fill(const struct tb_synth_shape *s, const struct tensor *t, uint64_t first, struct tb_rng *rng,
                 unsigned char *buffer, size_t bytes) {
  if (t->content == MATRIX) {
    tb_synth_fill(t->format, t->sigma, rng, buffer, bytes);
    return;
  }
  for (size_t i = 0; i < bytes / sizeof(float); i++) {
    float v = vector_value(s, t, first + i, rng);
    memcpy(buffer + i * sizeof v, &v, sizeof v);
  }
}

static enum tb_status write_tensor(struct tb_gguf_writer *w, const struct tb_synth_shape *shape, const struct tensor *t,
                                   struct tb_rng *rng, unsigned char *buffer, size_t size, struct tb_error *err) {
  const struct tb_format_info *f = &tb_formats[t->format];
  size_t left = tb_row_bytes(t->format, (size_t)t->ne[0]) * (size_t)t->ne[1],
         whole = size / f->block_bytes * f->block_bytes;
  uint64_t first = 0;
  enum tb_status s = TB_OK;
  while (left > 0 && !s) {
    size_t n = left < whole ? left : whole;
    fill(shape, t, first, rng, buffer, n);
    s = tb_gguf_writer_put(w, buffer, n, err);
    first += n / f->block_bytes * f->block_values;
    left -= n;
  }
  return s;
}

/* Tensors do not depend on one another. */
static struct tb_rng tensor_rng(uint64_t seed, size_t i) {
  struct tb_rng rng = {seed ^ (i + 1) << 40};
  rng.state = tb_rng_next(&rng);
  return rng;
}

static enum tb_status write_data(struct tb_gguf_writer *w, const struct plan *p, uint64_t seed,
                                 const struct tb_allocator *a, struct tb_error *err) {
  size_t size = PIECE; /* stays in the second-level cache on its way to the file */
  unsigned char *buffer = tb_alloc(a, size, 1);
  if (!buffer) return tb_fail(err, TB_E_NOMEM, "no memory for a buffer of %zu bytes", size);
  enum tb_status s = TB_OK;
  for (size_t i = 0; i < p->n && !s; i++) {
    struct tb_rng rng = tensor_rng(seed, i);
    s = write_tensor(w, p->shape, &p->at[i], &rng, buffer, size, err);
  }
  tb_free(a, buffer);
  return s;
}

static void add_all(struct tb_gguf_writer *w, const struct plan *p) {
  add_metadata(w, p->shape, p->type->file_type);
  for (size_t i = 0; i < p->n; i++)
    tb_gguf_add_tensor(w, p->at[i].name, p->at[i].format, p->at[i].n_dims, p->at[i].ne);
}

static enum tb_status write_file(struct tb_gguf_writer *w, const char *path, const struct plan *p, uint64_t seed,
                                 const struct tb_allocator *a, struct tb_error *err) {
  enum tb_status s = tb_gguf_writer_open(w, path, err);
  if (!s) s = write_data(w, p, seed, a, err);
  return s ? s : tb_gguf_writer_close(w, false, err);
}

/* The header and, behind it, the data of the tensors as write_data puts them. */
static enum tb_status make_image(struct tb_gguf_writer *w, const struct plan *p, uint64_t seed,
                                 const struct tb_allocator *a, void **data, size_t *size, struct tb_error *err) {
  const unsigned char *header;
  size_t n_header;
  enum tb_status s = tb_gguf_writer_header(w, &header, &n_header, err);
  if (s) return s;
  const uint64_t n_data = tb_gguf_writer_data_bytes(w);
  unsigned char *image = tb_alloc(a, n_header + (size_t)n_data, 1);
  if (!image)
    return tb_fail(err, TB_E_NOMEM, "no memory for %.1f MiB of random weights", (double)(n_header + n_data) / 0x1p20);
  memcpy(image, header, n_header);
  unsigned char *at = image + n_header;
  for (size_t i = 0; i < p->n; i++) {
    const struct tensor *t = &p->at[i];
    const size_t bytes = tb_row_bytes(t->format, (size_t)t->ne[0]) * (size_t)t->ne[1],
                 padded = tb_round_up(bytes, ALIGNMENT);
    struct tb_rng rng = tensor_rng(seed, i);
    const size_t block = tb_formats[t->format].block_bytes, piece = PIECE / block * block;
    for (size_t done = 0; done < bytes; done += piece) /* in the pieces of write_tensor: the same numbers */
      fill(p->shape, t, done / block * tb_formats[t->format].block_values, &rng, at + done,
           bytes - done < piece ? bytes - done : piece);
    memset(at + bytes, 0, padded - bytes);
    at += padded;
  }
  *data = image;
  *size = n_header + (size_t)n_data;
  return TB_OK;
}

/* Makes the list of tensors and a writer that knows them, and writes to `path`, or to memory when it is NULL. */
static enum tb_status make(const char *path, void **data, size_t *size, const struct tb_synth_options *options,
                           const struct tb_allocator *a, struct tb_error *err) {
  struct tb_synth_shape shape;
  struct tb_synth_type type;
  enum tb_status s = tb_synth_read_shape(&shape, options->shape, err);
  if (s || (s = tb_synth_read_type(&type, options->type, err))) return s;
  struct plan plan = {.shape = &shape, .type = &type};
  plan.at = tb_calloc(a, (size_t)shape.n_layer * MAX_PER_LAYER + MAX_GLOBAL, sizeof *plan.at);
  if (!plan.at) return tb_fail(err, TB_E_NOMEM, "no memory for a list of tensors");
  list(&plan);
  struct tb_gguf_writer *w = NULL;
  if (!(s = tb_gguf_writer_create(&w, a, err))) {
    add_all(w, &plan);
    s = path ? write_file(w, path, &plan, options->seed, a, err)
             : make_image(w, &plan, options->seed, a, data, size, err);
  }
  tb_gguf_writer_free(w);
  tb_free(a, plan.at);
  return s;
}

enum tb_status tb_synth(const char *path, const struct tb_synth_options *options, const struct tb_allocator *allocator,
                        struct tb_error *err) {
  if (!path || !options || !options->shape || !options->type)
    return tb_fail(err, TB_E_ARG, "a path, a shape and a type are needed");
  return make(path, NULL, NULL, options, allocator ? allocator : &tb_system_allocator, err);
}

enum tb_status tb_synth_image(void **data, size_t *size, const struct tb_synth_options *options,
                              const struct tb_allocator *a, struct tb_error *err) {
  if (!options || !options->shape || !options->type) return tb_fail(err, TB_E_ARG, "a shape and a type are needed");
  return make(NULL, data, size, options, a, err);
}

static bool is_embedding(const struct tensor *t) {
  return strcmp(t->name, "token_embd.weight") == 0;
}

static bool is_float_down(const struct tensor *t) {
  return strstr(t->name, ".ffn_down.weight") && tb_formats[t->format].block_values == 1;
}

enum tb_status tb_synth_weigh(struct tb_synth_weights *out, const struct tb_synth_shape *shape, const char *name,
                              const struct tb_allocator *a, struct tb_error *err) {
  struct tb_synth_type type;
  enum tb_status s = tb_synth_read_type(&type, name, err);
  if (s) return s;
  struct plan plan = {.shape = shape, .type = &type};
  plan.at = tb_calloc(a, (size_t)shape->n_layer * MAX_PER_LAYER + MAX_GLOBAL, sizeof *plan.at);
  if (!plan.at) return tb_fail(err, TB_E_NOMEM, "no memory for a list of tensors");
  list(&plan);
  *out = (struct tb_synth_weights){0};
  for (size_t i = 0; i < plan.n; i++) {
    const struct tensor *t = &plan.at[i];
    const uint64_t row = tb_row_bytes(t->format, (size_t)t->ne[0]), bytes = row * t->ne[1];
    out->tensors += (bytes + 31) / 32 * 32;
    if (is_float_down(t)) out->float_down = true;
    if (is_embedding(t)) out->per_token += row;
    if (t->content == MATRIX && (!is_embedding(t) || shape->tied)) out->per_token += bytes;
  }
  tb_free(a, plan.at);
  return TB_OK;
}
