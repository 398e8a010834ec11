/* A loaded model: hyper-parameters, weights in the mapped file, tokenizer, the kernels chosen for this CPU. Read-only
 * after tb_model_open. */
#ifndef TB_CORE_MODEL_H
#define TB_CORE_MODEL_H

#include "base/alloc.h"
#include "base/status.h"
#include "cache/cache.h"
#include "io/gguf.h"
#include "io/tokenizer.h"
#include "simd/kernels.h"

enum {
  TB_MAX_LAYERS = 1024,
  TB_MAX_WIDTH = 1 << 18, /* embedding, feed-forward and attention widths */
  TB_MAX_HEADS = 1024,
  TB_MAX_HEAD_SIZE = 512,
};

/* A matrix of `rows` outputs × k inputs, in file order. data NULL: the model has no such tensor. */
struct tb_weight {
  enum tb_format format;
  const unsigned char *data; /* in the mapping */
  size_t k, rows, row_bytes;
};

/* Vectors are floats in the mapping; NULL: the model has none. */
struct tb_layer {
  const float *attn_norm, *q_norm, *k_norm, *ffn_norm;
  struct tb_weight wq, wk, wv, wo;
  const float *bq, *bk, *bv, *bo;
  struct tb_weight gate, up, down;
  uint32_t n_head, n_kv, d_k, d_v, n_ff;
};

enum tb_rope_scaling { TB_ROPE_NONE, TB_ROPE_LINEAR, TB_ROPE_YARN };

struct tb_rope_params {
  uint32_t n_rot; /* rotated elements of a head, even */
  bool neox;
  float base;
  enum tb_rope_scaling scaling;
  float factor;        /* context extension, ≥ 1 as a rule; 1: none */
  uint32_t n_ctx_orig; /* yarn: trained context */
  float beta_fast, beta_slow, attn_factor;
  const float *freq_factors; /* n_rot/2 divisors of the frequencies (rope_freqs.weight) or NULL */
};

struct tb_hparams {
  uint32_t n_vocab, n_ctx_train, n_embd, n_layer;
  float norm_eps;
  float attn_scale; /* multiplies q·k */
  bool wide_floats; /* a down projection is stored as floats, and multiplies such */
  struct tb_rope_params rope;
};

struct tb_model {
  struct tb_allocator alloc;
  unsigned isa_mask;
  struct tb_kernels kernels;
  void *image;                    /* of a synthetic model: the file's bytes; owned, NULL for a file */
  struct tb_gguf *gguf;           /* owned */
  struct tb_tokenizer *tokenizer; /* owned */
  const struct tb_arch *arch;
  char arch_name[32];
  char *path;                 /* of the first part; owned */
  char *name, *chat_template; /* owned, NUL-terminated; chat_template may be NULL */
  uint64_t identity;          /* what sessions are bound to: tb_session_identity */
  struct tb_hparams hp;
  struct tb_layer *layers; /* hp.n_layer; owned */
  struct tb_weight embedding, output;
  const float *output_norm;
  bool shared_storage; /* tb_mapfile_on_shared_storage */
};

/* A number that tells models apart, for what is saved beside them: a checksum of the file's header. */
uint64_t tb_model_identity(const struct tb_gguf *g);
/* Opens a profile (cache/profile.h) that was made for the model of this identity. */
enum tb_status tb_model_profile(struct tb_profile **out, const char *path, uint64_t model, const struct tb_allocator *a,
                                struct tb_error *err);

/* Everything below reports errors that name the tensor or the key. */

/* Reads "<architecture>.<suffix>"; semantics of tb_gguf_get_*. */
enum tb_status tb_hparam_u32(const struct tb_model *m, const char *suffix, bool required, uint32_t *out,
                             struct tb_error *err);
enum tb_status tb_hparam_f32(const struct tb_model *m, const char *suffix, bool required, float *out,
                             struct tb_error *err);
/* n per-layer values from a scalar or an array. */
enum tb_status tb_hparam_u32s(const struct tb_model *m, const char *suffix, bool required, uint32_t *out, size_t n,
                              struct tb_error *err);

/* Binds the matrix called by printf(format, layer): k × rows, else an error. Missing: TB_OK with data NULL unless
 * required. */
enum tb_status tb_bind_weight(const struct tb_model *m, struct tb_weight *w, const char *format, uint32_t layer,
                              bool required, size_t k, size_t rows, struct tb_error *err);
/* Binds a vector of n finite floats (type F32). */
enum tb_status tb_bind_vector(const struct tb_model *m, const float **v, const char *format, uint32_t layer,
                              bool required, size_t n, struct tb_error *err);

/* Shape, RoPE and norm parameters that all decoder-only architectures share; fills hp and the layers' head counts. */
enum tb_status tb_load_hparams(struct tb_model *m, bool neox, struct tb_error *err);
/* Embedding, output (tied when absent), norms, attention and SwiGLU weights under their usual names. Optional parts
 * (biases, q/k norms) are bound when present and `with` asks for them. */
enum tb_load_parts { TB_LOAD_QKV_BIAS = 1, TB_LOAD_QK_NORM = 2 };
enum tb_status tb_load_decoder(struct tb_model *m, unsigned required_parts, unsigned optional_parts,
                               struct tb_error *err);

/* session.c: the header's identity and samples of the weights. Reads the mapping, so it is taken once, at opening. */
uint64_t tb_session_identity(const struct tb_model *m);

/* Fills rows [first, end) of cos and sin: n_rot/2 floats per position. */
void tb_rope_fill(const struct tb_rope_params *p, uint32_t first, uint32_t end, float *cos, float *sin);

#endif
