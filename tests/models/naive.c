#include "models/naive.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "simd/kernels.h"
#include "tests/check/bf16.h"

enum { MAX_TOKENS = 512 };

struct matrix {
  float *w; /* rows × k */
  size_t k, rows;
  enum tb_format format;
};

struct layer {
  struct matrix q, k, v, o, gate, up, down;
  float *attn_norm, *ffn_norm, *bq, *bk, *bv, *q_norm, *k_norm;
  double *keys, *values; /* MAX_TOKENS × n_kv·d */
};

struct naive {
  const struct tb_gguf *g;
  char arch[32];
  enum naive_rounding rounding;
  bool neox;
  uint32_t n_layer, embd, heads, kv, d, d_rot, vocab, n;
  double eps, base, scale_factor, n_orig;
  int scaling; /* 0 none, 1 linear, 2 yarn */
  float *freq_factors, *output_norm;
  struct matrix embedding, output;
  struct layer *layers;
};

static float *load(const struct tb_gguf *g, const char *name, struct matrix *m) {
  const struct tb_gguf_tensor *t = tb_gguf_tensor_find(g, name);
  if (!t) return NULL;
  struct tb_kernels k;
  tb_kernels_init(&k, 0);
  size_t rows = t->ne[1];
  float *w = malloc(t->ne[0] * rows * sizeof *w);
  for (size_t r = 0; r < rows; r++)
    k.dequant[t->format](w + r * t->ne[0], t->data + r * tb_row_bytes(t->format, t->ne[0]), t->ne[0]);
  if (m) *m = (struct matrix){w, t->ne[0], rows, t->format};
  return w;
}

static float *load_layer(const struct tb_gguf *g, uint32_t i, const char *part, struct matrix *m) {
  char name[96];
  snprintf(name, sizeof name, "blk.%u.%s", i, part);
  return load(g, name, m);
}

static uint32_t u32(const struct naive *m, const char *suffix, uint32_t value) {
  char key[96];
  snprintf(key, sizeof key, "%s.%s", m->arch, suffix);
  tb_gguf_get_u32(m->g, key, false, &value, NULL);
  return value;
}

static double f32(const struct naive *m, const char *suffix, float value) {
  char key[96];
  snprintf(key, sizeof key, "%s.%s", m->arch, suffix);
  tb_gguf_get_f32(m->g, key, false, &value, NULL);
  return value;
}

struct naive *naive_open(const struct tb_gguf *g, enum naive_rounding rounding) {
  struct naive *m = calloc(1, sizeof *m);
  struct tb_str arch = {0}, scaling = {0};
  tb_gguf_get_str(g, "general.architecture", true, &arch, NULL);
  snprintf(m->arch, sizeof m->arch, "%.*s", (int)arch.len, arch.ptr);
  m->g = g;
  m->rounding = rounding;
  m->neox = strcmp(m->arch, "llama") != 0;
  m->n_layer = u32(m, "block_count", 0);
  m->embd = u32(m, "embedding_length", 0);
  m->heads = u32(m, "attention.head_count", 0);
  m->kv = u32(m, "attention.head_count_kv", m->heads);
  m->d = u32(m, "attention.key_length", m->embd / m->heads);
  m->d_rot = u32(m, "rope.dimension_count", m->d);
  m->eps = f32(m, "attention.layer_norm_rms_epsilon", 1e-5f);
  m->base = f32(m, "rope.freq_base", 10000.0f);
  m->scale_factor = f32(m, "rope.scaling.factor", 1.0f);
  m->n_orig = u32(m, "rope.scaling.original_context_length", u32(m, "context_length", 0));
  char key[96];
  snprintf(key, sizeof key, "%s.rope.scaling.type", m->arch);
  tb_gguf_get_str(g, key, false, &scaling, NULL);
  m->scaling = tb_str_is(scaling, "yarn") ? 2 : tb_str_is(scaling, "linear") ? 1 : 0;
  m->freq_factors = load(g, "rope_freqs.weight", NULL);
  load(g, "token_embd.weight", &m->embedding);
  if (!load(g, "output.weight", &m->output)) m->output = m->embedding;
  m->output_norm = load(g, "output_norm.weight", NULL);
  m->vocab = (uint32_t)m->embedding.rows;
  m->layers = calloc(m->n_layer, sizeof *m->layers);
  for (uint32_t i = 0; i < m->n_layer; i++) {
    struct layer *l = &m->layers[i];
    load_layer(g, i, "attn_q.weight", &l->q);
    load_layer(g, i, "attn_k.weight", &l->k);
    load_layer(g, i, "attn_v.weight", &l->v);
    load_layer(g, i, "attn_output.weight", &l->o);
    load_layer(g, i, "ffn_gate.weight", &l->gate);
    load_layer(g, i, "ffn_up.weight", &l->up);
    load_layer(g, i, "ffn_down.weight", &l->down);
    l->attn_norm = load_layer(g, i, "attn_norm.weight", NULL);
    l->ffn_norm = load_layer(g, i, "ffn_norm.weight", NULL);
    l->bq = load_layer(g, i, "attn_q.bias", NULL);
    l->bk = load_layer(g, i, "attn_k.bias", NULL);
    l->bv = load_layer(g, i, "attn_v.bias", NULL);
    l->q_norm = load_layer(g, i, "attn_q_norm.weight", NULL);
    l->k_norm = load_layer(g, i, "attn_k_norm.weight", NULL);
    l->keys = calloc((size_t)MAX_TOKENS * m->kv * m->d, sizeof(double));
    l->values = calloc((size_t)MAX_TOKENS * m->kv * m->d, sizeof(double));
  }
  return m;
}

void naive_free(struct naive *m) {
  for (uint32_t i = 0; i < m->n_layer; i++) {
    struct layer *l = &m->layers[i];
    void *all[] = {l->q.w,      l->k.w, l->v.w, l->o.w, l->gate.w, l->up.w,   l->down.w, l->attn_norm,
                   l->ffn_norm, l->bq,  l->bk,  l->bv,  l->q_norm, l->k_norm, l->keys,   l->values};
    for (size_t j = 0; j < sizeof all / sizeof all[0]; j++)
      free(all[j]);
  }
  if (m->output.w != m->embedding.w) free(m->output.w);
  free(m->embedding.w);
  free(m->output_norm);
  free(m->freq_factors);
  free(m->layers);
  free(m);
}

void naive_restart(struct naive *m) { m->n = 0; }

uint32_t naive_vocab(const struct naive *m) {
  return m->vocab;
}

/* x rounded as simd/quant/quant.h states, when the matrix will be multiplied by codes. */
static void round_codes(double *x, size_t n) {
  for (size_t b = 0; b < n; b += 32) {
    float most = 0;
    for (size_t i = 0; i < 32; i++)
      most = fmaxf(most, fabsf((float)x[b + i]));
    if (most == 0) continue;
    for (size_t i = 0; i < 32; i++)
      x[b + i] = rintf((float)x[b + i] * (127.0f / most)) * (double)(most / 127.0f);
  }
}

static void multiply(const struct naive *m, double *y, const struct matrix *w, const double *x, const float *bias) {
  double *in = malloc(w->k * sizeof *in);
  memcpy(in, x, w->k * sizeof *in);
  if (m->rounding != NAIVE_EXACT && tb_formats[w->format].block_values > 1) round_codes(in, w->k);
  if (m->rounding == NAIVE_PAIRS && w->format == TB_FMT_bf16)
    for (size_t i = 0; i < w->k; i++)
      in[i] = tb_check_bf16(in[i]);
  for (size_t r = 0; r < w->rows; r++) {
    double sum = bias ? bias[r] : 0;
    for (size_t i = 0; i < w->k; i++)
      sum += w->w[r * w->k + i] * in[i];
    y[r] = sum;
  }
  free(in);
}

static void norm(double *y, const double *x, const float *w, size_t n, double eps) {
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += x[i] * x[i];
  for (size_t i = 0; i < n; i++)
    y[i] = x[i] / sqrt(sum / (double)n + eps) * w[i];
}

static double angle(const struct naive *m, uint32_t pair, uint32_t pos, double *magnitude) {
  double freq = pow(m->base, -2.0 * pair / m->d_rot);
  *magnitude = 1;
  if (m->freq_factors) freq /= m->freq_factors[pair];
  if (m->scaling == 1) freq /= m->scale_factor;
  if (m->scaling == 2) {
    double edge[2] = {32, 1};
    for (int i = 0; i < 2; i++)
      edge[i] = m->d_rot * log(m->n_orig / (edge[i] * 2 * acos(-1.0))) / (2 * log(m->base));
    double low = fmax(0, floor(edge[0])), high = fmin(m->d_rot - 1, ceil(edge[1]));
    double ramp = fmin(1, fmax(0, (pair - low) / fmax(0.001, high - low)));
    freq = freq / m->scale_factor * ramp + freq * (1 - ramp);
    *magnitude = 1 + 0.1 * log(m->scale_factor);
  }
  return pos * freq;
}

static void rotate(const struct naive *m, double *x, uint32_t pos) {
  for (uint32_t i = 0; i < m->d_rot / 2; i++) {
    double magnitude, a = angle(m, i, pos, &magnitude);
    double *p = &x[m->neox ? i : 2 * i], *q = &x[m->neox ? i + m->d_rot / 2 : 2 * i + 1];
    double c = cos(a) * magnitude, s = sin(a) * magnitude, u = *p, v = *q;
    *p = u * c - v * s;
    *q = u * s + v * c;
  }
}

static void attend(const struct naive *m, const struct layer *l, const double *q, double *out) {
  const size_t width = (size_t)m->kv * m->d;
  for (uint32_t h = 0; h < m->heads; h++) {
    const uint32_t at = h / (m->heads / m->kv) * m->d;
    double p[MAX_TOKENS], most = -INFINITY, sum = 0;
    for (uint32_t t = 0; t <= m->n; t++) {
      double dot = 0;
      for (uint32_t c = 0; c < m->d; c++)
        dot += q[h * m->d + c] * l->keys[t * width + at + c];
      p[t] = dot / sqrt(m->d);
      most = fmax(most, p[t]);
    }
    for (uint32_t t = 0; t <= m->n; t++)
      sum += p[t] = exp(p[t] - most);
    for (uint32_t c = 0; c < m->d; c++) {
      double o = 0;
      for (uint32_t t = 0; t <= m->n; t++)
        o += p[t] / sum * l->values[t * width + at + c];
      out[h * m->d + c] = o;
    }
  }
}

void naive_step(struct naive *m, tb_token token, double *logits) {
  enum { WIDEST = 1 << 14 };
  static double x[WIDEST], h[WIDEST], q[WIDEST], a[WIDEST], gate[WIDEST], up[WIDEST];
  for (uint32_t i = 0; i < m->embd; i++)
    x[i] = m->embedding.w[(size_t)token * m->embd + i];
  for (uint32_t il = 0; il < m->n_layer; il++) {
    struct layer *l = &m->layers[il];
    double *k = l->keys + (size_t)m->n * m->kv * m->d, *v = l->values + (size_t)m->n * m->kv * m->d;
    norm(h, x, l->attn_norm, m->embd, m->eps);
    multiply(m, q, &l->q, h, l->bq);
    multiply(m, k, &l->k, h, l->bk);
    multiply(m, v, &l->v, h, l->bv);
    for (uint32_t i = 0; i < m->heads; i++) {
      if (l->q_norm) norm(q + i * m->d, q + i * m->d, l->q_norm, m->d, m->eps);
      rotate(m, q + i * m->d, m->n);
    }
    for (uint32_t i = 0; i < m->kv; i++) {
      if (l->k_norm) norm(k + i * m->d, k + i * m->d, l->k_norm, m->d, m->eps);
      rotate(m, k + i * m->d, m->n);
    }
    attend(m, l, q, a);
    multiply(m, h, &l->o, a, NULL);
    for (uint32_t i = 0; i < m->embd; i++)
      x[i] += h[i];
    norm(h, x, l->ffn_norm, m->embd, m->eps);
    multiply(m, gate, &l->gate, h, NULL);
    multiply(m, up, &l->up, h, NULL);
    for (size_t i = 0; i < l->gate.rows; i++)
      gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    multiply(m, h, &l->down, gate, NULL);
    for (uint32_t i = 0; i < m->embd; i++)
      x[i] += h[i];
  }
  norm(h, x, m->output_norm, m->embd, m->eps);
  multiply(m, logits, &m->output, h, NULL);
  m->n++;
}
