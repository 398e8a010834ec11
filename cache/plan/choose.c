#include "cache/plan/choose.h"

#include <string.h>
#include "cache/plan/choose_options.h"
#include "cache/plan/loss.h"

struct work {
  struct tb_choose_lists lists;
  struct tb_choice *single; /* n_layer: the choices without their pairs */
  uint32_t *picked;
  struct tb_plan_layer *plan; /* n_layer: another answer */
};

/* What is known of a choice. */
struct answer {
  struct tb_plan_layer *plan;
  uint64_t bytes;
  bool fits; /* else the smallest ones are in plan */
};

static uint64_t total(const struct tb_choose *c, const struct tb_plan_layer *plan) {
  const struct tb_cache_config cfg = tb_choose_config(c, 0, c->n_layer, plan);
  uint64_t stored, bytes;
  tb_cache_bytes(&cfg, &stored, &bytes);
  return bytes + tb_cache_init_bytes(&cfg);
}

/* One of many plans: an option of every layer, or of its pair, and of every other layer the next one, so that plain
 * layers and those that recall are seen side by side. Returns what the layers take. */
static uint64_t example(const struct tb_choose *c, const struct work *w, const struct tb_choice *choices,
                        uint32_t round, struct tb_plan_layer *plan) {
  const struct tb_choose_lists *l = &w->lists;
  const uint32_t kinds = c->n_offers ? 2 : 1;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < c->n_layer; i++) {
    const struct tb_choice *choice = &choices[i];
    const uint32_t o = round / kinds + round % kinds * (i % 2);
    const struct tb_option *option = &choice->options[o < choice->count ? o : choice->count - 1];
    const bool pair = i + 1 < c->n_layer && choices[i + 1].n_pairs > 0;
    if (pair) option = &choices[i + 1].pairs[o < choices[i + 1].n_pairs ? o : choices[i + 1].n_pairs - 1];
    bytes += option->bytes;
    plan[i] = l->lines[option - l->options];
    if (pair) {
      plan[i + 1] = tb_choose_upper(&plan[i]);
      i++;
    }
  }
  return bytes;
}

/* What the layers share (workspace), for the options that need most of it. */
static uint64_t shared_bytes(const struct tb_choose *c, const struct work *w, const struct tb_choice *choices,
                             struct tb_plan_layer *plan) {
  uint64_t most = 0;
  uint32_t rounds = 0;
  for (uint32_t i = 0; i < c->n_layer; i++)
    if (choices[i].count > rounds) rounds = choices[i].count;
  for (uint32_t round = 0; round < (c->n_offers ? 2 : 1) * rounds; round++) {
    const uint64_t layers = example(c, w, choices, round, plan), all = total(c, plan);
    if (all > layers && all - layers > most) most = all - layers;
  }
  return most;
}

static void take_lines(const struct tb_choose *c, const struct work *w, const struct tb_choice *choices,
                       struct tb_plan_layer *plan) {
  const struct tb_choose_lists *l = &w->lists;
  for (uint32_t i = 0; i < c->n_layer; i++) {
    const struct tb_choice *choice = &choices[i];
    if (w->picked[i] == TB_SOLVE_PAIRED) continue;
    if (w->picked[i] < choice->count) {
      plan[i] = l->lines[&choice->options[w->picked[i]] - l->options];
    } else {
      plan[i - 1] = l->lines[&choice->pairs[w->picked[i] - choice->count] - l->options];
      plan[i] = tb_choose_upper(&plan[i - 1]);
    }
  }
}

/* One option of each layer, or pair, within `room` bytes of layers. */
static enum tb_status solve_within(const struct tb_choose *c, uint64_t room, const struct tb_choice *choices,
                                   struct work *w, struct answer *out, const struct tb_allocator *a,
                                   struct tb_error *err) {
  uint64_t sum;
  double cost;
  enum tb_status status = tb_solve(choices, c->n_layer, c->smallest ? 0 : room, w->picked, &sum, &cost, a, err);
  if (status != TB_OK && (status != TB_E_LIMIT || (!c->smallest && sum <= room)))
    return status; /* the solver gave up */
  take_lines(c, w, choices, out->plan);
  out->bytes = total(c, out->plan);
  out->fits = sum <= room;
  return TB_OK;
}

static enum tb_status solve(const struct tb_choose *c, uint64_t budget, const struct tb_choice *choices, struct work *w,
                            struct answer *out, const struct tb_allocator *a, struct tb_error *err) {
  uint64_t shared = shared_bytes(c, w, choices, out->plan);
  for (;;) {
    enum tb_status status = solve_within(c, budget > shared ? budget - shared : 0, choices, w, out, a, err);
    if (status || !out->fits || out->bytes <= budget) return status;
    shared += out->bytes - budget; /* the chosen ones share more than was seen */
  }
}

static double loss_of(const struct tb_choose *c, const struct tb_plan_layer *plan) {
  return tb_plan_loss(c->shapes, plan, c->n_layer, c->n_ctx);
}

/* Merged layers share more workspace than others. Were it kept for all plans, those without pairs would be the worse
 * for it, and a little more memory could make a plan worse: both are made, and the better one taken. */
static bool better(const struct tb_choose *c, const struct answer *x, const struct answer *than) {
  if (c->smallest || (!x->fits && !than->fits)) return x->bytes < than->bytes;
  if (x->fits != than->fits) return x->fits;
  return loss_of(c, x->plan) < loss_of(c, than->plan);
}

static enum tb_status choose(const struct tb_choose *c, uint64_t budget, struct work *w, struct answer *out,
                             const struct tb_allocator *a, struct tb_error *err) {
  bool pairs = false;
  enum tb_status status = tb_choose_list(c, &w->lists, err);
  for (uint32_t i = 0; !status && i < c->n_layer; i++) {
    w->single[i] = w->lists.choices[i];
    w->single[i].n_pairs = 0;
    pairs |= w->lists.choices[i].n_pairs > 0;
  }
  if (!status) status = solve(c, budget, w->single, w, out, a, err);
  if (status || !pairs) return status;
  struct answer merged = {.plan = w->plan};
  status = solve(c, budget, w->lists.choices, w, &merged, a, err);
  if (status || !better(c, &merged, out)) return status;
  memcpy(out->plan, merged.plan, c->n_layer * sizeof *out->plan);
  out->bytes = merged.bytes;
  out->fits = merged.fits;
  return TB_OK;
}

enum tb_status tb_choose_plan(const struct tb_choose *c, uint64_t budget, struct tb_plan_layer *plan, uint64_t *bytes,
                              double *loss, const struct tb_allocator *a, struct tb_error *err) {
  const size_t most = tb_choose_most_options(c);
  struct work w = {.lists = {.choices = tb_calloc(a, c->n_layer, sizeof *w.lists.choices),
                             .options = tb_calloc(a, most, sizeof *w.lists.options),
                             .lines = tb_calloc(a, most, sizeof *w.lists.lines)},
                   .single = tb_calloc(a, c->n_layer, sizeof *w.single),
                   .picked = tb_calloc(a, c->n_layer, sizeof *w.picked),
                   .plan = tb_calloc(a, c->n_layer, sizeof *w.plan)};
  struct answer out = {.plan = plan};
  enum tb_status status = w.lists.choices && w.lists.options && w.lists.lines && w.single && w.picked && w.plan
                              ? choose(c, budget, &w, &out, a, err)
                              : tb_fail(err, TB_E_NOMEM, "plan: out of memory");
  tb_free(a, w.lists.choices);
  tb_free(a, w.lists.options);
  tb_free(a, w.lists.lines);
  tb_free(a, w.single);
  tb_free(a, w.picked);
  tb_free(a, w.plan);
  if (status) return status;
  *bytes = out.bytes;
  *loss = loss_of(c, plan);
  if (out.fits) return TB_OK;
  return tb_fail(err, TB_E_LIMIT, "KV cache: %u tokens take at least %.1f MiB, %.1f MiB are left for them", c->n_ctx,
                 (double)*bytes / 0x1p20, (double)budget / 0x1p20);
}

double tb_plan_loss(const struct tb_kv_shape *shapes, const struct tb_plan_layer *plan, uint32_t n_layer,
                    uint32_t n_ctx) {
  double loss = 0;
  for (uint32_t i = 0; i < n_layer; i++)
    loss += tb_loss_line(&shapes[i], &plan[i], n_layer, n_ctx);
  return loss;
}
