/* What a cache type costs in quality: as measured on the model when its profile says so (calibrate), in nats of KL
 * divergence of the next token's distribution; until then a prior, and reports say "uncalibrated". */
#ifndef TB_CACHE_PLAN_LOSS_H
#define TB_CACHE_PLAN_LOSS_H

#include "cache/cache.h"

/* Squared error of a stored value relative to the squared values, for values of a normal distribution. False when the
 * type has no row in the table: the planner does not choose such types by itself. */
bool tb_loss_error(const char *type, double *error);

/* The layers at both ends of a model for which the planner keeps one step more. */
bool tb_loss_at_end(uint32_t layer, uint32_t n_layer);

/* The i-th type that calibrate measures, NULL behind the last. tb_loss_row: the types, then what else it measures, each of
 * which is a tensor loss.<row> of a layer (cache/profile.h). */
const char *tb_loss_type(size_t i);
const char *tb_loss_row(size_t i);

/* Whether losses of these layers were measured, and TB_E_FORMAT, naming the tensor, when that part of the profile is
 * wrong.
 */
bool tb_loss_measured(const struct tb_profile *p);
enum tb_status tb_loss_check(const struct tb_profile *p, uint32_t n_layer, struct tb_error *err);

/* Whether the planner may choose a type for a side of a layer: it was measured there, or, before anything was, it has a
 * row.
 */
bool tb_loss_known(const struct tb_kv_shape *shape, const char *type, enum tb_side side);

/* Whether a layer's merging with its neighbour (TB_MERGE_UP, TB_MERGE_DOWN) was measured on both sides. */
bool tb_loss_merge_known(const struct tb_kv_shape *shape, uint32_t with);

/* The loss of one side of one layer; sums over sides and layers. Types that nothing is known of count as exact. */
double tb_loss(const struct tb_kv_shape *shape, const char *type, enum tb_side side, uint32_t n_layer);
/* Of a whole layer with n_ctx tokens: both sides, what recall does not attend to, what directions shared with a neighbour
 * lose. */
double tb_loss_line(const struct tb_kv_shape *shape, const struct tb_plan_layer *plan, uint32_t n_layer,
                    uint32_t n_ctx);

#endif
