/* How well recall chooses, beside other ways of choosing as many tokens.
 *
 *   recall_quality MODEL TEXT [TOKENS]     the model's own keys and queries of a text
 *   recall_quality synthetic [TOKENS]      keys around topics that change as a text's do
 *
 * The context is all but the last 256 tokens, of which the newest are not chosen from: as many as are not a whole segment
 * for each of the ways. Queries are those of every 8th of the last 256 tokens; 1/16, 1/8 and 1/4 of the tokens may be
 * chosen. Two figures, over all layers, heads, queries:
 *   mass    of the attention that falls on the tokens to be chosen from, the share that the chosen ones have
 *   top     share of the budget's best tokens that are among the chosen ones */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/rng.h"
#include "cache/policy/recall.h"
#include "core/context.h"
#include "simd/isa.h"
#include "quality/selection.h"

enum { LATE = 256, EVERY = 8, SINKS = 5, WINDOW = 32, SYNTHETIC_LAYERS = 2, BUDGETS = 3 };
static const uint32_t fractions[BUDGETS] = {16, 8, 4};

static void die(const char *what) {
  fprintf(stderr, "recall_quality: %s\n", what);
  exit(1);
}

static void *get(size_t n, size_t size) {
  void *p = calloc(n, size);
  if (!p) die("out of memory");
  return p;
}

/* -------------------------------------------------------------------------------------------------------- rows */

struct source {
  struct layer_rows *layers;
  uint32_t n_layer, n;
};

static void see(void *user, const struct tb_pass *p, uint32_t il) {
  struct source *s = user;
  const struct tb_layer *l = &p->model->layers[il];
  const size_t nq = (size_t)l->n_head * l->d_k, nk = (size_t)l->n_kv * l->d_k, nv = (size_t)l->n_kv * l->d_v;
  float *q = get(p->n * nq, 4), *k = get(p->n * nk, 4), *v = get(p->n * nv, 4);
  memcpy(q, p->q, p->n * nq * 4);
  memcpy(k, p->k, p->n * nk * 4);
  memcpy(v, p->v, p->n * nv * 4);
  s->layers[il] = (struct layer_rows){p->n, l->n_head, l->n_kv, l->d_k, p->model->hp.attn_scale, q, k, v};
}

static char *read_text(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  char *text = get(1 << 20, 1);
  if (!f) die("cannot read the text");
  *n = fread(text, 1, 1 << 20, f);
  fclose(f);
  return text;
}

static struct source from_model(const char *path, const char *text_path, uint32_t n) {
  struct tb_error err;
  struct tb_model *m;
  struct tb_context *c;
  struct source s = {.n = n};
  size_t length, n_ids;
  char *text = read_text(text_path, &length);
  tb_token *ids = get(length + 16, sizeof *ids);
  const struct tb_context_options o = {.n_ctx = n, .n_batch = n, .type_k = "f32", .type_v = "f32"};
  if (tb_model_open(&m, path, NULL, &err) || tb_tokenize(m, text, length, 0, ids, length + 16, &n_ids, &err) ||
      tb_context_create(&c, m, &o, &err))
    die(err.text);
  if (n_ids < n) die("the text is too short");
  s.n_layer = m->hp.n_layer;
  s.layers = get(s.n_layer, sizeof *s.layers);
  c->pass.observe = see;
  c->pass.observer = &s;
  if (tb_eval(c, ids, n, NULL, NULL, &err)) die(err.text);
  tb_context_free(c);
  free(ids);
  free(text);
  return s;
}

/* Topics change every few tokens; a query asks for one of them, and for one token of it more than for the others. */
static struct source synthetic(uint32_t n) {
  enum { TOPICS = 96, D = 64, HEADS = 8, KV = 2 };
  static float topics[TOPICS][D];
  struct tb_rng rng = {5};
  struct source s = {get(SYNTHETIC_LAYERS, sizeof(struct layer_rows)), SYNTHETIC_LAYERS, n};
  for (int i = 0; i < TOPICS * D; i++) topics[i / D][i % D] = tb_rng_normal(&rng);
  for (uint32_t il = 0; il < SYNTHETIC_LAYERS; il++) {
    float *q = get((size_t)n * HEADS * D, 4), *k = get((size_t)n * KV * D, 4), *v = get((size_t)n * KV * D, 4);
    for (uint32_t t = 0, topic = 0; t < n; t++) {
      if (tb_rng_next(&rng) % 9 == 0) topic = (uint32_t)(tb_rng_next(&rng) % TOPICS);
      for (uint32_t i = 0; i < KV * D; i++) {
        k[t * KV * D + i] = topics[(topic + i / D * 7) % TOPICS][i % D] + 0.7f * tb_rng_normal(&rng);
        v[t * KV * D + i] = tb_rng_normal(&rng);
      }
      for (uint32_t h = 0; h < HEADS; h++) {
        const uint32_t to = (uint32_t)(tb_rng_next(&rng) % (t + 1));
        for (uint32_t c = 0; c < D; c++)
          q[(t * HEADS + h) * D + c] = 1.2f * k[to * KV * D + h / (HEADS / KV) * D + c] + tb_rng_normal(&rng);
      }
    }
    s.layers[il] = (struct layer_rows){n, HEADS, KV, D, 0.125f, q, k, v};
  }
  return s;
}

/* ------------------------------------------------------------------------------------------------------ policies */

/* A cache with recall over one layer's rows. */
struct recaller {
  struct tb_kv_shape shape;
  struct tb_plan_layer plan;
  struct tb_cache_config config;
  struct tb_kernels kernels;
  struct tb_team *team;
  struct tb_cache *cache;
  const struct tb_recall *r;
};

static void step(struct recaller *c, const struct layer_rows *l, uint32_t from, uint32_t to) {
  const size_t nk = (size_t)l->n_kv * l->d, nq = (size_t)l->n_head * l->d;
  float *k = get((to - from) * nk, 4), *v = get((to - from) * nk, 4), *out = get((to - from) * nq, 4);
  memcpy(k, l->k + from * nk, (to - from) * nk * 4);
  memcpy(v, l->v + from * nk, (to - from) * nk * 4);
  tb_cache_step(c->cache, to - from);
  tb_cache_append(c->cache, 0, k, v);
  tb_cache_attend(c->cache, 0, to - from > 1 ? NULL : l->q + from * nq, out);
  free(k);
  free(v);
  free(out);
}

static void recaller_make(struct recaller *c, const struct layer_rows *l, struct tb_plan_layer plan) {
  struct tb_error err;
  memset(c, 0, sizeof *c);
  c->shape = (struct tb_kv_shape){.n_head = l->n_head, .n_kv = l->n_kv, .d_k = l->d, .d_v = l->d, .scale = l->scale};
  c->plan = plan;
  c->config = (struct tb_cache_config){
      .n_layer = 1, .shapes = &c->shape, .plan = &c->plan, .n_ctx = l->n, .n_batch = 512, .n_threads = 1};
  tb_kernels_init(&c->kernels, tb_isa_detect());
  if (tb_team_create(&c->team, 1, &tb_system_allocator, &err) ||
      tb_cache_create(&c->cache, &c->config, &c->kernels, c->team, &tb_system_allocator, &err))
    die(err.text);
  c->r = (const struct tb_recall *)(const void *)tb_cache_policy(c->cache, 0);
}

/* Marks what the last step chose for the heads of a KV head. */
static void recaller_chosen(const struct recaller *c, const struct question *a, bool *chosen) {
  const struct tb_recall *r = c->r;
  const uint32_t group = c->shape.n_head / c->shape.n_kv, heads = c->shape.n_head / r->n_choices;
  const uint16_t *size = r->c.size + (size_t)a->kv * r->cap, *from = r->from + (size_t)a->kv * r->rows;
  for (uint32_t g = 0; g < group; g++) {
    const uint8_t *taken = r->c.chosen + (a->kv * group + g) / heads * r->cap;
    for (uint32_t i = 0, row = 0; i < tb_recall_n(r); row += size[i++])
      for (uint32_t t = row; taken[i] && t < row + size[i]; t++) {
        const uint32_t pos = r->base + t / r->par.segment * r->par.segment + from[t];
        if (pos < a->n0) chosen[g * a->n0 + pos] = true;
      }
  }
}

/* ------------------------------------------------------------------------------------------------------ measuring */

struct method {
  const char *name;
  select_fn *select;         /* or, NULL: */
  struct tb_plan_layer plan; /* recall */
  double mass[BUDGETS], top[BUDGETS], n[BUDGETS];
};

/* Softmax of every head of the KV head over 0 … pos; only the first n0 are kept. */
static void weigh(const struct question *a, double *weight) {
  const struct layer_rows *l = a->rows;
  const uint32_t group = l->n_head / l->n_kv;
  double *s = get(a->pos + 1, sizeof *s);
  for (uint32_t g = 0; g < group; g++) {
    const float *q = l->q + ((size_t)a->pos * l->n_head + a->kv * group + g) * l->d;
    double most = -INFINITY, sum = 0;
    for (uint32_t t = 0; t <= a->pos; t++) {
      const float *k = l->k + ((size_t)t * l->n_kv + a->kv) * l->d;
      s[t] = 0;
      for (uint32_t c = 0; c < l->d; c++) s[t] += (double)q[c] * k[c];
      s[t] *= l->scale;
      most = fmax(most, s[t]);
    }
    for (uint32_t t = 0; t <= a->pos; t++) sum += s[t] = exp(s[t] - most);
    for (uint32_t t = 0; t < a->n0; t++) weight[g * a->n0 + t] = s[t] / sum;
  }
  free(s);
}

static void score(struct method *m, uint32_t budget, const struct question *a, const bool *chosen) {
  const uint32_t group = a->rows->n_head / a->rows->n_kv;
  bool *best = get((size_t)group * a->n0, 1);
  select_oracle(a, best);
  for (uint32_t g = 0; g < group; g++) {
    double all = 0, mine = 0, hits = 0;
    for (uint32_t t = a->sinks; t < a->n0; t++) {
      const size_t at = (size_t)g * a->n0 + t;
      all += a->weight[at];
      mine += chosen[at] ? a->weight[at] : 0;
      hits += chosen[at] && best[at];
    }
    if (all < 0.01) continue; /* nothing to be found there */
    m->mass[budget] += mine / all;
    m->top[budget] += hits / a->budget;
    m->n[budget]++;
  }
  free(best);
}

static void measure_layer(const struct layer_rows *l, struct method *methods, size_t n_methods, uint32_t at_budget) {
  struct recaller *c = get(n_methods, sizeof *c);
  const uint32_t late = l->n - LATE, n0 = SINKS + (late - SINKS - WINDOW) / 640 * 640;
  const uint32_t group = l->n_head / l->n_kv, budget = (n0 - SINKS) / fractions[at_budget];
  for (size_t i = 0; i < n_methods; i++) {
    if (methods[i].select) continue;
    struct tb_plan_layer plan = methods[i].plan;
    memcpy(plan.type_k, "f16", 4);
    memcpy(plan.type_v, "f16", 4);
    plan.window = late - n0; /* all that is clustered can be chosen, and no more */
    plan.sinks = SINKS;
    plan.recall = budget;
    recaller_make(&c[i], l, plan);
    for (uint32_t at = 0; at < late; at += 512) step(&c[i], l, at, late - at < 512 ? late : at + 512);
  }
  double *weight = get((size_t)group * n0, sizeof *weight);
  bool *chosen = get((size_t)group * n0, 1);
  for (uint32_t pos = late; pos < l->n; pos++) {
    for (size_t i = 0; i < n_methods; i++)
      if (!methods[i].select && c[i].r->plain.length < l->n) step(&c[i], l, pos, pos + 1);
    for (uint32_t kv = 0; kv < l->n_kv && pos % EVERY == 0; kv++) {
      const struct question a = {l, kv, pos, SINKS, n0, budget, weight};
      weigh(&a, weight);
      for (size_t i = 0; i < n_methods; i++) {
        memset(chosen, 0, (size_t)group * n0);
        if (methods[i].select)
          methods[i].select(&a, chosen);
        else
          recaller_chosen(&c[i], &a, chosen);
        score(&methods[i], at_budget, &a, chosen);
      }
    }
  }
  for (size_t i = 0; i < n_methods; i++) {
    tb_cache_free(c[i].cache);
    tb_team_free(c[i].team);
  }
  free(weight);
  free(chosen);
  free(c);
}

int main(int argc, char **argv) {
  struct method methods[] = {
      {.name = "oracle, per head", .select = select_oracle},
      {.name = "oracle, shared", .select = select_oracle_shared},
      {.name = "Quest pages, per head", .select = select_pages},
      {.name = "Quest pages, shared", .select = select_pages_shared},
      {.name = "newest", .select = select_newest},
      {.name = "random", .select = select_random},
      {.name = "ClusterKV as published", .plan = {.form = TB_RECALL_PUBLISHED, .cluster = 80}},
      {.name = "published, clusters of 16", .plan = {.form = TB_RECALL_PUBLISHED, .cluster = 16}},
      {.name = "recall, clusters of 32", .plan = {.cluster = 32}},
      {.name = "recall, clusters of 16", .plan = {.cluster = 16}},
      {.name = "recall, clusters of 8", .plan = {.cluster = 8}},
      {.name = "recall, clusters of 4", .plan = {.cluster = 4}},
      {.name = "recall, 16, segments of 640", .plan = {.cluster = 16, .segment = 640}},
      {.name = "recall as it comes"},
  };
  const size_t n_methods = sizeof methods / sizeof *methods;
  if (argc < 2) die("usage: recall_quality MODEL TEXT [TOKENS] | synthetic [TOKENS]");
  const bool made_up = strcmp(argv[1], "synthetic") == 0;
  const int first = made_up ? 2 : 3;
  const uint32_t n = argc > first ? (uint32_t)strtoul(argv[first], NULL, 10) : 2048;
  if (n < 1024 || (!made_up && argc < 3)) die("at least 1024 tokens");
  /* The published form clusters the whole prompt: the largest segment that it fills. */
  for (size_t i = 0; i < n_methods; i++)
    if (methods[i].plan.form) methods[i].plan.segment = (n - LATE - SINKS - WINDOW) / 640 * 640;
  struct source s = made_up ? synthetic(n) : from_model(argv[1], argv[2], n);
  printf("| %u tokens | mass 1/16 | 1/8 | 1/4 | top 1/16 | 1/8 | 1/4 |\n|---|---:|---:|---:|---:|---:|---:|\n", n);
  for (uint32_t b = 0; b < BUDGETS; b++)
    for (uint32_t il = 0; il < s.n_layer; il++) measure_layer(&s.layers[il], methods, n_methods, b);
  for (size_t i = 0; i < n_methods; i++) {
    const struct method *m = &methods[i];
    printf("| %s |", m->name);
    for (uint32_t b = 0; b < BUDGETS; b++) printf(" %.3f |", m->mass[b] / m->n[b]);
    for (uint32_t b = 0; b < BUDGETS; b++) printf(" %.3f |", m->top[b] / m->n[b]);
    putchar('\n');
  }
  return 0;
}
