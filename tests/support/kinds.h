/* Plans whose caches hold more than rows: types made from a profile, clusters of recall in memory or in a file, merged layers;
 * a small model with a profile for them. */
#ifndef TB_TESTS_KINDS_H
#define TB_TESTS_KINDS_H

#include "thimble.h"

enum { KINDS = 9, KINDS_SPILLED = 3, KINDS_VOCAB = 400, KINDS_CTX = 512 };

struct tb_kind {
  const char *name, *plan;
};

/* The first KINDS can be saved; the last KINDS_SPILLED have clusters in a file, which needs a folder. */
extern const struct tb_kind kinds[KINDS + KINDS_SPILLED];

/* Writes the model and its profile and opens the model; `a` may be NULL. Fails the test when it cannot. */
struct tb_model *kinds_model(const char *model_path, const char *profile_path, const struct tb_allocator *a);
/* One thread, batches of 64, the whole context. folder: NULL but for the spilled ones. */
struct tb_context_options kinds_options(const struct tb_kind *k, const char *profile_path, const char *folder);

#endif
