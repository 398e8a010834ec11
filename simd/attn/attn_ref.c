/* The specification of the attention kernels (simd/attn/attn.h). */
#include "simd/attn/attn.h"

#include <math.h>
#include <string.h>
#include "simd/formats.h"
#include "simd/half.h"
#include "simd/kernels.h"
#include "simd/vec/exp_fast.h"

/* Towards zero; 0 for what is no number. */
static int whole(float x) { return x == x ? (int)x : 0; }

enum { MAX_D = 512 };

/* Sixteen partial sums to one, in the order that vector registers halve. */
static float fold16(const float s[16]) {
  float f[8];
  for (int i = 0; i < 8; i++) f[i] = s[i] + s[i + 8];
  for (int i = 0; i < 4; i++) f[i] += f[i + 4];
  return (f[0] + f[1]) + (f[2] + f[3]);
}

/* ------------------------------------------------------------------------------------------- rows of floats */

static void score_float(float *s, size_t lds, const struct tb_acts *q, size_t n_q, const void *k, size_t stride,
                        size_t n, size_t d, tb_kvdequant_t *dequant) {
  float row[MAX_D] = {0}, query[MAX_D] = {0};
  for (size_t t = 0; t < n; t++) {
    dequant(row, (const unsigned char *)k + t * stride, d);
    for (size_t g = 0; g < n_q; g++) {
      float sum[16] = {0};
      memcpy(query, q->f + g * q->ldf, d * sizeof *query);
      for (size_t c = 0; c < (d + 15) / 16 * 16; c++) sum[c % 16] = fmaf(row[c], query[c], sum[c % 16]);
      s[g * lds + t] = fold16(sum);
    }
  }
}

static void accum_float(float *acc, const float *p, size_t ldp, size_t n_q, const void *v, size_t stride, size_t n,
                        size_t d, tb_kvdequant_t *dequant) {
  float row[MAX_D];
  for (size_t g = 0; g < n_q; g++)
    for (size_t t0 = 0; t0 < n; t0 += 32) {
      float sum[MAX_D] = {0};
      for (size_t t = t0; t < n && t < t0 + 32; t++) {
        dequant(row, (const unsigned char *)v + t * stride, d);
        for (size_t c = 0; c < d; c++) sum[c] = fmaf(p[g * ldp + t], row[c], sum[c]);
      }
      for (size_t c = 0; c < d; c++) acc[g * d + c] += sum[c];
    }
}

#define ATTN_FLOAT(fmt)                                                                                                \
  void tb_attn_score_##fmt##_ref TB_ATTN_SCORE_ARGS {                                                                  \
    score_float(s, lds, q, n_q, k, stride, n, d, tb_kvdequant_##fmt##_ref);                                            \
  }                                                                                                                    \
  void tb_attn_accum_##fmt##_ref TB_ATTN_ACCUM_ARGS {                                                                  \
    accum_float(acc, p, ldp, n_q, v, stride, n, d, tb_kvdequant_##fmt##_ref);                                          \
  }
ATTN_FLOAT(f32)
ATTN_FLOAT(f16)

/* ------------------------------------------------------------------------------------------- rows of blocks */

typedef int code_at(const unsigned char *block, size_t i);
static int code_q8_0(const unsigned char *b, size_t i) { return (int8_t)b[2 + i]; }
static int code_q4_0(const unsigned char *b, size_t i) { return (i < 16 ? b[2 + i] & 15 : b[2 + i - 16] >> 4) - 8; }

static void score_blocks(float *s, size_t lds, const struct tb_acts *q, size_t n_q, const void *k, size_t stride,
                         size_t n, size_t d, code_at *code, size_t bytes) {
  for (size_t g = 0; g < n_q; g++)
    for (size_t t = 0; t < n; t++) {
      float sum = 0;
      for (size_t b = 0; b < d / 32; b++) {
        const unsigned char *block = (const unsigned char *)k + t * stride + b * bytes;
        int dot = 0;
        for (size_t i = 0; i < 32; i++) dot += code(block, i) * q->q[g * d + b * 32 + i];
        sum += tb_load_f16(block) * q->d[g * (d / 32) + b] * (float)dot;
      }
      s[g * lds + t] = sum;
    }
}

static void accum_blocks(float *acc, const float *p, size_t ldp, size_t n_q, const void *v, size_t stride, size_t n,
                         size_t d, code_at *code, size_t bytes) {
  for (size_t g = 0; g < n_q; g++)
    for (size_t c = 0; c < d; c++)
      for (size_t t0 = 0; t0 < n; t0 += 32) {
        float sum = 0;
        for (size_t t = t0; t < n && t < t0 + 32; t++) {
          const unsigned char *block = (const unsigned char *)v + t * stride + c / 32 * bytes;
          sum = fmaf(p[g * ldp + t] * tb_load_f16(block), (float)code(block, c % 32), sum);
        }
        acc[g * d + c] += sum;
      }
}

#define ATTN_BLOCKS(fmt, bytes)                                                                                        \
  void tb_attn_score_##fmt##_ref TB_ATTN_SCORE_ARGS {                                                                  \
    score_blocks(s, lds, q, n_q, k, stride, n, d, code_##fmt, bytes);                                                  \
  }                                                                                                                    \
  void tb_attn_accum_##fmt##_ref TB_ATTN_ACCUM_ARGS {                                                                  \
    accum_blocks(acc, p, ldp, n_q, v, stride, n, d, code_##fmt, bytes);                                                \
  }
ATTN_BLOCKS(q8_0, 34)
ATTN_BLOCKS(q4_0, 18)

/* -------------------------------------------------------------------------------------------------- softmax */

float tb_attn_max_ref(const float *s, size_t n) {
  float m = s[0];
  for (size_t i = 1; i < n; i++) m = s[i] > m ? s[i] : m;
  return m;
}

static float exp_fast(float x) {
  if (x < TB_EXP_ZERO) return 0.0f;
  float t = fmaf(x, TB_EXP_LOG2E, TB_EXP_SHIFT), n = t - TB_EXP_SHIFT;
  float f = fmaf(x, TB_EXP_LOG2E, -n);
  float p = fmaf(fmaf(fmaf(fmaf(TB_EXP_C4, f, TB_EXP_C3), f, TB_EXP_C2), f, TB_EXP_C1), f, 1.0f);
  return ldexpf(p, whole(n));
}

float tb_attn_exp_ref(float *s, size_t n, float m) {
  float sum[16] = {0};
  for (size_t i = 0; i < n; i++) {
    s[i] = exp_fast(s[i] - m);
    sum[i % 16] += s[i];
  }
  return fold16(sum);
}

/* ---------------------------------------------------------------------------------------------------- tiles */

void tb_tile_qk_ref(float *s, size_t lds, const float *q, size_t ldq, size_t nq, const float *k, size_t ldk, size_t nk,
                    size_t d) {
  for (size_t i = 0; i < nq; i++)
    for (size_t t = 0; t < nk; t++)
      for (size_t c0 = 0; c0 < d; c0 += TB_TILE_STEP) {
        float sum = 0;
        for (size_t c = c0; c < d && c < c0 + TB_TILE_STEP; c++) sum = fmaf(q[i * ldq + c], k[t * ldk + c], sum);
        s[i * lds + t] = c0 == 0 ? sum : s[i * lds + t] + sum;
      }
}

void tb_tile_pv_ref(float *o, size_t ldo, const float *p, size_t ldp, size_t nq, const float *v, size_t ldv, size_t nk,
                    size_t d) {
  for (size_t i = 0; i < nq; i++)
    for (size_t c = 0; c < d; c++)
      for (size_t t0 = 0; t0 < nk; t0 += TB_TILE_STEP) {
        float sum = 0;
        for (size_t t = t0; t < nk && t < t0 + TB_TILE_STEP; t++) sum = fmaf(p[i * ldp + t], v[t * ldv + c], sum);
        o[i * ldo + c] += sum;
      }
}

/* ---------------------------------------------------------------------------------------------- stored rows */

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
    for (size_t j = 0; j < 32; j++) b[2 + j] = (unsigned char)whole(rintf(x[i + j] * inverse));
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
      int lo = whole(x[i + j] * inverse + 8.5f), hi = whole(x[i + j + 16] * inverse + 8.5f);
      lo = lo < 15 ? lo : 15;
      hi = hi < 15 ? hi : 15;
      b[2 + j] = (unsigned char)(lo | hi << 4);
    }
  }
}
void tb_kvdequant_q4_0_ref(float *x, const void *row, size_t d) { tb_dequant_q4_0_ref(x, row, d); }
