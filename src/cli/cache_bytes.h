/* Bytes of a cache, counted by the planner. */
#ifndef TB_CLI_CACHE_BYTES_H
#define TB_CLI_CACHE_BYTES_H

#include "thimble.h"

/* A model file, or the text of a shape and a weight type. */
struct cli_cache_source {
  const char *path, *shape, *type;
};

/* Bytes that one more token costs (from two sizes that every granule divides, so windows do not count) and cached
 * scalars of a token. n_ctx of the options does not matter. */
enum tb_status cli_cache_per_token(const struct cli_cache_source *source, const struct tb_context_options *options,
                                   double *bytes, double *scalars, struct tb_error *err);

#endif
