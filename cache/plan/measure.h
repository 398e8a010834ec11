/* What a store or a policy costs in a layer, measured: attention of a text's queries, keys and values, with one side
 * kept by the store and everything else exact. Prefix attention in one piece; memory n × d per thread, not n × n. */
#ifndef TB_CACHE_PLAN_MEASURE_H
#define TB_CACHE_PLAN_MEASURE_H

#include "cache/cache.h"

struct tb_measure {
  const struct tb_kv_shape *shape; /* its profile and rotations are the stores' */
  uint32_t n;                      /* tokens at positions 0 … n-1 */
  const float *q, *k, *v;          /* rows as tb_cache_append and tb_cache_attend take them */
  const uint32_t *at;              /* positions whose output is computed, n_at of them */
  uint32_t n_at;
  uint32_t window, sinks; /* exact tokens, where a store encodes in granules */
};

/* Whether a store can keep this side of the layer, head by head. */
bool tb_measure_fits(const struct tb_measure *m, enum tb_side side, const char *type);

/* out: n_at rows of n_head·d_v floats, attention with `side` in `type`. TB_E_NOMEM. */
enum tb_status tb_measure_output(const struct tb_measure *m, enum tb_side side, const char *type,
                                 const struct tb_kernels *kernels, struct tb_team *team, const struct tb_allocator *a,
                                 float *out, struct tb_error *err);

/* The same with other rows of `side`, n of n_kv·d floats in the basis of `store`. */
enum tb_status tb_measure_rows(const struct tb_measure *m, enum tb_side side, const struct tb_store *store,
                               const float *rows, const struct tb_kernels *kernels, struct tb_team *team,
                               const struct tb_allocator *a, float *out, struct tb_error *err);

/* measure_policy.c. Whether two layers (m[0] below m[1], shapes side by side) can be merged, and their outputs when one
 * side of one of them is, all its tokens and in f32: out[layer][side] as above. */
bool tb_measure_merges(const struct tb_measure m[2]);
enum tb_status tb_measure_merged(const struct tb_measure m[2], const struct tb_kernels *kernels, struct tb_team *team,
                                 const struct tb_allocator *a, float *const out[2][2], struct tb_error *err);

/* out as in tb_measure_output, of a cache in f32 whose tokens are recalled, `budget` of them and the newest (those not in
 * clusters yet): `at` ascending. */
bool tb_measure_recalls(const struct tb_measure *m, uint32_t budget);
enum tb_status tb_measure_recalled(const struct tb_measure *m, uint32_t budget, const struct tb_kernels *kernels,
                                   struct tb_team *team, const struct tb_allocator *a, float *out,
                                   struct tb_error *err);

#endif
