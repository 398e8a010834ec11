/* The sampler against a plain one: all candidates sorted by (logit, id), the filters one after the other, and the same
 * random number. */
#include "tests/check/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "core/context.h"
#include "core/model.h"

enum { MOST = 5000, PICKS = 20 };

struct item {
  tb_token id;
  float logit, p;
};

static int order(const void *a, const void *b) {
  const struct item *x = a, *y = b;
  if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
  return x->id - y->id;
}

static void probabilities(struct item *c, size_t n, float temperature) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += c[i].p = expf((c[i].logit - c[0].logit) / temperature);
  for (size_t i = 0; i < n; i++) c[i].p = (float)(c[i].p / sum);
}

static tb_token plain(const float *logits, size_t n, const struct tb_sampler_options *o, const tb_token *recent, size_t n_recent,
                      struct tb_rng *rng) {
  static struct item c[MOST];
  for (size_t i = 0; i < n; i++) {
    bool seen = false;
    for (size_t j = n_recent > o->repeat_last_n ? n_recent - o->repeat_last_n : 0; j < n_recent; j++)
      seen |= recent[j] == (tb_token)i;
    const float l = logits[i];
    c[i] = (struct item){(tb_token)i, !seen ? l : l > 0 ? l / o->repeat_penalty : l * o->repeat_penalty, 0};
  }
  qsort(c, n, sizeof *c, order);
  if (o->temperature == 0) return c[0].id;
  if (o->top_k && o->top_k < n) n = o->top_k;
  probabilities(c, n, 1);
  double sum = 0;
  for (size_t i = 0; o->top_p < 1 && i < n; i++) {
    sum += c[i].p;
    if (sum >= o->top_p) n = i + 1;
  }
  while (n > 1 && c[n - 1].p < o->min_p * c[0].p) n--;
  probabilities(c, n, o->temperature);
  const float u = tb_rng_unit(rng);
  float below = 0;
  for (size_t i = 0; i < n; i++) {
    below += c[i].p;
    if (u < below) return c[i].id;
  }
  return c[n - 1].id;
}

/* How logits lie: at random, of few values (many equals), rising (every block is better than the last), falling, with
 * -inf. */
static float logit(int kind, size_t i, struct tb_rng *rng) {
  const float x = tb_rng_unit(rng);
  switch (kind) {
  case 0: return 20 * x - 10;
  case 1: return floorf(8 * x) - 4;
  case 2: return 0.01f * (float)i;
  case 3: return -0.01f * (float)i;
  default: return x < 0.9f ? -INFINITY : x;
  }
}

static void check_picks(const struct tb_model *model, const struct tb_sampler_options *o, int kind) {
  static float logits[MOST];
  tb_token recent[PICKS];
  struct tb_sampler *s;
  struct tb_error err;
  struct tb_rng values = {7}, draws = {o->seed};
  tb_check_case("vocabulary %u, kind %d, top-k %u, penalty %g", model->hp.n_vocab, kind, o->top_k, (double)o->repeat_penalty);
  if (tb_sampler_create(&s, model, o, &err) != TB_OK) fail_msg("%s", err.text);
  for (size_t i = 0; i < PICKS; i++) {
    for (size_t j = 0; j < model->hp.n_vocab; j++) logits[j] = logit(kind, j, &values);
    const tb_token want = plain(logits, model->hp.n_vocab, o, recent, i, &draws);
    recent[i] = tb_sampler_pick(s, logits);
    assert_int_equal(recent[i], want);
  }
  tb_sampler_free(s);
}

static void picks_what_a_plain_sampler_picks(void **state) {
  (void)state;
  static const uint32_t sizes[] = {1, 2, 63, 64, 65, 1200, MOST}, top[] = {0, 1, 2, 40, 64, 600, 4000};
  struct tb_model model = {.alloc = tb_system_allocator};
  tb_kernels_init(&model.kernels, tb_isa_detect());
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (size_t j = 0; j < sizeof top / sizeof *top; j++)
      for (int kind = 0; kind < 5; kind++) {
        model.hp.n_vocab = sizes[i];
        struct tb_sampler_options o = tb_sampler_defaults();
        o.seed = 3 + j;
        o.top_k = top[j];
        check_picks(&model, &o, kind);
        o.top_p = 1;
        o.min_p = 0;
        o.repeat_penalty = 1.5f;
        o.repeat_last_n = 4;
        check_picks(&model, &o, kind);
        o.temperature = 0;
        check_picks(&model, &o, kind);
      }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(picks_what_a_plain_sampler_picks)};
  return tb_check_main("sampler", tests, sizeof tests / sizeof *tests);
}
