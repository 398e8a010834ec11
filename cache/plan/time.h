/* What attending to a layer's cache takes per generated token: an estimate to compare options by, in microseconds on a
 * machine that reads TB_TIME_BANDWIDTH bytes per second. */
#ifndef TB_CACHE_PLAN_TIME_H
#define TB_CACHE_PLAN_TIME_H

#include "cache/cache.h"

#define TB_TIME_BANDWIDTH 20e9

/* With n tokens cached. */
double tb_time_us(const struct tb_kv_shape *shape, const struct tb_plan_layer *plan, uint32_t n);
/* Summed over the layers; f16 NULL or what f16 in all layers would take, everything attended. */
double tb_plan_us(const struct tb_kv_shape *shapes, const struct tb_plan_layer *plan, uint32_t n_layer, uint32_t n,
                  double *f16);

#endif
