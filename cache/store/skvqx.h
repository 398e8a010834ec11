/* Inside of the skvqx stores: blocks of TB_KV_BLOCK tokens whose codes are attended to as integers (simd/kvblock.h).
 * skvqx.c has names, arguments and basis, skvqx_keys.c and skvqx_values.c the two sides. */
#ifndef TB_CACHE_STORE_SKVQX_H
#define TB_CACHE_STORE_SKVQX_H

#include "cache/cache.h"
#include "simd/kvblock.h"

enum { TB_SKVQX_MAX_HEAD = 256, TB_SKVQX_QUERIES = 8 /* heads per kernel call: bounds the scratch */ };

enum tb_skvqx_basis_kind {
  TB_SKVQX_PLAIN,     /* rows as they come */
  TB_SKVQX_HADAMARD,  /* rotated by the Walsh-Hadamard transform */
  TB_SKVQX_BALANCED,  /* the map of skvqx_basis.c, from the profile */
  TB_SKVQX_EQUAL,     /* the same from the diagonals alone: channels scaled, then rotated as by the transform */
  TB_SKVQX_PRINCIPAL, /* rows kept by the store lowrank:xB, B the bits per code: as many bits, but given out by channel
                       */
};

/* What the type name and the profile say. Kept at the front of mem, before the bases and the blocks. */
struct tb_skvqx {
  unsigned levels; /* 3, 4 or 16 */
  unsigned digits; /* packed blocks per block of tokens: 2 for 16 levels (high and low pair of bits), else 1 */
  enum tb_skvqx_basis_kind basis;
  float clip;      /* keys: part of a channel's range that the levels span at first */
  unsigned rounds; /* of fitting steps to codes by least squares (simd/kvquant) */
};

enum tb_status tb_skvqx_parse(const struct tb_store_config *config, unsigned levels, struct tb_skvqx *out,
                              struct tb_error *err);
static inline const struct tb_skvqx *tb_skvqx_of(const struct tb_store *st) {
  return (const struct tb_skvqx *)(const void *)st->mem;
}

/* The largest power of two that divides d: what one Walsh-Hadamard transform covers. */
static inline uint32_t tb_skvqx_part(uint32_t d) {
  return d & (~d + 1);
}

/* A head's map: y = turn·(x - mean), and the transposed inverse of turn. d×d, d×d, d. */
struct tb_skvqx_basis {
  float *turn, *back, *mean;
};

static inline bool tb_skvqx_maps(const struct tb_skvqx *x) {
  return x->basis == TB_SKVQX_BALANCED || x->basis == TB_SKVQX_EQUAL;
}

/* Bytes of the front of mem. */
static inline size_t tb_skvqx_front(const struct tb_store_config *c, const struct tb_skvqx *x) {
  const size_t d = c->d, head = tb_round_up((2 * d * d + d) * sizeof(float), TB_ALIGN);
  return TB_ALIGN + (tb_skvqx_maps(x) ? c->n_heads * head : 0);
}

static inline struct tb_skvqx_basis tb_skvqx_basis_of(const struct tb_store *st, uint32_t head) {
  const size_t d = st->config.d, bytes = tb_round_up((2 * d * d + d) * sizeof(float), TB_ALIGN);
  float *turn = (float *)(void *)(st->mem + TB_ALIGN + head * bytes);
  return (struct tb_skvqx_basis){turn, turn + d * d, turn + 2 * d * d};
}

/* *complete: the profile has all that a balanced basis needs. */
enum tb_status tb_skvqx_profile(const struct tb_store_config *config, bool *complete, struct tb_error *err);
size_t tb_skvqx_basis_work(uint32_t d);
void tb_skvqx_basis_init(struct tb_store *st, void *work);
void tb_skvqx_basis_turn(const struct tb_store *st, uint32_t head, uint32_t n, float *x, size_t ldx, void *scratch);
void tb_skvqx_basis_query(const struct tb_store *st, uint32_t head, uint32_t n, float *q, size_t ldq, void *scratch);
void tb_skvqx_basis_output(const struct tb_store *st, uint32_t head, uint32_t n, float *o, size_t ldo, void *scratch);

/* Bytes of one block of a head. */
size_t tb_skvqx_keys_bytes(const struct tb_skvqx *x, uint32_t d);
size_t tb_skvqx_values_bytes(const struct tb_skvqx *x, uint32_t d);

/* As in tb_store_ops, for n tokens of a block from `first` on; encode takes the whole block. */
void tb_skvqx_keys_encode(const struct tb_store *st, unsigned char *block, const float *x, size_t ldx, void *scratch);
void tb_skvqx_keys_score(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n,
                         const struct tb_kv_query *q, float *s, size_t lds, void *scratch);
void tb_skvqx_keys_fetch(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n);
void tb_skvqx_keys_expand(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n, float *x,
                          size_t ldx);
void tb_skvqx_values_encode(const struct tb_store *st, unsigned char *block, const float *x, size_t ldx, void *scratch);
void tb_skvqx_values_accum(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n,
                           const float *p, size_t ldp, uint32_t n_q, float *acc, void *scratch);
void tb_skvqx_values_fetch(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n);
void tb_skvqx_values_expand(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n, float *x,
                            size_t ldx);

#endif
