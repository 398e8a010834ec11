/* The specification of packing (simd/kvblock.h has the places). */
#include "simd/kvpack/kvpack.h"

#include <string.h>
#include "simd/kernels.h"

typedef struct tb_kv_place place_fn(size_t planes, size_t token, size_t plane);

static void pack2(unsigned char *block, const uint8_t *codes, size_t planes, place_fn *place) {
  memset(block, 0, tb_keys2_bytes(planes));
  for (size_t t = 0; t < TB_KV_BLOCK; t++)
    for (size_t c = 0; c < planes; c++) {
      struct tb_kv_place p = place(planes, t, c);
      block[p.byte] = (unsigned char)(block[p.byte] | codes[t * planes + c] << p.at);
    }
}

void tb_kvpack_keys2_ref TB_KVPACK_BLOCK_ARGS { pack2(block, codes, planes, tb_keys2_place); }
void tb_kvpack_values2_ref TB_KVPACK_BLOCK_ARGS { pack2(block, codes, planes, tb_values2_place); }

/* ⌈256·v/243⌉ keeps y/256 in [v/243, (v+1)/243): multiplying by 3 shifts the next trit into the integer part. */
void tb_kvpack_ternary_ref TB_KVPACK_BLOCK_ARGS {
  unsigned char *bytes = block;
  for (size_t t = 0; t < TB_KV_BLOCK; t += t % 4 == 3 ? 17 : 1) /* tokens of trit 0: 0-3, 20-23, … */
    for (size_t c = 0; c < planes; c++) {
      unsigned v = 0;
      for (size_t k = 0; k < 5; k++) v = 3 * v + codes[(t + 4 * k) * planes + c];
      bytes[tb_ternary_place(planes, t, c).byte] = (unsigned char)((256 * v + 242) / 243);
    }
}
