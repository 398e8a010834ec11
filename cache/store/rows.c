#include "cache/store/rows.h"
#include "cache/store/fetch.h"

enum { MAX_HEAD_SIZE = 512 }; /* limit of the attention kernels */

enum tb_status tb_rows_check(enum tb_format format, const struct tb_store_config *config, struct tb_error *err) {
  const struct tb_format_info *info = &tb_formats[format];
  if (config->args)
    return tb_fail(err, TB_E_ARG, "cache type %s takes no parameter, found ':%s'", info->name, config->args);
  if (config->d == 0 || config->d > MAX_HEAD_SIZE)
    return tb_fail(err, TB_E_UNSUPPORTED, "cache type %s: head size %u is not in 1..%d", info->name, config->d,
                   MAX_HEAD_SIZE);
  if (config->d % info->block_values != 0)
    return tb_fail(err, TB_E_UNSUPPORTED, "cache type %s: head size %u is not a multiple of %u", info->name, config->d,
                   info->block_values);
  return TB_OK;
}

size_t tb_rows_bytes(enum tb_format format, const struct tb_store_config *config) {
  return (size_t)config->n_heads * config->cap * tb_row_bytes(format, config->d);
}

unsigned char *tb_rows_at(enum tb_format format, const struct tb_store *st, uint32_t head, uint32_t row) {
  return st->mem + ((size_t)head * st->config.cap + row) * tb_row_bytes(format, st->config.d);
}

void tb_rows_encode(enum tb_format format, struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, const float *x,
                    size_t ldx) {
  for (uint32_t i = 0; i < n; i++)
    st->kernels->kvpack[format](tb_rows_at(format, st, head, t0 + i), x + i * ldx, st->config.d);
}

void tb_rows_score(enum tb_format format, const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n,
                   const struct tb_kv_query *q, float *s, size_t lds) {
  st->kernels->attn_score[format](s, lds, &q->acts, q->n_q, tb_rows_at(format, st, head, t0),
                                  tb_row_bytes(format, st->config.d), n, st->config.d);
}

void tb_rows_accum(enum tb_format format, const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n,
                   const float *p, size_t ldp, uint32_t n_q, float *acc) {
  st->kernels->attn_accum[format](acc, p, ldp, n_q, tb_rows_at(format, st, head, t0),
                                  tb_row_bytes(format, st->config.d), n, st->config.d);
}

void tb_rows_fetch(enum tb_format format, const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n) {
  tb_fetch(tb_rows_at(format, st, head, t0), n * tb_row_bytes(format, st->config.d));
}

void tb_rows_expand(enum tb_format format, const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, float *x,
                    size_t ldx) {
  for (uint32_t i = 0; i < n; i++)
    st->kernels->kvdequant[format](x + i * ldx, tb_rows_at(format, st, head, t0 + i), st->config.d);
}

void tb_rows_span(enum tb_format format, const struct tb_store_config *config, uint32_t head, uint32_t rows,
                  size_t *offset, size_t *bytes) {
  const size_t row = tb_row_bytes(format, config->d);
  *offset = (size_t)head * config->cap * row;
  *bytes = rows * row;
}
