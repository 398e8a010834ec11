/* What the row-wise stores (f32, f16, q8_0, q4_0) share: rows of one number format, head after head, so that one
 * head's rows are contiguous:  mem = [head][row][tb_row_bytes(format, d)]. Each store file adds only its format. */
#ifndef TB_CACHE_STORE_ROWS_H
#define TB_CACHE_STORE_ROWS_H

#include "cache/cache.h"

enum tb_status tb_rows_check(enum tb_format format, const struct tb_store_config *config, struct tb_error *err);
size_t tb_rows_bytes(enum tb_format format, const struct tb_store_config *config);
/* Address of a row. */
unsigned char *tb_rows_at(enum tb_format format, const struct tb_store *st, uint32_t head, uint32_t row);
void tb_rows_encode(enum tb_format format, struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, const float *x,
                    size_t ldx);
void tb_rows_score(enum tb_format format, const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n,
                   const struct tb_kv_query *q, float *s, size_t lds);
void tb_rows_accum(enum tb_format format, const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n,
                   const float *p, size_t ldp, uint32_t n_q, float *acc);
void tb_rows_fetch(enum tb_format format, const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n);
void tb_rows_expand(enum tb_format format, const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, float *x,
                    size_t ldx);

void tb_rows_span(enum tb_format format, const struct tb_store_config *config, uint32_t head, uint32_t rows,
                  size_t *offset, size_t *bytes);

/* Defines `const struct tb_store_ops tb_store_<format>`. */
#define TB_ROW_STORE(format)                                                                                           \
  static enum tb_status check(const struct tb_store_config *config, struct tb_error *err) {                            \
    return tb_rows_check(TB_FMT_##format, config, err);                                                                \
  }                                                                                                                    \
  static size_t bytes(const struct tb_store_config *config) {                                                          \
    return tb_rows_bytes(TB_FMT_##format, config);                                                                     \
  }                                                                                                                    \
  static void encode(struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, const float *x,        \
                     size_t ldx, void *scratch) {                                                                      \
    (void)pos, (void)scratch;                                                                                          \
    tb_rows_encode(TB_FMT_##format, st, head, t0, n, x, ldx);                                                          \
  }                                                                                                                    \
  static void score(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos,                   \
                    const struct tb_kv_query *q, float *s, size_t lds, void *scratch) {                                \
    (void)pos, (void)scratch;                                                                                          \
    tb_rows_score(TB_FMT_##format, st, head, t0, n, q, s, lds);                                                        \
  }                                                                                                                    \
  static void accum(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, const float *p, size_t ldp,     \
                    uint32_t n_q, float *acc, void *scratch) {                                                         \
    (void)scratch;                                                                                                     \
    tb_rows_accum(TB_FMT_##format, st, head, t0, n, p, ldp, n_q, acc);                                                 \
  }                                                                                                                    \
  static void fetch(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n) {                               \
    tb_rows_fetch(TB_FMT_##format, st, head, t0, n);                                                                   \
  }                                                                                                                    \
  static void expand(const struct tb_store *st, uint32_t head, uint32_t t0, uint32_t n, uint32_t pos, float *x,        \
                     size_t ldx, void *scratch) {                                                                      \
    (void)pos, (void)scratch;                                                                                          \
    tb_rows_expand(TB_FMT_##format, st, head, t0, n, x, ldx);                                                          \
  }                                                                                                                    \
  static void span(const struct tb_store_config *config, uint32_t head, uint32_t rows, size_t *offset,                 \
                   size_t *bytes_) {                                                                                   \
    tb_rows_span(TB_FMT_##format, config, head, rows, offset, bytes_);                                                 \
  }                                                                                                                    \
  const struct tb_store_ops tb_store_##format = {.name = #format,                                                      \
                                                 .granule = 1,                                                         \
                                                 .check = check,                                                       \
                                                 .bytes = bytes,                                                       \
                                                 .encode = encode,                                                     \
                                                 .score = score,                                                       \
                                                 .accum = accum,                                                       \
                                                 .fetch = fetch,                                                       \
                                                 .expand = expand,                                                     \
                                                 .span = span}

#endif
