#include "bench/kernels_kv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "simd/half.h"
#include "simd/isa.h"
#include "simd/kernels.h"

enum { BLOCKS = 8, HEADS_MAX = 8 };

/* One block of everything a row may take. Blocks lie `bytes` apart. */
struct data {
  size_t planes, heads;
  uint8_t *codes, *quantised;
  unsigned char *block;
  float *x, *q, *scores, *out;
  uint16_t step[TB_KV_PLANES_MAX], mid[TB_KV_PLANES_MAX], fit[2 * TB_KV_PLANES_MAX];
  float step_f[TB_KV_PLANES_MAX], low_f[TB_KV_PLANES_MAX];
  uint8_t scale[TB_KV_BLOCK];
  float gain[TB_KV_BLOCK];
  int8_t *folded, weights[HEADS_MAX * TB_KV_BLOCK];
  float a[HEADS_MAX], b[HEADS_MAX];
  struct tb_kvrow rows;
  uint16_t ends[TB_KVROW_MAX / 64];
  int16_t order[TB_KVROW_MAX], place[TB_KVROW_MAX];
  float clip[TB_KVROW_MAX / 64];
};

typedef void kernel_fn(void);
typedef void call_fn(struct data *d, kernel_fn *fn, unsigned char *block);

static void *get(size_t bytes) {
  void *p = tb_alloc(&tb_system_allocator, bytes, 1);
  if (!p) {
    fprintf(stderr, "kernels_bench: out of memory\n");
    exit(1);
  }
  return p;
}

static double seconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------------------------------------ one call each */

#define CALL(fn) static void call_##fn(struct data *d, kernel_fn *kernel, unsigned char *block)
CALL(kvquant_fit) {
  (void)block;
  ((tb_kvquant_fit_t *)kernel)(d->fit, d->fit + d->planes, d->x, d->planes, 0.7f, 2, 4, d->planes);
}
CALL(kvquant_keys) {
  (void)block;
  ((tb_kvquant_keys_t *)kernel)(d->quantised, NULL, d->x, d->planes, d->step, d->mid, d->planes);
}
CALL(kvquant_values) {
  (void)block;
  ((tb_kvquant_values_t *)kernel)(d->quantised, NULL, d->gain, d->x, d->planes, 0, 4, d->planes);
}
CALL(kvpack_keys2) { ((tb_kvpack_keys2_t *)kernel)(block, d->codes, d->planes); }
CALL(kvpack_values2) { ((tb_kvpack_values2_t *)kernel)(block, d->codes, d->planes); }
CALL(kvpack_ternary) { ((tb_kvpack_ternary_t *)kernel)(block, d->codes, d->planes); }
CALL(kvdequant_keys2) {
  ((tb_kvdequant_keys2_t *)kernel)(d->x, d->planes, block, d->step_f, d->low_f, d->planes);
}
CALL(kvdequant_values2) {
  ((tb_kvdequant_values2_t *)kernel)(d->x, d->planes, block, d->step_f, false, d->planes);
}
CALL(kvdequant_ternary) {
  ((tb_kvdequant_ternary_t *)kernel)(d->x, d->planes, block, d->step_f, false, d->planes);
}
CALL(attn_fold) {
  (void)block;
  ((tb_attn_fold_t *)kernel)(d->folded, d->a, d->b, d->q, d->planes, d->heads, d->step, d->mid, d->planes);
}
CALL(attn_score_keys2) {
  ((tb_attn_score_keys2_t *)kernel)(d->scores, TB_KV_BLOCK, d->folded, d->a, d->b, false, d->heads, block, d->planes);
}
CALL(attn_weights) {
  (void)block;
  ((tb_attn_weights_t *)kernel)(d->weights, d->a, d->b, d->scores, TB_KV_BLOCK, d->heads, d->scale,
                                tb_scale8_base_bits(-12), 1.5f);
}
CALL(attn_accum_values2) {
  ((tb_attn_accum_values2_t *)kernel)(d->out, d->planes, d->weights, d->a, d->b, d->heads, block, d->planes);
}
CALL(attn_accum_ternary) {
  ((tb_attn_accum_ternary_t *)kernel)(d->out, d->planes, d->weights, d->a, d->b, d->heads, block, d->planes);
}
/* Rows of 8 KV heads, an eighth of a block of them; 64 channels to a group, the heads' channels mixed. */
CALL(kvrow_pack) {
  ((tb_kvrow_pack_t *)kernel)(block, tb_kvrow_bytes(&d->rows), &d->rows, d->x, 8 * d->planes, TB_KV_BLOCK / 8);
}
CALL(kvrow_expand) {
  const size_t width = 8 * d->planes;
  ((tb_kvrow_expand_t *)kernel)(d->x, width, &d->rows, block, tb_kvrow_bytes(&d->rows), TB_KV_BLOCK / 8, 0, width);
}
#undef CALL

/* Room for any packed form. */
static size_t block_bytes(size_t planes) { return 2 * tb_keys2_bytes(planes); }

static void rows_new(struct data *d) {
  const size_t width = 8 * d->planes, groups = width / 64;
  for (size_t g = 0; g < groups; g++) {
    d->ends[g] = (uint16_t)(64 * (g + 1));
    d->clip[g] = 0.92f;
  }
  for (size_t c = 0; c < width; c++) {
    const size_t from = c % 8 * d->planes + c / 8; /* a channel of each head in turn */
    d->order[c] = (int16_t)from;
    d->place[from] = (int16_t)c;
  }
  d->rows = (struct tb_kvrow){4, width, groups, d->ends, d->clip, d->order, d->place, false, true};
}

static void data_new(struct data *d, size_t planes, size_t heads) {
  struct tb_rng rng = {3};
  const size_t n = TB_KV_BLOCK * planes;
  *d = (struct data){.planes = planes, .heads = heads};
  d->codes = get(n);
  d->quantised = get(n);
  d->block = get(BLOCKS * block_bytes(planes));
  d->x = get(n * sizeof(float));
  d->q = get(heads * planes * sizeof(float));
  d->scores = get(heads * TB_KV_BLOCK * sizeof(float));
  d->out = get(heads * planes * sizeof(float));
  d->folded = get(heads * planes);
  for (size_t i = 0; i < n; i++) d->codes[i] = (uint8_t)(tb_rng_next(&rng) % 3);
  for (size_t i = 0; i < n; i++) d->x[i] = tb_rng_normal(&rng);
  for (size_t i = 0; i < heads * planes; i++) d->q[i] = tb_rng_normal(&rng);
  for (size_t i = 0; i < planes; i++) {
    d->step[i] = 0x3800; /* 0.5 */
    d->step_f[i] = 0.5f;
    d->mid[i] = 0x3400;
    d->low_f[i] = 0.25f;
  }
  for (size_t i = 0; i < TB_KV_BLOCK; i++) d->scale[i] = (uint8_t)(180 + tb_rng_next(&rng) % 32);
  for (size_t i = 0; i < heads * TB_KV_BLOCK; i++) d->scores[i] = tb_rng_unit(&rng);
  for (size_t i = 0; i < BLOCKS; i++) tb_kvpack_ternary_ref(d->block + i * block_bytes(planes), d->codes, planes);
  rows_new(d);
}

static void data_free(struct data *d) {
  void *all[] = {d->codes, d->quantised, d->block, d->x, d->q, d->scores, d->out, d->folded};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tb_free(&tb_system_allocator, all[i]);
}

/* Best seconds per block of several rounds of at least 5 ms, in processor time. */
static double best(struct data *d, call_fn *call, kernel_fn *fn, int rounds, size_t blocks) {
  double least = 1e30;
  for (int r = 0; r < rounds; r++) {
    size_t n = 0;
    const double start = seconds(CLOCK_PROCESS_CPUTIME_ID);
    double now;
    do {
      for (size_t i = 0; i < blocks; i++) call(d, fn, d->block + i * block_bytes(d->planes));
      n += blocks;
      now = seconds(CLOCK_PROCESS_CPUTIME_ID);
    } while (now - start < 0.005);
    if ((now - start) / (double)n < least) least = (now - start) / (double)n;
  }
  return least;
}

static void row(const struct kv_options *o, struct data *d, const char *name, unsigned isa, call_fn *call, kernel_fn *fn,
                kernel_fn *ref) {
  if ((o->isa & isa) != isa || (o->filter && !strstr(name, o->filter))) return;
  const double reference = best(d, call, ref, 1, 1) / TB_KV_BLOCK, time = best(d, call, fn, 10, BLOCKS) / TB_KV_BLOCK;
  printf("%-28s %8.2f ns per token %8.0f x ref\n", name, time * 1e9, reference / time);
  fflush(stdout);
}

/* ------------------------------------------------------------------------------------------------ whole attention */

/* Keys and values of one KV head as a store keeps them: blocks behind each other, codes first, then what belongs to the
 * block (steps and midpoints; token scales). */
struct stream {
  const struct kv_options *o;
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
  const size_t planes = s->o->planes, heads = s->o->heads, share = s->blocks / s->o->threads;
  int8_t folded[HEADS_MAX * TB_KV_PLANES_MAX], w[HEADS_MAX * TB_KV_BLOCK] __attribute__((aligned(64)));
  float scores[HEADS_MAX * TB_KV_BLOCK] __attribute__((aligned(64))), out[HEADS_MAX * TB_KV_PLANES_MAX];
  float a[HEADS_MAX], b[HEADS_MAX], top[HEADS_MAX], sum[HEADS_MAX];
  memset(out, 0, sizeof out);
  for (size_t g = 0; g < heads; g++) {
    top[g] = -INFINITY;
    sum[g] = 0;
  }
  for (size_t i = task * share; i < (task + 1) * share; i++) {
    const unsigned char *key = s->keys + i * s->key_bytes, *value = s->values + i * s->value_bytes;
    const uint16_t *step = (const uint16_t *)(const void *)(key + tb_keys2_bytes(planes));
    s->k.attn_fold(folded, a, b, s->q, planes, heads, step, step + planes, planes);
    s->k.attn_score_keys2(scores, TB_KV_BLOCK, folded, a, b, false, heads, key, planes);
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
    s->k.attn_weights(w, a, b, scores, TB_KV_BLOCK, heads, scale, tb_scale8_base_bits(-12), s->ternary ? 1.0f : 1.5f);
    (s->ternary ? s->k.attn_accum_ternary : s->k.attn_accum_values2)(out, planes, w, a, b, heads, value, planes);
  }
  volatile float keep = out[0] + sum[0];
  (void)keep;
}

/* One block of random codes; the scores of a head then spread by about 2.5, as a trained head's do: a few tokens of a
 * block hold the weight. */
static void stream_block(const struct stream *s, unsigned char *key, unsigned char *value, struct tb_rng *rng) {
  const size_t planes = s->o->planes, bytes = s->ternary ? tb_ternary_bytes(planes) : tb_values2_bytes(planes);
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

static void attention(const struct kv_options *o, const char *name, bool ternary) {
  if (o->filter && !strstr(name, o->filter)) return;
  const size_t codes = ternary ? tb_ternary_bytes(o->planes) : tb_values2_bytes(o->planes);
  struct stream s = {.o = o, .ternary = ternary, .key_bytes = tb_keys2_bytes(o->planes) + 4 * o->planes, .value_bytes = codes + 192};
  struct tb_rng rng = {6};
  tb_kernels_init(&s.k, o->isa);
  s.blocks = (o->mib << 20) / (s.key_bytes + s.value_bytes);
  s.keys = get(s.blocks * s.key_bytes);
  s.values = get(s.blocks * s.value_bytes);
  float *q = get(o->heads * o->planes * sizeof *q);
  for (size_t i = 0; i < o->heads * o->planes; i++) q[i] = 2.5f / sqrtf((float)o->planes) * tb_rng_normal(&rng);
  s.q = q;
  stream_fill(&s);
  double all[15], least = 1e30;
  enum { PASSES = sizeof all / sizeof *all };
  for (int r = 0; r < PASSES; r++) {
    const double start = seconds(CLOCK_PROCESS_CPUTIME_ID);
    tb_parallel_for(o->team, o->threads, stream_task, &s);
    all[r] = (seconds(CLOCK_PROCESS_CPUTIME_ID) - start) / (double)(s.blocks / o->threads * o->threads * TB_KV_BLOCK);
    for (int i = r; i > 0 && all[i] < all[i - 1]; i--) {
      const double t = all[i];
      all[i] = all[i - 1];
      all[i - 1] = t;
    }
    least = all[0];
  }
  printf("%-28s %8.2f core-ns per token and KV head, median %.2f; %zu threads, %.1f GB/s each\n", name, least * 1e9,
         all[PASSES / 2] * 1e9, (size_t)o->threads, (double)(s.key_bytes + s.value_bytes) / TB_KV_BLOCK / least * 1e-9);
  fflush(stdout);
  tb_free(&tb_system_allocator, s.keys);
  tb_free(&tb_system_allocator, s.values);
  tb_free(&tb_system_allocator, q);
}

#define TB_ROW(fn, tier)                                                                                               \
  row(o, &d, #fn "/" #tier, TB_ISA_##tier, call_##fn, (kernel_fn *)tb_##fn##_##tier, (kernel_fn *)tb_##fn##_ref);
void kernels_kv(const struct kv_options *o) {
  struct data d;
  data_new(&d, o->planes, o->heads);
#include "simd/kvquant/kvquant.def"
#include "simd/kvpack/kvpack.def"
#include "simd/kvdequant/kvdequant.def"
#include "simd/kvrow/kvrow.def"
#include "simd/attn_score/attn_score.def"
#include "simd/attn_accum/attn_accum.def"
  data_free(&d);
  attention(o, "kv_attention/values2", false);
  attention(o, "kv_attention/ternary", true);
}
