/* Inside of the skvq stores: skvq.c has the rows, skvq_groups.c the channels that share a scale. */
#ifndef TB_CACHE_STORE_SKVQ_H
#define TB_CACHE_STORE_SKVQ_H

#include "cache/cache.h"

/* What the type name says. */
struct tb_skvq {
  unsigned levels, group, clip; /* clip in percent */
  bool f16, shrink, hadamard;
};

uint32_t tb_skvq_groups(const struct tb_store_config *c, const struct tb_skvq *x);
enum tb_status tb_skvq_check_profile(const struct tb_store_config *c, struct tb_error *err);

/* The tables at the front of mem: where groups end, their clip, the order of channels and its inverse. */
size_t tb_skvq_table_bytes(const struct tb_store_config *c, const struct tb_skvq *x);
size_t tb_skvq_init_bytes(const struct tb_store_config *c);
void tb_skvq_init(struct tb_store *st, const struct tb_skvq *x, void *work);
/* The format of a row; points into the tables. */
struct tb_kvrow tb_skvq_row(const struct tb_store *st, const struct tb_skvq *x);

#endif
