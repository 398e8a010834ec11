/* Inside of the skvqx stores: blocks of TB_KV_BLOCK tokens whose codes are attended to as integers (simd/kvblock.h).
 * skvqx.c has names, arguments and basis, skvqx_keys.c and skvqx_values.c the two sides. */
#ifndef TB_CACHE_STORE_SKVQX_H
#define TB_CACHE_STORE_SKVQX_H

#include "cache/cache.h"
#include "simd/kvblock.h"

enum { TB_SKVQX_MAX_HEAD = 256, TB_SKVQX_QUERIES = 8 /* heads per kernel call: bounds the scratch */ };

/* What the type name says. */
struct tb_skvqx {
  unsigned levels; /* 3, 4 or 16 */
  unsigned digits; /* packed blocks per block of tokens: 2 for 16 levels (high and low pair of bits), else 1 */
  bool hadamard;   /* rows are rotated by the Walsh-Hadamard transform */
  float clip;      /* keys: part of a channel's range that the levels span at first */
  unsigned rounds; /* of fitting steps to codes by least squares (simd/kvquant) */
};

enum tb_status tb_skvqx_parse(const struct tb_store_config *config, unsigned levels, struct tb_skvqx *out,
                              struct tb_error *err);
struct tb_skvqx tb_skvqx_of(const struct tb_store *st);

/* Bytes of one block of a head. */
size_t tb_skvqx_keys_bytes(const struct tb_skvqx *x, uint32_t d);
size_t tb_skvqx_values_bytes(const struct tb_skvqx *x, uint32_t d);

/* As in tb_store_ops; encode takes exactly one block. */
void tb_skvqx_keys_encode(const struct tb_store *st, unsigned char *block, const float *x, size_t ldx, void *scratch);
void tb_skvqx_keys_score(const struct tb_store *st, const unsigned char *block, const struct tb_kv_query *q, float *s,
                         size_t lds, void *scratch);
void tb_skvqx_keys_expand(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n, float *x,
                          size_t ldx);
void tb_skvqx_values_encode(const struct tb_store *st, unsigned char *block, const float *x, size_t ldx, void *scratch);
void tb_skvqx_values_accum(const struct tb_store *st, const unsigned char *block, const float *p, size_t ldp,
                           uint32_t n_q, float *acc, void *scratch);
void tb_skvqx_values_expand(const struct tb_store *st, const unsigned char *block, uint32_t first, uint32_t n, float *x,
                            size_t ldx);

#endif
