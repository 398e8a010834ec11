/* Profiles (cache/profile.h) made by hand. */
#ifndef TB_TESTS_PROFILE_MAKE_H
#define TB_TESTS_PROFILE_MAKE_H

#include "cache/profile.h"

struct profile_entry {
  char name[48]; /* "blk.0.kr.moment" */
  const float *values;
  size_t n;
};

/* A profile of these tensors for model 1, or a test failure. tb_profile_free gives it back. */
struct tb_profile *profile_make(const struct profile_entry *entries, size_t n);

/* The same with every tensor that a cache of n_layer equal layers can ask for: moment(i, j) of channels i and j, the same for
 * keys, values, queries and errors of the output; cross moments of layers 0 and 1 that mean nothing, which agree to 0. */
struct tb_profile *profile_complete(uint32_t n_layer, uint32_t n_kv, uint32_t d, float (*moment)(size_t i, size_t j));

/* m += the uncentred second moment of n rows of d values, ldx apart, divided by `of`. */
void profile_moment(float *m, const float *x, size_t ldx, size_t n, size_t d, double of);

#endif
