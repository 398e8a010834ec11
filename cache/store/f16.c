/* f16: rows of IEEE half floats; what most engines keep by default.
 * Memory: 2·d bytes per token and head (d = 64: 128). Error: relative 2^-11 per value, values beyond 65504 overflow. */
#include "cache/store/rows.h"

extern const struct tb_store_ops tb_store_f16;
TB_ROW_STORE(f16);
