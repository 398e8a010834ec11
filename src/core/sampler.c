/* Choice of the next token. Filters in this order: repeat penalty (CTRL, arXiv 1909.05858), top-k, top-p
 * (1904.09751), min-p (2407.01082), temperature. Greedy picks the first of equals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/rng.h"
#include "core/context.h"

struct candidate {
  tb_token id;
  float logit, p;
};

struct tb_sampler {
  const struct tb_allocator *alloc;
  struct tb_sampler_options options;
  struct tb_rng rng;
  uint32_t n_vocab;
  tb_attn_max_t *largest;
  struct candidate *candidates; /* as many as n_candidates says; owned */
  float *penalised;             /* n_vocab logits, NULL without a repeat penalty; owned */
  tb_token *recent;             /* ring of repeat_last_n; owned */
  uint32_t n_recent;            /* tokens ever accepted */
};

enum {
  MAX_REPEAT_WINDOW = 1 << 20,
  BLOCK = 64,   /* logits that are looked at together */
  SPARE = 1024, /* candidates beyond twice top-k that are kept before the smaller half is dropped */
};

struct tb_sampler_options tb_sampler_defaults(void) {
  return (struct tb_sampler_options){.seed = 0,
                                     .temperature = 0.8f,
                                     .top_k = 40,
                                     .top_p = 0.95f,
                                     .min_p = 0.05f,
                                     .repeat_penalty = 1.0f,
                                     .repeat_last_n = 64};
}

static enum tb_status check(const struct tb_sampler_options *o, struct tb_error *err) {
  if (!(o->temperature >= 0 && o->temperature <= 1e3f))
    return tb_fail(err, TB_E_ARG, "temperature: %g is not in 0..1000", (double)o->temperature);
  if (!(o->top_p >= 0 && o->top_p <= 1)) return tb_fail(err, TB_E_ARG, "top-p: %g is not in 0..1", (double)o->top_p);
  if (!(o->min_p >= 0 && o->min_p <= 1)) return tb_fail(err, TB_E_ARG, "min-p: %g is not in 0..1", (double)o->min_p);
  if (!(o->repeat_penalty > 0 && o->repeat_penalty <= 1e3f))
    return tb_fail(err, TB_E_ARG, "repeat penalty: %g is not in 0..1000", (double)o->repeat_penalty);
  if (o->repeat_last_n > MAX_REPEAT_WINDOW)
    return tb_fail(err, TB_E_ARG, "repeat window: %u is more than %d", o->repeat_last_n, MAX_REPEAT_WINDOW);
  return TB_OK;
}

static bool penalises(const struct tb_sampler_options *o) {
  return o->repeat_penalty != 1.0f;
}

/* The most that are looked at together. */
static size_t n_candidates(const struct tb_sampler_options *o, uint32_t n_vocab) {
  const uint64_t top = 2 * (uint64_t)o->top_k + SPARE + BLOCK;
  if (o->temperature == 0) return 0;
  return o->top_k && top < n_vocab ? (size_t)top : n_vocab;
}

uint64_t tb_sampler_bytes(uint32_t n_vocab, const struct tb_sampler_options *options) {
  const struct tb_sampler_options o = options ? *options : tb_sampler_defaults();
  return (uint64_t)n_candidates(&o, n_vocab) * sizeof(struct candidate) + (penalises(&o) ? n_vocab * sizeof(float) : 0);
}

enum tb_status tb_sampler_create(struct tb_sampler **out, const struct tb_model *model,
                                 const struct tb_sampler_options *options, struct tb_error *err) {
  const struct tb_sampler_options o = options ? *options : tb_sampler_defaults();
  enum tb_status status = check(&o, err);
  if (status) return status;
  struct tb_sampler *s = tb_calloc(&model->alloc, 1, sizeof *s);
  if (!s) return tb_fail(err, TB_E_NOMEM, "sampler: out of memory");
  s->alloc = &model->alloc;
  s->options = o;
  s->rng.state = o.seed;
  s->n_vocab = model->hp.n_vocab;
  s->largest = model->kernels.attn_max;
  s->candidates = tb_alloc(s->alloc, n_candidates(&o, s->n_vocab), sizeof *s->candidates);
  s->recent = tb_alloc(s->alloc, o.repeat_last_n, sizeof *s->recent);
  if (penalises(&o)) s->penalised = tb_alloc(s->alloc, s->n_vocab, sizeof *s->penalised);
  if (!s->candidates || !s->recent || (penalises(&o) && !s->penalised)) {
    tb_sampler_free(s);
    return tb_fail(err, TB_E_NOMEM, "sampler: out of memory");
  }
  *out = s;
  return TB_OK;
}

void tb_sampler_free(struct tb_sampler *s) {
  if (!s) return;
  tb_free(s->alloc, s->candidates);
  tb_free(s->alloc, s->penalised);
  tb_free(s->alloc, s->recent);
  tb_free(s->alloc, s);
}

void tb_sampler_accept(struct tb_sampler *s, tb_token token) {
  if (s->options.repeat_last_n) s->recent[s->n_recent++ % s->options.repeat_last_n] = token;
  if (s->n_recent >= 2 * s->options.repeat_last_n && s->options.repeat_last_n) s->n_recent -= s->options.repeat_last_n;
}

/* Logits with the positive ones divided and the negative ones multiplied, once per token that occurred recently. */
static const float *penalise(struct tb_sampler *s, const float *logits) {
  memcpy(s->penalised, logits, s->n_vocab * sizeof *logits);
  const uint32_t n = s->n_recent < s->options.repeat_last_n ? s->n_recent : s->options.repeat_last_n;
  for (uint32_t i = 0; i < n; i++) {
    bool seen = s->recent[i] < 0 || (uint32_t)s->recent[i] >= s->n_vocab;
    for (uint32_t j = 0; j < i && !seen; j++)
      seen = s->recent[j] == s->recent[i];
    if (seen) continue;
    float *logit = &s->penalised[s->recent[i]];
    *logit = *logit > 0 ? *logit / s->options.repeat_penalty : *logit * s->options.repeat_penalty;
  }
  return s->penalised;
}

static int by_logit(const void *a, const void *b) {
  const struct candidate *x = a, *y = b;
  if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
  return (x->id > y->id) - (x->id < y->id);
}

/* Moves the k largest to the front (any order): quickselect on (logit, id), which has no equals. */
static void select_top(struct candidate *c, size_t n, size_t k) {
  size_t lo = 0, hi = n;
  while (hi - lo > 1) {
    struct candidate pivot = c[lo + (hi - lo) / 2];
    size_t i = lo, j = hi - 1;
    for (;;) {
      while (by_logit(&c[i], &pivot) < 0)
        i++;
      while (by_logit(&c[j], &pivot) > 0)
        j--;
      if (i >= j) break;
      struct candidate t = c[i];
      c[i++] = c[j];
      c[j--] = t;
    }
    size_t cut = j + 1;
    if (cut == k) return;
    if (cut > k)
      hi = cut == hi ? hi - 1 : cut;
    else
      lo = cut;
  }
}

static float smallest(const struct candidate *c, size_t n) {
  float m = c[0].logit;
  for (size_t i = 1; i < n; i++)
    m = c[i].logit < m ? c[i].logit : m;
  return m;
}

/* The k < n_vocab candidates with the largest logits, in any order. Once k are found most blocks hold nothing larger
 * than the smallest of them; of equals the first wins, so that equals need no look either. */
static void find_top(const struct tb_sampler *s, const float *logits, size_t k) {
  struct candidate *c = s->candidates;
  size_t n = 0;
  float least = -INFINITY;
  bool found = false;
  for (size_t at = 0; at < s->n_vocab; at += BLOCK) {
    const size_t end = s->n_vocab - at < BLOCK ? s->n_vocab : at + BLOCK;
    if (found && !(s->largest(logits + at, end - at) > least)) continue;
    for (size_t i = at; i < end; i++)
      if (!found || logits[i] > least) c[n++] = (struct candidate){.id = (tb_token)i, .logit = logits[i]};
    if (n < 2 * k + SPARE) continue;
    select_top(c, n, k);
    n = k;
    least = smallest(c, k);
    found = true;
  }
  select_top(c, n, k);
}

static size_t all(const struct tb_sampler *s, const float *logits) {
  for (uint32_t i = 0; i < s->n_vocab; i++)
    s->candidates[i] = (struct candidate){.id = (tb_token)i, .logit = logits[i]};
  return s->n_vocab;
}

/* Probabilities of the first n (sorted) candidates at temperature 1. */
static void softmax(struct candidate *c, size_t n, float temperature) {
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += c[i].p = expf((c[i].logit - c[0].logit) / temperature);
  for (size_t i = 0; i < n; i++)
    c[i].p = (float)(c[i].p / sum);
}

static size_t cut_top_p(const struct candidate *c, size_t n, float top_p) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) {
    sum += c[i].p;
    if (sum >= top_p) return i + 1;
  }
  return n;
}

static tb_token greedy(const struct tb_sampler *s, const float *logits) {
  const float best = s->largest(logits, s->n_vocab);
  uint32_t i = 0;
  while (i + 1 < s->n_vocab && logits[i] != best)
    i++;
  return (tb_token)i;
}

static tb_token draw(struct tb_sampler *s, const float *logits) {
  struct candidate *c = s->candidates;
  const struct tb_sampler_options *o = &s->options;
  size_t n = o->top_k;
  if (n > 0 && n < s->n_vocab)
    find_top(s, logits, n);
  else
    n = all(s, logits);
  qsort(c, n, sizeof *c, by_logit);
  softmax(c, n, 1.0f);
  if (o->top_p < 1) n = cut_top_p(c, n, o->top_p);
  while (n > 1 && c[n - 1].p < o->min_p * c[0].p)
    n--;
  softmax(c, n, o->temperature);
  float u = tb_rng_unit(&s->rng), sum = 0;
  for (size_t i = 0; i < n; i++) {
    sum += c[i].p;
    if (u < sum) return c[i].id;
  }
  return c[n - 1].id;
}

tb_token tb_sampler_pick(struct tb_sampler *s, const float *logits) {
  if (penalises(&s->options)) logits = penalise(s, logits);
  tb_token token = s->options.temperature == 0 ? greedy(s, logits) : draw(s, logits);
  tb_sampler_accept(s, token);
  return token;
}
