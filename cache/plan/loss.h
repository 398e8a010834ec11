/* What a cache type costs in quality, before anything was measured on the model: an uncalibrated prior. A calibration
 * replaces it; until then reports say "uncalibrated". */
#ifndef TB_CACHE_PLAN_LOSS_H
#define TB_CACHE_PLAN_LOSS_H

#include "cache/cache.h"

/* Squared error of a stored value relative to the squared values, for values of a normal distribution. False when the
 * type has no row in the table: the planner does not choose such types by itself. */
bool tb_loss_error(const char *type, double *error);

/* The layers at both ends of a model for which the planner keeps one step more. */
bool tb_loss_at_end(uint32_t layer, uint32_t n_layer);

/* The prior loss of one side of one layer; sums over sides and layers. Types without a row count as exact. */
double tb_loss(const char *type, enum tb_side side, uint32_t layer, uint32_t n_layer);

#endif
