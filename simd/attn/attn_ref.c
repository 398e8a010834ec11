/* The specification of the attention kernels (simd/attn/attn.h). */
#include "simd/attn/attn.h"

#include <math.h>
#include <string.h>
#include "simd/formats.h"
#include "simd/half.h"
#include "simd/kernels.h"

enum { MAX_D = 512 };

static void score(float *s, size_t lds, const struct tb_acts *q, size_t n_q, const void *k, size_t stride, size_t n,
                  size_t d, tb_kvdequant_t *dequant, int codes) {
  float row[MAX_D];
  for (size_t t = 0; t < n; t++) {
    dequant(row, (const unsigned char *)k + t * stride, d);
    for (size_t g = 0; g < n_q; g++) {
      double sum = 0;
      for (size_t c = 0; c < d; c++) {
        double a = codes ? (double)q->d[(g * d + c) / 32] * q->q[g * d + c] : q->f[g * q->ldf + c];
        sum += row[c] * a;
      }
      s[g * lds + t] = (float)sum;
    }
  }
}

static void accum(float *acc, const float *p, size_t ldp, size_t n_q, const void *v, size_t stride, size_t n, size_t d,
                  tb_kvdequant_t *dequant) {
  float row[MAX_D];
  for (size_t g = 0; g < n_q; g++) {
    double sum[MAX_D] = {0};
    for (size_t t = 0; t < n; t++) {
      dequant(row, (const unsigned char *)v + t * stride, d);
      for (size_t c = 0; c < d; c++) sum[c] += (double)p[g * ldp + t] * row[c];
    }
    for (size_t c = 0; c < d; c++) acc[g * d + c] = (float)(acc[g * d + c] + sum[c]);
  }
}

#define ATTN(fmt, codes)                                                                                               \
  void tb_attn_score_##fmt##_ref TB_ATTN_SCORE_ARGS {                                                                  \
    score(s, lds, q, n_q, k, stride, n, d, tb_kvdequant_##fmt##_ref, codes);                                           \
  }                                                                                                                    \
  void tb_attn_accum_##fmt##_ref TB_ATTN_ACCUM_ARGS {                                                                  \
    accum(acc, p, ldp, n_q, v, stride, n, d, tb_kvdequant_##fmt##_ref);                                                \
  }
ATTN(f32, 0)
ATTN(f16, 0)
ATTN(q8_0, 1)
ATTN(q4_0, 1)

float tb_attn_max_ref(const float *s, size_t n) {
  float m = s[0];
  for (size_t i = 1; i < n; i++) m = s[i] > m ? s[i] : m;
  return m;
}

float tb_attn_exp_ref(float *s, size_t n, float m) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += s[i] = (float)exp((double)s[i] - m);
  return (float)sum;
}

void tb_tile_qk_ref(float *s, size_t lds, const float *q, size_t ldq, size_t nq, const float *k, size_t ldk, size_t nk,
                    size_t d) {
  for (size_t i = 0; i < nq; i++)
    for (size_t t = 0; t < nk; t++) {
      double sum = 0;
      for (size_t c = 0; c < d; c++) sum += (double)q[i * ldq + c] * k[t * ldk + c];
      s[i * lds + t] = (float)sum;
    }
}

void tb_tile_pv_ref(float *o, size_t ldo, const float *p, size_t ldp, size_t nq, const float *v, size_t ldv, size_t nk,
                    size_t d) {
  for (size_t i = 0; i < nq; i++)
    for (size_t c = 0; c < d; c++) {
      double sum = 0;
      for (size_t t = 0; t < nk; t++) sum += (double)p[i * ldp + t] * v[t * ldv + c];
      o[i * ldo + c] = (float)(o[i * ldo + c] + sum);
    }
}

/* ------------------------------------------------------------------------------------------------- stored rows */

void tb_kvpack_f32_ref(void *row, const float *x, size_t d) { memcpy(row, x, d * sizeof *x); }
void tb_kvdequant_f32_ref(float *x, const void *row, size_t d) { memcpy(x, row, d * sizeof *x); }

void tb_kvpack_f16_ref(void *row, const float *x, size_t d) {
  for (size_t i = 0; i < d; i++) {
    uint16_t h = tb_f32_to_f16(x[i]);
    memcpy((unsigned char *)row + 2 * i, &h, 2);
  }
}
void tb_kvdequant_f16_ref(float *x, const void *row, size_t d) { tb_dequant_f16_ref(x, row, d); }

/* q8_0: d = max|x| / 127 stored as fp16, codes from the unrounded d, half to even. */
void tb_kvpack_q8_0_ref(void *row, const float *x, size_t d) {
  unsigned char *b = row;
  for (size_t i = 0; i < d; i += 32, b += 34) {
    float m = 0;
    for (size_t j = 0; j < 32; j++) m = fmaxf(m, fabsf(x[i + j]));
    float inverse = m > 0 ? 127.0f / m : 0.0f;
    if (inverse > 3.4e38f) inverse = 0.0f;
    uint16_t h = tb_f32_to_f16(m / 127.0f);
    memcpy(b, &h, 2);
    for (size_t j = 0; j < 32; j++) b[2 + j] = (unsigned char)(int8_t)rintf(x[i + j] * inverse);
  }
}
void tb_kvdequant_q8_0_ref(float *x, const void *row, size_t d) { tb_dequant_q8_0_ref(x, row, d); }

/* q4_0: d = (the value of largest magnitude, with its sign; the first one of equals) / -8 as fp16; codes 0..15 are
 * min(15, floor(x/d + 8.5)) with the unrounded d. */
void tb_kvpack_q4_0_ref(void *row, const float *x, size_t d) {
  unsigned char *b = row;
  for (size_t i = 0; i < d; i += 32, b += 18) {
    float extreme = 0;
    for (size_t j = 0; j < 32; j++)
      if (fabsf(x[i + j]) > fabsf(extreme)) extreme = x[i + j];
    float scale = extreme / -8.0f;
    float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    if (fabsf(inverse) > 3.4e38f) inverse = 0.0f;
    uint16_t h = tb_f32_to_f16(scale);
    memcpy(b, &h, 2);
    for (size_t j = 0; j < 16; j++) {
      int lo = (int)(x[i + j] * inverse + 8.5f), hi = (int)(x[i + j + 16] * inverse + 8.5f);
      lo = lo < 15 ? lo : 15;
      hi = hi < 15 ? hi : 15;
      b[2 + j] = (unsigned char)(lo | hi << 4);
    }
  }
}
void tb_kvdequant_q4_0_ref(float *x, const void *row, size_t d) { tb_dequant_q4_0_ref(x, row, d); }
