/* q4_0: ggml's blocks of 32 four-bit codes with an fp16 scale.
 * Memory: 18/32·d bytes per token and head (d = 64: 36). Error: |x - x̂| ≤ max|x| of the block / 8 (the end of the range
 * that has no code is clipped). */
#include "cache/store/rows.h"

extern const struct tb_store_ops tb_store_q4_0;
TB_ROW_STORE(q4_0);
