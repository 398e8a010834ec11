/* The KV cache: what a model's layers remember.
 *
 *   store    how one side (keys or values) of one layer is kept: cache/store/<name>.c, one exported const each
 *   policy   what is kept where and what is attended: cache/policy/<name>.c; owns sinks and window, alone may span layers
 *   plan     one line per layer: {K store, V store, policy, parameters}
 *
 * Outside cache/ nobody names a method. All memory is carved from one block whose size tb_cache_bytes() predicts
 * exactly. Keys come with RoPE applied; a store that wants them without turns them back itself (rotations invert). */
#ifndef TB_CACHE_CACHE_H
#define TB_CACHE_CACHE_H

#include "base/alloc.h"
#include "base/status.h"
#include "base/thread.h"
#include "cache/profile.h"
#include "simd/kernels.h"

/* ------------------------------------------------------------------------------------------------------------ shape */

/* cos and sin of every position: row p holds n_rot/2 values at cos + p·n_rot/2. */
struct tb_rope_table {
  const float *cos, *sin;
  uint32_t n_rot;
  bool neox; /* pairing: halves (true) or neighbours */
};

/* One layer's attention. */
struct tb_kv_shape {
  uint32_t layer;                   /* its number */
  const struct tb_profile *profile; /* what was measured on the model, or NULL */
  uint32_t n_head;     /* query heads */
  uint32_t n_kv;       /* KV heads; divides n_head */
  uint32_t d_k, d_v;   /* head sizes of keys (and queries) and of values */
  uint32_t sliding;    /* a query at p sees keys p-sliding+1 … p; 0: all */
  float scale;         /* multiplies q·k */
  const struct tb_rope_table *rope; /* NULL: no rotation in this layer */
};

/* ------------------------------------------------------------------------------------------------------------ store */

enum tb_side { TB_SIDE_K, TB_SIDE_V };

/* What a store is told when it is made. */
struct tb_store_config {
  enum tb_side side;
  uint32_t n_heads; /* KV heads */
  uint32_t d;       /* head size */
  uint32_t cap;     /* tokens it must hold: a multiple of the granule */
  uint32_t layer;   /* number of the layer, for the profile */
  const struct tb_profile *profile; /* or NULL */
  const struct tb_rope_table *rope; /* of the layer; K side */
  const char *args;                 /* text after ':' in the type name, or NULL */
};

struct tb_recall;

struct tb_store {
  const struct tb_store_ops *ops;
  struct tb_store_config config;
  const struct tb_kernels *kernels;
  unsigned char *mem; /* bytes() of it, aligned to 64; the cache owns it */
  const struct tb_recall *around; /* whose clusters its rows are part of (policy/recall_keys.c), or NULL */
};

/* The query heads of one KV head at one step: floats and their int8 codes (simd/act.h), n_q columns of k = d_k.
 * Already multiplied with the layer's scale. When d_k is not a multiple of 32 only acts.f is valid. */
struct tb_kv_query {
  struct tb_acts acts;
  uint32_t n_q;
  uint32_t pos;
};

/* Rows are addressed by index 0 … cap-1; `scratch` is TB_STORE_SCRATCH bytes of the calling thread, aligned to 64.
 * score and accum of a store whose granule is TB_ATTN_BLOCK are called for one whole granule at a time or, unless it is
 * joint or ordered, for a part of one (t0 and n multiples of TB_ATTN_PART); others get any range of at most TB_ATTN_BLOCK
 * rows. expand takes any range. */
enum {
  TB_STORE_SCRATCH = 96 * 1024, /* the codes of a block of 160 tokens, 256 channels, two digits */
  TB_ATTN_BLOCK = 160, /* tokens attended at a time; the largest granule */
  TB_ATTN_PART = 32,
};

struct tb_store_ops {
  const char *name;  /* as in -ctk / -ctv */
  uint32_t granule;  /* rows are encoded in multiples of this many; 1: row by row */
  bool joint;        /* a row holds all heads: encode is called for head 0 with rows of n_heads·d values. Granule > 1 */
  bool profiled;     /* what is kept depends on the profile: a saved cache belongs to it */
  bool ordered;      /* uses `pos`: neighbouring rows must hold neighbouring positions */
  uint32_t revision; /* raised when the same bytes come to mean something else: saved caches are bound to it */
  /* TB_OK, or what is wrong with this head size, side or argument. */
  enum tb_status (*check)(const struct tb_store_config *config, struct tb_error *err);
  size_t (*bytes)(const struct tb_store_config *config);
  /* May be NULL: fills tables that the store keeps in mem beside its rows. `check` has accepted the configuration.
   * work: init_bytes() (NULL: none) lent for the call, aligned to 64. */
  void (*init)(struct tb_store *st, void *work);
  size_t (*init_bytes)(const struct tb_store_config *config);
  /* May be NULL. True: window and sinks are kept in f32 (else f16), because what is kept of the rest is finer. */
  bool (*fine)(const struct tb_store_config *config);
  /* The basis of a side: an invertible affine map per head that rows go through before anything is kept of them, window
   * and sinks included, so that rotations, means and equalisation cost nothing per token attended. In place, n rows
   * ldx apart; scratch as below. NULL: the identity.
   *   turn          rows of either side, as they are appended
   *   turn_query    K side: queries of KV head `head`, so that q'·k' = q·k up to a constant per query
   *   turn_output   V side: from Σ p·v' with Σ p = 1 to Σ p·v
   * encode gets turned rows, score and accum work in the basis, expand gives turned rows. */
  void (*turn)(const struct tb_store *st, uint32_t head, uint32_t n, float *x, size_t ldx, void *scratch);
  void (*turn_query)(const struct tb_store *st, uint32_t head, uint32_t n, float *q, size_t ldq, void *scratch);
  void (*turn_output)(const struct tb_store *st, uint32_t head, uint32_t n, float *o, size_t ldo, void *scratch);
  /* Rows t0 … t0+n-1 of one head from floats (row i at x + i·ldx). t0 and n are multiples of the granule. `pos` is the
   * position of row t0 (positions of rows are consecutive). Distinct (head, granule) may be encoded in parallel. */
  void (*encode)(struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, const float *x, size_t ldx,
                 void *scratch);
  /* s[g·lds + i] = q_g · row(t0+i), i < n. K side. */
  void (*score)(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos,
                const struct tb_kv_query *q, float *s, size_t lds, void *scratch);
  /* acc[g·d + c] += Σ_i p[g·ldp + i] · row(t0+i)[c]. V side; p ≥ 0. */
  void (*accum)(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, const float *p, size_t ldp, uint32_t n_q,
                float *acc, void *scratch);
  /* Asks the memory for what score or accum of these rows, a range as theirs, will read. NULL where joint or ordered. */
  void (*fetch)(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n);
  /* Where the first `rows` rows of a head are in mem: one contiguous piece, whatever cap is (saved sessions are made of
   * these). `rows` is a multiple of the granule. */
  void (*span)(const struct tb_store_config *config, uint32_t head, uint32_t rows, size_t *offset, size_t *bytes);
  /* Rows as floats (keys with RoPE), row i at x + i·ldx. */
  void (*expand)(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, float *x, size_t ldx,
                 void *scratch);
};

/* The store called `type` ("f16", "skvqx2", "lowrank:64" …: text before ':'), or NULL. */
const struct tb_store_ops *tb_store_find(const char *type);
/* Names of all stores, NULL-terminated. */
const char *const *tb_store_names(void);

/* ------------------------------------------------------------------------------------------------------------- plan */

enum { TB_TYPE_NAME = 32 };

/* A layer whose directions are merged with those of its neighbour (policy merge). */
enum { TB_MERGE_NONE, TB_MERGE_UP, TB_MERGE_DOWN }; /* with the layer above, with the layer below */
struct tb_merge_plan {
  uint32_t with;
  uint32_t retain;    /* rows per 160 that both layers keep as they are, those that differ most */
  uint32_t similar;   /* 1: instead those that differ least, as the paper has it */
  uint32_t unaligned; /* 1: without turning the upper layer towards the lower one first */
  uint32_t cosine;    /* percent that keys and values must agree to */
};
enum { TB_MERGE_RETAIN = 8, TB_MERGE_COSINE = 90 };

struct tb_plan_layer {
  char type_k[TB_TYPE_NAME], type_v[TB_TYPE_NAME];
  uint32_t window; /* newest tokens kept in full precision (f16) when a store has granule > 1 */
  uint32_t sinks;  /* first tokens likewise */
  /* Recall (cache/policy/recall.c): numbers of tokens; 0 takes what stands in brackets. */
  uint32_t recall;  /* budget: tokens of chosen clusters that a step attends to [no recall: all tokens] */
  uint32_t cluster; /* tokens of a cluster on average; divides segment [by the budget: 4, 8 from 512, 16 from 1024, 32 from 2048 on] */
  uint32_t segment; /* tokens that are clustered together, a multiple of 160 [320] */
  uint32_t form;    /* enum tb_recall_form */
  uint32_t resident; /* tokens of clusters in memory for each KV head, the others in a file; 0: all */
  struct tb_merge_plan merge;
};

enum tb_recall_form {
  TB_RECALL_SHARED,    /* one choice for all query heads of a KV head, by an upper estimate of each cluster's weight */
  TB_RECALL_PUBLISHED, /* as ClusterKV was published: cosine distance, 20 iterations, a choice per query head, by q·mean */
};

/* ------------------------------------------------------------------------------------------------------------ cache */

struct tb_cache_config {
  uint32_t n_layer;
  const struct tb_kv_shape *shapes;   /* n_layer of them; must outlive the cache, like their rope tables */
  const struct tb_plan_layer *plan;   /* n_layer of them; copied */
  uint32_t n_ctx;                     /* tokens */
  uint32_t n_batch;                   /* most tokens appended by one call */
  uint32_t n_threads;
  const char *spill_dir;              /* folder of the file that `resident` needs, or NULL; read by tb_cache_create */
};

struct tb_cache;

/* Checks a configuration: store names, head sizes. The error names layer and field. */
enum tb_status tb_cache_check(const struct tb_cache_config *config, struct tb_error *err);

/* Bytes that hold keys and values (`stored`) and everything tb_cache_create takes (`total`: workspace included). */
void tb_cache_bytes(const struct tb_cache_config *config, uint64_t *stored, uint64_t *total);

/* Beside that, what the layers' tables need only while they are made. */
uint64_t tb_cache_init_bytes(const struct tb_cache_config *config);

enum tb_status tb_cache_create(struct tb_cache **out, const struct tb_cache_config *config, const struct tb_kernels *kernels,
                               struct tb_team *team, const struct tb_allocator *a, struct tb_error *err);
void tb_cache_free(struct tb_cache *c);

/* Tokens held. All layers hold the same number between steps. */
uint32_t tb_cache_length(const struct tb_cache *c);

/* What recall did since the cache was made, summed over decoding steps, layers and choices. */
struct tb_recalled {
  uint64_t steps;                /* choices made */
  uint64_t attended, held;       /* tokens attended to, sinks and newest included; tokens held */
  uint64_t chosen, again;        /* clusters chosen; of these, chosen by the step before too */
  uint64_t bytes;                /* read: keys and values attended to, and what describes the clusters */
  uint64_t pages, read;          /* where `resident` is less than all: pages that hold chosen clusters, read from the file */
  uint64_t read_bytes;           /* by that */
};
void tb_cache_recalled(const struct tb_cache *c, struct tb_recalled *counts);

/* Tokens that are in their final type on both sides of every layer, not in a window or among the sinks. */
uint32_t tb_cache_encoded(const struct tb_cache *c);

/* One step is: tb_cache_step(n), then for each layer append and attend, in layer order, one layer after the other, then
 * tb_cache_finish. `n` tokens are appended at positions length … length+n-1; n ≤ n_batch and length + n ≤ n_ctx. */
void tb_cache_step(struct tb_cache *c, uint32_t n);

/* TB_OK, or what went wrong in the step with the file of what is not `resident`. Then its outputs mean nothing and its
 * tokens are forgotten; where the file cannot be read either, so are those before them that would have to be: tb_cache_length
 * says how many are left. */
enum tb_status tb_cache_finish(struct tb_cache *c, struct tb_error *err);
/* True when a part of the cache is in a file: it cannot be saved. */
bool tb_cache_spilled(const struct tb_cache_config *config);

/* k: n rows of n_kv·d_k floats (RoPE applied), v: n rows of n_kv·d_v. Both are overwritten (turned into the basis). */
void tb_cache_append(struct tb_cache *c, uint32_t layer, float *k, float *v);

/* out[i] (n_head·d_v) = attention of the step's token i (q: n rows of n_head·d_k, RoPE applied, not scaled) over all
 * tokens up to its own; where d_k = d_v, out may be q's memory. q NULL: nothing is computed, the tokens are only put where
 * they stay. */
void tb_cache_attend(struct tb_cache *c, uint32_t layer, const float *q, float *out);

/* What a saved cache consists of: its length, `tb_cache_state_words` numbers, and pieces of memory. */
uint32_t tb_cache_state_words(const struct tb_cache *c);
void tb_cache_get_state(const struct tb_cache *c, uint32_t *words);
/* Takes over a length and state words; TB_E_FORMAT, with nothing changed, when no cache could be in such a state. The
 * pieces must then be filled. */
enum tb_status tb_cache_set_state(struct tb_cache *c, uint32_t length, const uint32_t *words, struct tb_error *err);
/* Calls fn for every piece, in a fixed order, until it fails. */
typedef enum tb_status (*tb_cache_piece_fn)(void *user, unsigned char *piece, size_t bytes, struct tb_error *err);
enum tb_status tb_cache_pieces(struct tb_cache *c, tb_cache_piece_fn fn, void *user, struct tb_error *err);
/* After the pieces of a file were filled in: TB_E_FORMAT when no cache could hold such contents. */
enum tb_status tb_cache_verify(const struct tb_cache *c, struct tb_error *err);
/* A number that two configurations share when one can continue the other's saved cache (n_ctx may differ): the profile
 * counts where a store depends on it. */
uint64_t tb_cache_identity(const struct tb_cache_config *config);

/* Forgets the tokens from n on. Rows that a block store has already encoded stay as they were encoded. Fails, with nothing
 * changed, only where a part of the cache is in a file that cannot be read; with n = 0 never. */
enum tb_status tb_cache_truncate(struct tb_cache *c, uint32_t n, struct tb_error *err);

#endif
