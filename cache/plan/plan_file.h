/* Plan files: which store each layer uses. Text, one line per layer; '#' begins a comment:
 *
 *     thimble-plan 1
 *     # layers  keys    values    options
 *     0-1       q8_0    q8_0
 *     2-13      skvqx2  skvqx1.5  window=128 sinks=5
 *     14-15     q8_0    q4_0      recall=2048 cluster=32
 *
 * Every layer must be named exactly once. */
#ifndef TB_CACHE_PLAN_PLAN_FILE_H
#define TB_CACHE_PLAN_PLAN_FILE_H

#include "cache/cache.h"

enum { TB_PLAN_FILE_BYTES = 1 << 20 }; /* longest plan accepted */

/* Fills n_layer lines; window, sinks and recall that a line leaves out come from `defaults`. TB_E_FORMAT names line, layer and
 * field; store names are checked, head sizes are not (tb_cache_check does). */
enum tb_status tb_plan_parse(const char *text, size_t length, uint32_t n_layer, const struct tb_plan_layer *defaults,
                             struct tb_plan_layer *plan, struct tb_error *err);

/* The text of a plan, runs of equal layers joined. */
bool tb_plan_write(const struct tb_plan_layer *plan, uint32_t n_layer, tb_text_fn write, void *user);

#endif
