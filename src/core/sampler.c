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
  struct candidate *candidates; /* n_vocab; owned */
  tb_token *recent;             /* ring of repeat_last_n; owned */
  uint32_t n_recent;            /* tokens ever accepted */
};

enum { MAX_REPEAT_WINDOW = 1 << 20 };

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

uint64_t tb_sampler_bytes(uint32_t n_vocab) {
  return (uint64_t)n_vocab * sizeof(struct candidate);
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
  s->candidates = tb_alloc(s->alloc, s->n_vocab, sizeof *s->candidates);
  s->recent = tb_alloc(s->alloc, o.repeat_last_n, sizeof *s->recent);
  if (!s->candidates || !s->recent) {
    tb_sampler_free(s);
    return tb_fail(err, TB_E_NOMEM, "sampler: out of memory");
  }
  *out = s;
  return TB_OK;
}

void tb_sampler_free(struct tb_sampler *s) {
  if (!s) return;
  tb_free(s->alloc, s->candidates);
  tb_free(s->alloc, s->recent);
  tb_free(s->alloc, s);
}

void tb_sampler_accept(struct tb_sampler *s, tb_token token) {
  if (s->options.repeat_last_n) s->recent[s->n_recent++ % s->options.repeat_last_n] = token;
  if (s->n_recent >= 2 * s->options.repeat_last_n && s->options.repeat_last_n) s->n_recent -= s->options.repeat_last_n;
}

/* Divides positive logits and multiplies negative ones, once per token that occurred recently. */
static void penalise(struct tb_sampler *s) {
  const uint32_t n = s->n_recent < s->options.repeat_last_n ? s->n_recent : s->options.repeat_last_n;
  for (uint32_t i = 0; i < n; i++) {
    bool seen = s->recent[i] < 0 || (uint32_t)s->recent[i] >= s->n_vocab;
    for (uint32_t j = 0; j < i && !seen; j++)
      seen = s->recent[j] == s->recent[i];
    if (seen) continue;
    float *logit = &s->candidates[s->recent[i]].logit;
    *logit = *logit > 0 ? *logit / s->options.repeat_penalty : *logit * s->options.repeat_penalty;
  }
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

static tb_token greedy(const struct tb_sampler *s) {
  const struct candidate *best = s->candidates;
  for (uint32_t i = 1; i < s->n_vocab; i++)
    if (s->candidates[i].logit > best->logit) best = &s->candidates[i];
  return best->id;
}

static tb_token draw(struct tb_sampler *s) {
  struct candidate *c = s->candidates;
  const struct tb_sampler_options *o = &s->options;
  size_t n = s->n_vocab;
  if (o->top_k > 0 && o->top_k < n) {
    select_top(c, n, o->top_k);
    n = o->top_k;
  }
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
  for (uint32_t i = 0; i < s->n_vocab; i++)
    s->candidates[i] = (struct candidate){.id = (tb_token)i, .logit = logits[i]};
  if (s->options.repeat_penalty != 1.0f) penalise(s);
  tb_token token = s->options.temperature == 0 ? greedy(s) : draw(s);
  tb_sampler_accept(s, token);
  return token;
}
