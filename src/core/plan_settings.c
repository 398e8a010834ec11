/* Other settings than those asked for: what would fit, or what more memory would buy. Each is found by planning it. */
#include "core/plan.h"

#include <stdio.h>
#include <string.h>

enum { GIB_PART = 100 }; /* --ram is suggested in hundredths of a GiB */

struct attempt {
  bool free_ctx, free_types; /* the context, the types are chosen */
  enum tb_prefer prefer;
  uint32_t n_batch, n_threads, n_ctx; /* 0: as asked */
};

static const char *const prefer_names[] = {
    [TB_PREFER_QUALITY] = "quality", [TB_PREFER_SPEED] = "speed", [TB_PREFER_CONTEXT] = "context"};

/* Plans it within `bounds`; lines are plan->answer's like, owned here. */
static enum tb_status try(const struct tb_plan *p, const struct attempt *t, const struct tb_plan_bound *bounds,
                          size_t n_bounds, struct tb_plan_answer *answer, struct tb_plan_count *count,
                          struct tb_error *err) {
  struct tb_context_options o = p->options.context;
  if (t->free_ctx) o.n_ctx = 0;
  if (t->n_ctx) o.n_ctx = t->n_ctx;
  if (t->free_types) o.type_k = o.type_v = o.kv_plan = NULL;
  if (t->n_batch) o.n_batch = t->n_batch;
  if (t->n_threads) o.n_threads = t->n_threads;
  const struct tb_plan_ask ask = {
      .subject = &p->subject, .options = &o, .prefer = t->prefer, .bounds = bounds, .n_bounds = n_bounds};
  struct tb_plan_layer *lines = tb_calloc(&p->alloc, p->subject.model.hp.n_layer, sizeof *lines);
  if (!lines) return tb_fail(err, TB_E_NOMEM, "plan: out of memory");
  *answer = (struct tb_plan_answer){.lines = lines};
  enum tb_status status = tb_plan_search(&ask, answer, &p->alloc, err);
  struct tb_plan_size size = {.n_ctx = answer->n_ctx, .n_batch = answer->n_batch, .n_threads = o.n_threads};
  if (!status) tb_plan_count_all(&p->subject, size, p->shapes, lines, count);
  tb_free(&p->alloc, lines);
  answer->lines = NULL;
  return status;
}

static void put_word(struct tb_plan_tried *t, const char *option, const char *word) {
  size_t n = strlen(t->text);
  snprintf(t->text + n, sizeof t->text - n, "%s%s %.31s", n ? " " : "", option, word);
}

static void put_number(struct tb_plan_tried *t, const char *option, uint32_t number) {
  char word[16];
  snprintf(word, sizeof word, "%u", number);
  put_word(t, option, word);
}

/* The words for the command line that make the attempt. */
static void describe(const struct tb_plan *p, const struct attempt *t, uint32_t n_ctx, struct tb_plan_tried *out) {
  const struct tb_context_options *o = &p->options.context;
  out->text[0] = '\0';
  put_number(out, "-c", n_ctx);
  if (!t->free_types && o->type_k) put_word(out, "-ctk", o->type_k);
  if (!t->free_types && o->type_v) put_word(out, "-ctv", o->type_v);
  if (t->prefer != TB_PREFER_QUALITY) put_word(out, "--prefer", prefer_names[t->prefer]);
  if (t->n_batch) put_number(out, "-b", t->n_batch);
  if (t->n_threads) put_number(out, "-t", t->n_threads);
}

static void keep(struct tb_plan *p, const struct attempt *t, const struct tb_plan_answer *a,
                 const struct tb_plan_count *c, uint64_t ram) {
  struct tb_plan_tried *out = &p->tried[p->n_tried];
  describe(p, t, a->n_ctx, out);
  for (size_t i = 0; i < p->n_tried; i++)
    if (strcmp(p->tried[i].text, out->text) == 0) return;
  out->setting = (struct tb_plan_setting){.n_ctx = a->n_ctx,
                                          .fast = c->total[TB_TOTAL_FAST],
                                          .hard = c->total[TB_TOTAL_HARD],
                                          .cache = a->cache,
                                          .loss = a->loss,
                                          .ram = ram};
  p->n_tried++;
}

/* The nearest settings that fit, those that change least first. */
static enum tb_status nearest(struct tb_plan *p, struct tb_error *err) {
  const struct attempt attempts[] = {
      {.prefer = TB_PREFER_CONTEXT, .free_types = true},
      {.prefer = p->options.prefer, .free_ctx = true},
      {.prefer = TB_PREFER_CONTEXT, .free_types = true, .n_batch = 64, .n_threads = 1},
      {.prefer = p->options.prefer, .free_types = true, .free_ctx = true},
      {.prefer = TB_PREFER_CONTEXT, .free_types = true, .free_ctx = true},
      {.prefer = TB_PREFER_CONTEXT, .free_types = true, .free_ctx = true, .n_batch = 64, .n_threads = 1},
      {.prefer = TB_PREFER_CONTEXT, .free_types = true, .free_ctx = true, .n_batch = 1, .n_threads = 1},
  };
  enum tb_status status = TB_OK;
  for (size_t i = 0; !status && i < sizeof attempts / sizeof attempts[0] && p->n_tried < TB_PLAN_SETTINGS; i++) {
    struct tb_plan_answer a;
    struct tb_plan_count c;
    status = try(p, &attempts[i], p->bounds, p->n_bounds, &a, &c, err);
    if (!status && a.fits) keep(p, &attempts[i], &a, &c, 0);
  }
  return status;
}

static uint64_t round_ram(uint64_t bytes) {
  const uint64_t part = ((uint64_t)1 << 30) / GIB_PART + 1;
  return (bytes + part - 1) / part * part;
}

/* More tokens: twice as many, as many as the model was trained for; better types: no bound at all. */
static enum tb_status more_memory(struct tb_plan *p, struct tb_error *err) {
  const uint32_t n = p->answer.n_ctx, train = p->subject.model.hp.n_ctx_train;
  const struct tb_plan_bound tight = {.source = "", .total = TB_TOTAL_FAST, .bytes = 1};
  const struct attempt attempts[] = {
      {.prefer = p->options.prefer, .n_ctx = n},
      {.prefer = p->options.prefer, .n_ctx = n < train / 2 ? 2 * n : train},
      {.prefer = p->options.prefer, .n_ctx = train},
  };
  enum tb_status status = TB_OK;
  for (size_t i = 0; !status && i < 3; i++) {
    struct tb_plan_answer a;
    struct tb_plan_count c;
    if (i > 0 && attempts[i].n_ctx <= n) break;
    status = try(p, &attempts[i], &tight, i > 0, &a, &c, err);
    if (!status && c.total[TB_TOTAL_FAST] > p->count.total[TB_TOTAL_FAST])
      keep(p, &attempts[i], &a, &c, round_ram(c.total[TB_TOTAL_FAST]));
  }
  return status;
}

enum tb_status tb_plan_try_settings(struct tb_plan *p, struct tb_error *err) {
  if (!p->answer.fits) return nearest(p, err);
  return p->answer.limited_by ? more_memory(p, err) : TB_OK;
}
