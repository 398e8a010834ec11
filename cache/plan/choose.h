/* The types of every layer within a budget, whether it recalls, and whether it is merged with its neighbour: candidates from the registered stores, bytes from
 * bytes.h, losses from loss.h, times from time.h, chosen exactly by solve.h. */
#ifndef TB_CACHE_PLAN_CHOOSE_H
#define TB_CACHE_PLAN_CHOOSE_H

#include "cache/cache.h"

enum { TB_OFFERS = 3 };

struct tb_choose {
  const struct tb_kv_shape *shapes;
  uint32_t n_layer, n_ctx, n_batch, n_threads;
  uint32_t window, sinks, recall, resident;
  /* A type that is fixed for all layers, or NULL: chosen among the stores that have a row in loss.c. */
  const char *type_k, *type_v;
  /* The fewest bits per value that are chosen; layers are merged only when that is 0 for both. Without measured losses, layers at the ends of the
   * model get one type more: the next better one. */
  double least_bits_k, least_bits_v;
  bool smallest; /* the smallest types allowed, whatever the budget */
  /* The least time (time.h) instead of the least loss, with options that lose no more than this in their layer, or the
   * least that any of the layer's does. 0: the least loss. */
  double most_loss;
  /* Recall that may be chosen layer by layer, but in the first two: tokens attended to and in memory (0: all). None: as
   * `recall` says. */
  struct tb_offer {
    uint32_t recall, resident;
  } offers[TB_OFFERS];
  uint32_t n_offers;
};

/* Fills plan (n_layer lines); *bytes is tb_cache_bytes' total of it and tb_cache_init_bytes, ≤ budget, *loss that of
 * loss.h. TB_E_LIMIT when even the smallest allowed types take more than the budget: then plan and *bytes are of those.
 * TB_E_UNSUPPORTED when no type suits a layer. */
enum tb_status tb_choose_plan(const struct tb_choose *c, uint64_t budget, struct tb_plan_layer *plan, uint64_t *bytes,
                              double *loss, const struct tb_allocator *a, struct tb_error *err);

/* The loss of a given plan with n_ctx tokens. */
double tb_plan_loss(const struct tb_kv_shape *shapes, const struct tb_plan_layer *plan, uint32_t n_layer,
                    uint32_t n_ctx);

#endif
