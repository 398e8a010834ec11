#include "bench/kernels_attention.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "simd/half.h"
#include "simd/isa.h"
#include "simd/kernels.h"

enum { HEAD_MAX = 512 };

/* Keys and values of one KV head as a store keeps them: blocks behind each other, codes first, then what belongs to the
 * block (steps and midpoints; token scales). */
struct stream {
  const struct kernels_options *o;
  struct tb_kernels k;
  bool ternary;
  unsigned char *keys, *values;
  size_t key_bytes, value_bytes; /* of a block */
  size_t blocks;
  const float *q;
};

/* A part of the blocks: scores, running softmax, weighted sum, as decoding does it. */
static void stream_task(void *arg, size_t task, unsigned thread) {
  (void)thread;
  const struct stream *s = arg;
  const size_t planes = s->o->head, heads = s->o->heads, share = s->blocks / s->o->threads;
  int8_t folded[KERNELS_HEADS * HEAD_MAX], w[KERNELS_HEADS * TB_KV_BLOCK] __attribute__((aligned(64)));
  float scores[KERNELS_HEADS * TB_KV_BLOCK] __attribute__((aligned(64))), out[KERNELS_HEADS * HEAD_MAX];
  float a[KERNELS_HEADS], b[KERNELS_HEADS], top[KERNELS_HEADS], sum[KERNELS_HEADS];
  memset(out, 0, sizeof out);
  for (size_t g = 0; g < heads; g++) {
    top[g] = -INFINITY;
    sum[g] = 0;
  }
  for (size_t i = task * share; i < (task + 1) * share; i++) {
    const unsigned char *key = s->keys + i * s->key_bytes, *value = s->values + i * s->value_bytes;
    const uint16_t *step = (const uint16_t *)(const void *)(key + tb_keys2_bytes(planes));
    s->k.attn_fold(folded, a, b, s->q, planes, heads, step, step + planes, planes);
    s->k.attn_score_keys2(scores, TB_KV_BLOCK, folded, a, b, false, heads, key, planes, 0, TB_KV_BLOCK);
    for (size_t g = 0; g < heads; g++) {
      float *sg = scores + g * TB_KV_BLOCK, most = s->k.attn_max(sg, TB_KV_BLOCK);
      if (most > top[g]) {
        const float shrink = expf(top[g] - most);
        for (size_t c = 0; c < planes; c++) out[g * planes + c] *= shrink;
        sum[g] *= shrink;
        top[g] = most;
      }
      sum[g] += s->k.attn_exp(sg, TB_KV_BLOCK, top[g]);
    }
    const uint8_t *scale = value + (s->ternary ? tb_ternary_bytes(planes) : tb_values2_bytes(planes));
    s->k.attn_weights(w, a, b, scores, TB_KV_BLOCK, heads, scale, tb_scale8_base_bits(-12), s->ternary ? 1.0f : 1.5f,
                      TB_KV_BLOCK);
    (s->ternary ? s->k.attn_accum_ternary : s->k.attn_accum_values2)(out, planes, w, a, b, heads, value, planes, 0,
                                                                       TB_KV_BLOCK);
  }
  volatile float keep = out[0] + sum[0];
  (void)keep;
}

/* One block of random codes; the scores of a head then spread by about 2.5, as a trained head's do: a few tokens of a
 * block hold the weight. */
static void stream_block(const struct stream *s, unsigned char *key, unsigned char *value, struct tb_rng *rng) {
  const size_t planes = s->o->head, bytes = s->ternary ? tb_ternary_bytes(planes) : tb_values2_bytes(planes);
  uint16_t *step = (uint16_t *)(void *)(key + tb_keys2_bytes(planes));
  for (size_t j = 0; j < tb_keys2_bytes(planes); j++) key[j] = (unsigned char)tb_rng_next(rng);
  for (size_t c = 0; c < planes; c++) {
    step[c] = tb_f32_to_f16(0.7f + 0.3f * tb_rng_unit(rng));
    step[planes + c] = tb_f32_to_f16(0.2f * tb_rng_normal(rng));
  }
  for (size_t j = 0; j < bytes; j++)
    value[j] = (unsigned char)(s->ternary ? (256 * (tb_rng_next(rng) % 243) + 242) / 243 : tb_rng_next(rng));
  for (size_t t = 0; t < TB_KV_BLOCK; t++) value[bytes + t] = (uint8_t)(160 + tb_rng_next(rng) % 64);
}

static void stream_fill(struct stream *s) {
  struct tb_rng rng = {5};
  for (size_t i = 0; i < s->blocks; i++) {
    unsigned char *key = s->keys + i * s->key_bytes, *value = s->values + i * s->value_bytes;
    if (i < 64) {
      stream_block(s, key, value, &rng);
    } else { /* the rest repeats */
      memcpy(key, key - 64 * s->key_bytes, s->key_bytes);
      memcpy(value, value - 64 * s->value_bytes, s->value_bytes);
    }
  }
}

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double time_stream(const struct stream *s, struct tb_team *team) {
  enum { PASSES = 15 };
  double least = INFINITY;
  for (int i = 0; i < PASSES; i++) {
    const double start = cpu_seconds();
    tb_parallel_for(team, s->o->threads, stream_task, (void *)(uintptr_t)s);
    least = fmin(least, cpu_seconds() - start);
  }
  return least / (double)(s->blocks / s->o->threads * s->o->threads * TB_KV_BLOCK);
}

/* False when out of memory; *more: whether to go on. */
static bool attention(const struct kernels_options *o, unsigned isa, struct tb_team *team, bool ternary, float *q,
                      struct kernels_result *r) {
  const size_t codes = ternary ? tb_ternary_bytes(o->head) : tb_values2_bytes(o->head);
  struct stream s = {.o = o, .ternary = ternary, .key_bytes = tb_keys2_bytes(o->head) + 4 * o->head, .value_bytes = codes + 192, .q = q};
  tb_kernels_init(&s.k, isa);
  s.blocks = (o->mib << 20) / (s.key_bytes + s.value_bytes);
  if (s.blocks < o->threads) s.blocks = o->threads;
  s.keys = tb_alloc(&tb_system_allocator, s.blocks, s.key_bytes);
  s.values = tb_alloc(&tb_system_allocator, s.blocks, s.value_bytes);
  const bool ok = s.keys && s.values;
  if (ok) {
    stream_fill(&s);
    *r = (struct kernels_result){.seconds = time_stream(&s, team), .reference = NAN, .peak = NAN, .memory = NAN, .roof = NAN};
    snprintf(r->name, sizeof r->name, "kv_attention/%s/%s", ternary ? "ternary" : "values2", tb_isa_name(isa));
    r->bytes = (double)(s.key_bytes + s.value_bytes) / TB_KV_BLOCK;
    r->macs = 2 * (double)(o->head * o->heads);
  }
  tb_free(&tb_system_allocator, s.keys);
  tb_free(&tb_system_allocator, s.values);
  return ok;
}

bool kernels_attention(const struct kernels_options *o, unsigned isa, struct tb_team *team,
                       bool each(void *user, const struct kernels_result *r), void *user) {
  float q[KERNELS_HEADS * HEAD_MAX];
  struct tb_rng rng = {6};
  for (size_t i = 0; i < o->heads * o->head; i++) q[i] = 2.5f / sqrtf((float)o->head) * tb_rng_normal(&rng);
  for (int ternary = 0; ternary < 2; ternary++) {
    struct kernels_result r;
    if (o->filter && !strstr(ternary ? "kv_attention/ternary" : "kv_attention/values2", o->filter)) continue;
    if (!attention(o, isa, team, ternary, q, &r)) return false;
    if (!each(user, &r)) break;
  }
  return true;
}
