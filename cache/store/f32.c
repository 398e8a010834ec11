/* f32: rows of floats. The oracle: every other store is measured against it.
 * Memory: 4·d bytes per token and head (d = 64: 256). Error: none. */
#include "cache/store/rows.h"

extern const struct tb_store_ops tb_store_f32;
TB_ROW_STORE(f32);
