/* Policies: what a layer keeps where, and what a query attends to. One object per layer; all of them live in the memory
 * that the cache carves. A policy is one file (or a few that share its name) that exports one tb_policy_ops; which one a
 * layer has follows from its plan line (tb_policy_of). */
#ifndef TB_CACHE_POLICY_POLICY_H
#define TB_CACHE_POLICY_POLICY_H

#include "base/arena.h"
#include "base/checksum.h"
#include "cache/cache.h"
#include "io/spillfile.h"

/* What every policy may use while it works; one per cache. */
struct tb_cache_work {
  const struct tb_kernels *kernels;
  struct tb_team *team;
  unsigned char *scratch; /* per thread: scratch + thread · scratch_bytes; aligned to 64 */
  size_t scratch_bytes;
  float *partials; /* of split attention, see plain_decode.c */
  unsigned char *chunk[2]; /* keys and values of the step's tokens that are too many for a window */
  unsigned char *shared; /* what one attend hands from one parallel part to the next */
  float *query;    /* scaled queries of one step's token, n_head · d_k, then their codes */
  int8_t *query_q;
  float *query_d;
  int16_t *query_s;
  uint32_t n_threads;
  struct tb_spillfile *file; /* what policies keep outside of memory, or NULL */
  struct tb_error *errors;   /* per thread: what went wrong with it in this step, or TB_OK */
  struct tb_crc *crcs;       /* per thread: CRC-32C */
};

/* True when something went wrong with the file in this step. */
static inline bool tb_work_failed(const struct tb_cache_work *w) {
  for (uint32_t i = 0; w->errors && i < w->n_threads; i++)
    if (w->errors[i].status != TB_OK) return true;
  return false;
}

/* What a policy is made for: layer `index` of n_layer. shape and plan point into arrays of all layers, for policies that
 * span several. */
struct tb_policy_layer {
  const struct tb_kv_shape *shape;
  const struct tb_plan_layer *plan;
  uint32_t index, n_layer;
  uint32_t n_ctx, n_batch, n_threads;
  void *init_work; /* init_bytes of the policy's needs, for the time of create */
  uint64_t *file_bytes; /* create takes its room in the file from here on and adds it; NULL: nobody asks */
};

/* Upper bounds that the cache allocates once for all layers. */
struct tb_policy_need {
  size_t scratch_bytes; /* per thread */
  size_t partials;      /* floats */
  size_t chunk[2];      /* bytes, per side */
  size_t init_bytes;    /* temporary memory while it is created */
  size_t shared_bytes;  /* of all threads together */
};

/* First member of every policy's object. */
struct tb_policy {
  const struct tb_policy_ops *ops;
};

struct tb_policy_ops {
  const char *name;
  uint32_t revision; /* raised when saved pieces come to mean something else (as a store's) */
  enum tb_status (*check)(const struct tb_policy_layer *layer, struct tb_error *err);
  struct tb_policy_need (*need)(const struct tb_policy_layer *layer);
  /* With arena->base NULL it only counts the bytes and returns NULL; `stored` grows by those that hold keys and values.
   * `before` is the object of the layer before, NULL for the first or when counting. */
  struct tb_policy *(*create)(struct tb_arena *arena, const struct tb_policy_layer *layer, struct tb_policy *before,
                              const struct tb_kernels *kernels, uint64_t *stored);
  /* n tokens at positions pos … ; k and v may be overwritten. attend follows, with the same pos and n; with q NULL it
   * computes nothing and only puts the tokens where they stay. */
  void (*append)(struct tb_policy *p, struct tb_cache_work *w, uint32_t pos, uint32_t n, float *k, float *v);
  void (*attend)(struct tb_policy *p, struct tb_cache_work *w, uint32_t pos, uint32_t n, const float *q, float *out);
  /* May be NULL. Reads what truncate(n) will need of the file; false, with nothing changed, when a thread's error says
   * why that is impossible. `settled`: fewer tokens than n, the most for which truncate needs nothing. */
  bool (*prepare)(struct tb_policy *p, struct tb_cache_work *w, uint32_t n);
  uint32_t (*settled)(const struct tb_policy *p, uint32_t n);
  void (*truncate)(struct tb_policy *p, struct tb_cache_work *w, uint32_t n);
  uint32_t (*encoded)(const struct tb_policy *p); /* tokens in their final type on both sides */
  /* Saving: numbers that say how much is where, then the pieces of memory that hold it. set_state returns false when no
   * layer of this shape can be in that state. */
  uint32_t (*state_words)(const struct tb_policy *p);
  void (*get_state)(const struct tb_policy *p, uint32_t *words);
  bool (*set_state)(struct tb_policy *p, uint32_t length, const uint32_t *words);
  enum tb_status (*pieces)(struct tb_policy *p, tb_cache_piece_fn fn, void *user, struct tb_error *err);
  /* May be NULL. True when pieces that were read from a file make sense: nothing in them may lead outside of memory. */
  bool (*verify)(const struct tb_policy *p);
  /* May be NULL: adds to the counts of tb_cache_recalled. */
  void (*recalled)(const struct tb_policy *p, struct tb_recalled *counts);
};

/* plain: sinks and the newest `window` tokens in f16 (only where a store encodes in granules), everything attended. */
extern const struct tb_policy_ops tb_policy_plain;

/* recall: everything is stored, decoding attends to the clusters of tokens that matter (cache/policy/recall.c). */
extern const struct tb_policy_ops tb_policy_recall;

/* A layer's object, for programs that measure what a policy does. */
const struct tb_policy *tb_cache_policy(const struct tb_cache *c, uint32_t layer);

/* merge: two neighbouring layers share the directions of their rows (cache/policy/merge.c). */
extern const struct tb_policy_ops tb_policy_merge;

/* The policy that a plan line asks for. */
const struct tb_policy_ops *tb_policy_of(const struct tb_plan_layer *plan);

#endif
