/* Inside of choose.c: what every layer may have, and every two neighbours together. */
#ifndef TB_CACHE_PLAN_CHOOSE_OPTIONS_H
#define TB_CACHE_PLAN_CHOOSE_OPTIONS_H

#include "cache/plan/choose.h"
#include "cache/plan/solve.h"

/* Memory of the caller: choices n_layer, the others tb_choose_most_options. */
struct tb_choose_lists {
  struct tb_choice *choices;
  struct tb_option *options;   /* of all layers */
  struct tb_plan_layer *lines; /* parallel to options; of a pair: the lower layer's */
  size_t used;
};

size_t tb_choose_most_options(const struct tb_choose *c);
/* TB_E_UNSUPPORTED when a layer has none. */
enum tb_status tb_choose_list(const struct tb_choose *c, struct tb_choose_lists *l, struct tb_error *err);
/* A cache of n layers from `first` on, which lines describe. */
struct tb_cache_config tb_choose_config(const struct tb_choose *c, uint32_t first, uint32_t n,
                                        const struct tb_plan_layer *lines);
/* The line of a pair's upper layer. */
struct tb_plan_layer tb_choose_upper(const struct tb_plan_layer *lower);

#endif
