/* Inside of the cskv store (cskv.c says what it is). */
#ifndef TB_CACHE_STORE_CSKV_H
#define TB_CACHE_STORE_CSKV_H

#include "cache/cache.h"

enum tb_cskv_method { TB_CSKV_SVD, TB_CSKV_ASVD, TB_CSKV_CLOSED, TB_CSKV_WEIGHTED };

/* What the type name says. */
struct tb_cskv {
  uint32_t rank; /* latents of a token, for all heads together */
  enum tb_format format;
  enum tb_cskv_method method;
};

/* cskv_factor.c: the two factors at the front of mem, rank rows of n_heads·d each: latents are down·x, rows upᵀ·c. */
enum tb_status tb_cskv_factor_check(const struct tb_store_config *c, const struct tb_cskv *j, struct tb_error *err);
size_t tb_cskv_factor_bytes(const struct tb_store_config *c);
void tb_cskv_factor(const struct tb_store_config *c, const struct tb_cskv *j, float *down, float *up, void *work);

#endif
