/* The specification of expanding packed blocks (simd/kvdequant/kvdequant.h). */
#include "simd/kvdequant/kvdequant.h"

#include "simd/kernels.h"

void tb_kvdequant_keys2_ref TB_KVDEQUANT_KEYS_ARGS {
  const unsigned char *bytes = block;
  for (size_t t = 0; t < TB_KV_BLOCK; t++)
    for (size_t c = 0; c < planes; c++) {
      struct tb_kv_place p = tb_keys2_place(planes, t, c);
      float product = (float)(bytes[p.byte] >> p.at & 3) * step[c];
      x[t * ldx + c] = product + (low ? low[c] : x[t * ldx + c]);
    }
}

static float stored(float product, bool add, float old) { return add ? old + product : product; }

void tb_kvdequant_values2_ref TB_KVDEQUANT_VALUES_ARGS {
  const unsigned char *bytes = block;
  for (size_t t = 0; t < TB_KV_BLOCK; t++)
    for (size_t c = 0; c < planes; c++) {
      struct tb_kv_place p = tb_values2_place(planes, t, c);
      float u = (float)(bytes[p.byte] >> p.at & 3) - 1.5f;
      x[t * ldx + c] = stored(u * step[t], add, x[t * ldx + c]);
    }
}

void tb_kvdequant_ternary_ref TB_KVDEQUANT_VALUES_ARGS {
  static const unsigned power[5] = {1, 3, 9, 27, 81};
  const unsigned char *bytes = block;
  for (size_t t = 0; t < TB_KV_BLOCK; t++)
    for (size_t c = 0; c < planes; c++) {
      struct tb_kv_place p = tb_ternary_place(planes, t, c);
      float u = (float)((bytes[p.byte] * power[p.at] & 255) * 3 >> 8) - 1.0f;
      x[t * ldx + c] = stored(u * step[t], add, x[t * ldx + c]);
    }
}
