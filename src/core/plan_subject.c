/* What a plan is for: a file's header, or a shape. Weights are not read: of a file only its metadata is touched, and
 * the few numbers of rope_freqs.weight. */
#include "core/plan.h"

#include <stdio.h>
#include <string.h>
#include "io/synth.h"
#include "models/arch.h"

/* ---------------------------------------------------------------------------------------------------------- counting
 */

/* An allocator that knows how much is held. Sizes stand in front of the blocks, a whole alignment unit for each, which
 * also stands for what a heap keeps beside a block. */
struct counter {
  const struct tb_allocator *a;
  uint64_t live, peak;
};

static void *count_alloc(void *user, size_t bytes) {
  struct counter *c = user;
  size_t whole;
  if (!tb_add(bytes, 2 * TB_ALIGN, &whole)) return NULL;
  whole = tb_round_up(whole - TB_ALIGN, TB_ALIGN);
  unsigned char *block = tb_alloc(c->a, whole, 1);
  if (!block) return NULL;
  memcpy(block, &whole, sizeof whole);
  c->live += whole;
  if (c->live > c->peak) c->peak = c->live;
  return block + TB_ALIGN;
}

static void count_free(void *user, void *p) {
  struct counter *c = user;
  size_t whole;
  unsigned char *block = (unsigned char *)p - TB_ALIGN;
  memcpy(&whole, block, sizeof whole);
  c->live -= whole;
  tb_free(c->a, block);
}

/* -------------------------------------------------------------------------------------------------------------- files
 */

static void copy_str(char *out, size_t cap, struct tb_str s) {
  size_t n = s.len < cap - 1 ? s.len : cap - 1;
  if (n) memcpy(out, s.ptr, n);
  out[n] = '\0';
}

/* Every matrix is read for every token; of the embedding one row, unless it is the output matrix too. */
static uint64_t bytes_per_token(const struct tb_gguf *g) {
  const bool tied = tb_gguf_tensor_find(g, "output.weight") == NULL;
  uint64_t sum = 0;
  for (size_t i = 0; i < tb_gguf_tensor_count(g); i++) {
    const struct tb_gguf_tensor *t = tb_gguf_tensor_at(g, i);
    const bool embedding = tb_str_is(t->name, "token_embd.weight");
    if (!embedding || tied) sum += t->bytes;
    if (embedding && t->ne[1]) sum += t->bytes / t->ne[1];
  }
  return sum;
}

static enum tb_status read_header(struct tb_plan_subject *s, struct tb_tokenizer **tokenizer, struct tb_error *err) {
  struct tb_model *m = &s->model;
  struct tb_str arch = {0}, name = {0};
  enum tb_status status;
  if ((status = tb_gguf_get_str(m->gguf, "general.architecture", true, &arch, err)) ||
      (status = tb_gguf_get_str(m->gguf, "general.name", false, &name, err)))
    return status;
  copy_str(m->arch_name, sizeof m->arch_name, arch);
  if (arch.len >= sizeof m->arch_name || !tb_arch_find(m->arch_name))
    return tb_fail(err, TB_E_UNSUPPORTED, "general.architecture: '%.60s' is not supported (%s)", m->arch_name,
                   tb_arch_list());
  copy_str(s->name, sizeof s->name, name.len ? name : arch);
  if ((status = tb_tokenizer_create(tokenizer, m->gguf, &m->alloc, err))) return status;
  m->hp.n_vocab = tb_tokenizer_size(*tokenizer);
  return tb_load_hparams(m, false, err);
}

/* The layers outlive the counter that counted them: they move to memory of the plan's own allocator. */
static enum tb_status keep_layers(struct tb_plan_subject *s, const struct tb_allocator *a, struct tb_error *err) {
  struct tb_layer *copy = tb_alloc(a, s->model.hp.n_layer, sizeof *copy);
  if (!copy) return tb_fail(err, TB_E_NOMEM, "plan: out of memory");
  memcpy(copy, s->model.layers, s->model.hp.n_layer * sizeof *copy);
  tb_free(&s->model.alloc, s->model.layers);
  s->model.layers = copy;
  return TB_OK;
}

enum tb_status tb_plan_subject_file(struct tb_plan_subject *s, const char *path, const struct tb_allocator *a,
                                    struct tb_error *err) {
  struct counter c = {.a = a};
  struct tb_tokenizer *tokenizer = NULL;
  struct tb_model *m = &s->model;
  m->alloc = (struct tb_allocator){.alloc = count_alloc, .free = count_free, .user = &c};
  enum tb_status status = tb_gguf_open(&m->gguf, path, &m->alloc, err);
  if (!status && (status = read_header(s, &tokenizer, err))) tb_fail_prefix(err, status, path);
  if (!status) {
    struct tb_str text = {0};
    tb_gguf_get_str(m->gguf, "tokenizer.chat_template", false, &text, NULL);
    s->file_bytes = tb_gguf_file_bytes(m->gguf);
    s->identity = tb_model_identity(m->gguf);
    s->per_token = bytes_per_token(m->gguf);
    s->heap = c.live + text.len + sizeof *m;
    s->heap_peak = c.peak;
    memcpy(s->arch, m->arch_name, sizeof s->arch);
    status = keep_layers(s, a, err);
  }
  if (status) tb_free(&m->alloc, m->layers);
  tb_tokenizer_free(tokenizer);
  tb_gguf_free(m->gguf);
  m->gguf = NULL;
  m->hp.rope.freq_factors = NULL; /* was in the mapping */
  if (status) m->layers = NULL;
  m->alloc = *a;
  return status;
}

/* ------------------------------------------------------------------------------------------------------------- shapes
 */

/* The tables of a vocabulary that nobody has seen. Measured per token: 36 bytes for Qwen 2.5, 43 for GPT-2 and SmolLM2,
 * 31 for SentencePiece, at most 56 while they are built; the files hold 22 to 39 bytes per token. Those have at most one
 * merge per token; Llama 3 has two, and tables of other sizes may be half as full: what is reserved allows for both. */
enum { TOKEN_HEAP = 75, TOKEN_PEAK = 120, TOKEN_FILE = 64, TABLES = 256 << 10 };

static void take_shape(struct tb_model *m, const struct tb_synth_shape *sh) {
  m->hp = (struct tb_hparams){.n_vocab = sh->n_vocab,
                              .n_ctx_train = sh->n_ctx,
                              .n_embd = sh->n_embd,
                              .n_layer = sh->n_layer,
                              .norm_eps = sh->rms_eps,
                              .attn_scale = 1,
                              .rope = {.n_rot = sh->rope_dim, .base = sh->rope_base}};
  for (uint32_t i = 0; i < sh->n_layer; i++)
    m->layers[i] = (struct tb_layer){
        .n_head = sh->n_head, .n_kv = sh->n_head_kv, .d_k = sh->head_dim, .d_v = sh->head_dim_v, .n_ff = sh->n_ff};
}

enum tb_status tb_plan_subject_shape(struct tb_plan_subject *s, const char *shape, const char *type,
                                     const struct tb_allocator *a, struct tb_error *err) {
  struct tb_synth_shape sh;
  struct tb_synth_weights weights;
  enum tb_status status = tb_synth_read_shape(&sh, shape, err);
  if (status || (status = tb_synth_weigh(&weights, &sh, type, a, err))) return status;
  if (!tb_arch_find(sh.architecture))
    return tb_fail(err, TB_E_UNSUPPORTED, "shape: architecture '%s' is not supported (%s)", sh.architecture,
                   tb_arch_list());
  if (sh.n_layer > TB_MAX_LAYERS || sh.head_dim > TB_MAX_HEAD_SIZE || sh.head_dim_v > TB_MAX_HEAD_SIZE ||
      sh.n_embd > TB_MAX_WIDTH || sh.n_ff > TB_MAX_WIDTH || sh.n_ctx > UINT32_MAX / 4)
    return tb_fail(err, TB_E_LIMIT, "shape: larger than the models that can be loaded");
  s->model.alloc = *a;
  s->model.layers = tb_calloc(a, sh.n_layer, sizeof *s->model.layers);
  if (!s->model.layers) return tb_fail(err, TB_E_NOMEM, "plan: out of memory");
  take_shape(&s->model, &sh);
  s->model.hp.wide_floats = weights.float_down;
  memcpy(s->name, sh.name, sizeof sh.name);
  memcpy(s->arch, sh.architecture, sizeof s->arch);
  s->file_bytes = weights.tensors + (uint64_t)sh.n_vocab * TOKEN_FILE + TABLES;
  s->per_token = weights.per_token;
  s->heap = (uint64_t)sh.n_vocab * TOKEN_HEAP + TABLES;
  s->heap_peak = (uint64_t)sh.n_vocab * TOKEN_PEAK + TABLES;
  return TB_OK;
}

enum { PROFILE_OBJECT = 256 }; /* at least what the object beside the file's tables takes */

enum tb_status tb_plan_subject_profile(struct tb_plan_subject *s, const char *path, struct tb_error *err) {
  struct counter c = {.a = &s->model.alloc};
  const struct tb_allocator counting = {.alloc = count_alloc, .free = count_free, .user = &c};
  struct tb_gguf *g;
  enum tb_status status = tb_gguf_open(&g, path, &counting, err);
  if (!status && (status = tb_gguf_keep_names(g, err))) tb_gguf_free(g);
  if (status) return status;
  s->profile_bytes = 2 * tb_gguf_file_bytes(g);
  s->profile_heap = 2 * (c.live + PROFILE_OBJECT);
  tb_gguf_free(g);
  return tb_model_profile(&s->profile, path, s->identity, &s->model.alloc, err);
}

void tb_plan_subject_free(struct tb_plan_subject *s) {
  tb_profile_free(s->profile);
  s->profile = NULL;
  tb_free(&s->model.alloc, s->model.layers);
  s->model.layers = NULL;
}
