/* Inside of the lowrank store (lowrank.c says what it is). */
#ifndef TB_CACHE_STORE_LOWRANK_H
#define TB_CACHE_STORE_LOWRANK_H

#include "cache/cache.h"

enum {
  TB_LOWRANK_MAX_HEAD = 512,
  TB_LOWRANK_MAX_PLANES = 384, /* 160 tokens × 384 codes fit the scratch of an encoding thread */
  TB_LOWRANK_QUERIES = 16,     /* query heads per kernel call: bounds the scratch of the others */
  TB_LOWRANK_DEPTH = 4,        /* planes of a channel: 8 bits */
};

/* What the type name says. */
struct tb_lowrank {
  uint32_t rank;   /* latent channels kept of a head */
  uint32_t bits;   /* 32, 16: rows of floats. 8, 4, 2: codes. 0: codes, bits allocated channel by channel */
  uint32_t planes; /* 2-bit planes of a block of codes, a multiple of 32; 0 for rows */
  bool weighted;   /* the basis minimises the error of scores and outputs, not of keys and values */
};

/* What a head keeps beside its rows. */
struct tb_lowrank_head {
  float *turn;     /* d×d: x' = turn·(x - mean) */
  float *back;     /* d×d, the transposed inverse of turn (turn itself when that is orthogonal) */
  float *mean;     /* d */
  float *sigma;    /* d: standard deviation of the channels of x', descending */
  uint32_t *depth; /* TB_LOWRANK_DEPTH numbers of channels: the first depth[j] have a plane j */
};

struct tb_lowrank tb_lowrank_of(const struct tb_store *st);
extern const struct tb_store_ops tb_store_lowrank;

/* lowrank_basis.c: the tables at the front of mem. */
enum tb_status tb_lowrank_basis_check(const struct tb_store_config *config, const struct tb_lowrank *l,
                                      struct tb_error *err);
size_t tb_lowrank_table_bytes(const struct tb_lowrank *l, uint32_t d);
struct tb_lowrank_head tb_lowrank_head(const struct tb_store *st, const struct tb_lowrank *l, uint32_t head);
size_t tb_lowrank_init_bytes(const struct tb_store_config *config);
void tb_lowrank_init(struct tb_store *st, void *work);
void tb_lowrank_turn(const struct tb_store *st, uint32_t head, uint32_t n, float *x, size_t ldx, void *scratch);
void tb_lowrank_turn_query(const struct tb_store *st, uint32_t head, uint32_t n, float *q, size_t ldq, void *scratch);
void tb_lowrank_turn_output(const struct tb_store *st, uint32_t head, uint32_t n, float *o, size_t ldo, void *scratch);

/* lowrank_keys.c, lowrank_values.c: blocks of codes, n tokens of one from `first` on. A block is one granule of a head. */
size_t tb_lowrank_keys_bytes(const struct tb_lowrank *l);
void tb_lowrank_keys_encode(const struct tb_store *st, uint32_t head, unsigned char *block, const float *x, size_t ldx,
                            void *scratch);
void tb_lowrank_keys_score(const struct tb_store *st, uint32_t head, const unsigned char *block, uint32_t first,
                           uint32_t n, const struct tb_kv_query *q, float *s, size_t lds, void *scratch);
void tb_lowrank_keys_fetch(const struct tb_lowrank *l, const unsigned char *block, uint32_t first, uint32_t n);
void tb_lowrank_keys_expand(const struct tb_store *st, uint32_t head, const unsigned char *block, uint32_t first,
                            uint32_t n, float *x, size_t ldx);
size_t tb_lowrank_values_bytes(const struct tb_lowrank *l);
void tb_lowrank_values_encode(const struct tb_store *st, uint32_t head, unsigned char *block, const float *x,
                              size_t ldx, void *scratch);
void tb_lowrank_values_accum(const struct tb_store *st, uint32_t head, const unsigned char *block, uint32_t first,
                             uint32_t n, const float *p, size_t ldp, uint32_t n_q, float *acc, void *scratch);
void tb_lowrank_values_fetch(const struct tb_lowrank *l, const unsigned char *block, uint32_t first, uint32_t n);
void tb_lowrank_values_expand(const struct tb_store *st, uint32_t head, const unsigned char *block, uint32_t first,
                              uint32_t n, float *x, size_t ldx);

/* Codes of a channel with k planes (2k bits): levels 0 … 4^k - 1 about the middle (4^k - 1)/2, plane 0 the most
 * significant pair of bits. With `step` the distance of plane 0's levels the value is
 *   step·(code - middle)/4^(k-1) = Σ_j step/4^j · (pair_j - 3/2). */
static inline uint32_t tb_lowrank_pair(uint32_t code, uint32_t k, uint32_t j) {
  return code >> 2 * (k - 1 - j) & 3;
}
static inline float tb_lowrank_finer(uint32_t j) {
  return 1.0f / (float)(1u << 2 * j);
} /* 4^-j */
static inline uint32_t tb_lowrank_depth_of(const uint32_t *depth, uint32_t channel) {
  uint32_t k = 0;
  while (k < TB_LOWRANK_DEPTH && channel < depth[k])
    k++;
  return k;
}

#endif
