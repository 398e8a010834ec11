/* Inside of the merge policy (merge.c says what it is). */
#ifndef TB_CACHE_POLICY_MERGE_H
#define TB_CACHE_POLICY_MERGE_H

#include "cache/align.h"
#include "cache/policy/plain.h"

/* merge_align.c: from the profile's k.cross, v.cross and merge.cosine of the upper layer (cache/align.h; merge.cosine:
 * keys, keys aligned, values, values aligned). TB_E_ARG when it has no such tensor. */
enum tb_status tb_merge_align(const struct tb_kv_shape *upper, enum tb_side side, bool align, struct tb_align_map *out,
                              void *work, struct tb_error *err);
enum tb_status tb_merge_cosine(const struct tb_kv_shape *upper, enum tb_side side, bool align, double *cosine,
                               struct tb_error *err);

/* merge_store.c: one side of one layer of a pair, as a store whose rows are magnitude · direction, but for the retained
 * ones. */
extern const struct tb_store_ops tb_merged_store;

struct tb_merged {
  struct tb_store inner; /* the directions, shared by both layers */
  bool upper;
  uint32_t keep;           /* retained rows per block */
  struct tb_align_map map; /* upper: into mem behind this */
};

/* Bytes of its mem beside the header's alignment; cap in config is a multiple of TB_ATTN_BLOCK. */
size_t tb_merged_bytes(const struct tb_store_config *c, bool upper, uint32_t keep);
/* Lays mem out: st->mem is zeroed and of that size. */
void tb_merged_init(struct tb_store *st, const struct tb_store *inner, bool upper, uint32_t keep);
/* One block of a head: magnitudes, and the retained rows (`which`, ascending, keep of them) of x. */
void tb_merged_put(struct tb_store *st, uint32_t head, uint32_t t0, const float *magnitude, const uint8_t *which,
                   const float *x, size_t ldx);

/* The records of the first `rows` rows of a head. */
void tb_merged_records(const struct tb_store *st, uint32_t head, uint32_t rows, unsigned char **at, size_t *bytes);
/* False when records that were read from a file name rows that no block has, or not in ascending order. */
bool tb_merged_verify(const struct tb_store *st, uint32_t rows);

#endif
