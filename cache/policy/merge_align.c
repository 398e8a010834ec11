#include "cache/policy/merge.h"

/* What the profile says of a pair. */
static enum tb_status find(const struct tb_kv_shape *s, struct tb_align *p, enum tb_side side, struct tb_error *err) {
  const char *name = side == TB_SIDE_K ? "k.cross" : "v.cross";
  p->values = side == TB_SIDE_V;
  p->n = s->n_kv;
  p->d = side == TB_SIDE_K ? s->d_k : s->d_v;
  p->rotated = side == TB_SIDE_K && s->rope ? s->rope->n_rot : 0;
  const size_t each = tb_align_map_floats(p->values, p->d);
  enum tb_status status = tb_profile_get(s->profile, s->layer, name, (size_t)p->n * p->n * each, &p->cross, err);
  if (!status && !p->cross)
    status = tb_fail(err, TB_E_ARG, "merging needs a profile of the model with '%s' for layer %u", name, s->layer);
  return status;
}

enum tb_status tb_merge_align(const struct tb_kv_shape *upper, enum tb_side side, bool align, struct tb_align_map *out,
                              void *work, struct tb_error *err) {
  struct tb_align p;
  enum tb_status status = find(upper, &p, side, err);
  if (!status) tb_align_solve(&p, align, out, work);
  return status;
}

enum tb_status tb_merge_cosine(const struct tb_kv_shape *upper, enum tb_side side, bool align, double *cosine,
                               struct tb_error *err) {
  struct tb_align p;
  const float *measured;
  enum tb_status status = find(upper, &p, side, err);
  if (!status) status = tb_profile_get(upper->profile, upper->layer, "merge.cosine", 4, &measured, err);
  if (!status && !measured)
    status =
        tb_fail(err, TB_E_ARG, "merging needs a profile of the model with 'merge.cosine' for layer %u", upper->layer);
  if (!status) *cosine = measured[2 * side + align];
  return status;
}
