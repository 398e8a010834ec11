/* q8_0: ggml's blocks of 32 codes with an fp16 scale.
 * Memory: 34/32·d bytes per token and head (d = 64: 68). Error: |x - x̂| ≤ max|x| of the block / 254 + fp16 rounding of
 * the scale. */
#include "cache/store/rows.h"

extern const struct tb_store_ops tb_store_q8_0;
TB_ROW_STORE(q8_0);
