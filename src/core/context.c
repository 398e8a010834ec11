/* A context: one conversation's cache and the buffers of a pass. All memory is taken at creation. */
#include "core/context.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/rng.h"
#include "base/sysinfo.h"
#include "cache/plan/plan_file.h"
#include "models/arch.h"

enum {
  MAX_BATCH = 4096,
  HEAD_COLUMNS = 32, /* most positions whose logits tb_eval_all computes together */
  WINDOW = 128,      /* full-precision tokens of block stores (SKVQ, arXiv 2405.06219) */
  SINKS = 5,
  RESIDENT = 4, /* clusters in memory, in budgets of what a step attends to */
};

/* ------------------------------------------------------------------------------------------------------ options */

static enum tb_status set_type(char out[TB_TYPE_NAME], const char *type, const char *option, struct tb_error *err) {
  if (!type) type = "f16";
  if (strlen(type) >= TB_TYPE_NAME)
    return tb_fail(err, TB_E_ARG, "%s: '%.40s' is too long for a cache type", option, type);
  if (!tb_store_find(type)) {
    char known[256] = "";
    for (const char *const *n = tb_store_names(); *n; n++)
      snprintf(known + strlen(known), sizeof known - strlen(known), " %s", *n);
    return tb_fail(err, TB_E_UNSUPPORTED, "%s: cache type '%s' is not known (known:%s)", option, type, known);
  }
  memcpy(out, type, strlen(type) + 1);
  return TB_OK;
}

enum tb_status tb_context_check_options(const struct tb_context_options *o, struct tb_error *err) {
  if (o->n_ctx > UINT32_MAX / 4) return tb_fail(err, TB_E_ARG, "n_ctx: %u is too large", o->n_ctx);
  if (o->kv_window > 1 << 24 || o->kv_sinks > 1 << 24)
    return tb_fail(err, TB_E_ARG, "%s: more than %d tokens", o->kv_window > 1 << 24 ? "kv_window" : "kv_sinks",
                   1 << 24);
  if (o->kv_recall > 1 << 24) return tb_fail(err, TB_E_ARG, "kv_recall: more than %d tokens", 1 << 24);
  if (o->kv_resident > 1 << 24) return tb_fail(err, TB_E_ARG, "kv_resident: more than %d tokens", 1 << 24);
  if (o->kv_spill && !o->kv_recall && !o->kv_plan)
    return tb_fail(err, TB_E_ARG, "kv_spill: only clusters can be in a file; say how many are attended to (kv_recall)");
  if (o->kv_resident && !o->kv_spill)
    return tb_fail(err, TB_E_ARG, "kv_resident: what is not in memory needs a folder (kv_spill)");
  if (o->n_batch > MAX_BATCH) return tb_fail(err, TB_E_ARG, "n_batch: %u is not in 1..%d", o->n_batch, MAX_BATCH);
  if (o->n_threads > TB_MAX_THREADS)
    return tb_fail(err, TB_E_ARG, "threads: %u is not in 1..%d", o->n_threads, TB_MAX_THREADS);
  if (o->kv_plan && o->kv_merge)
    return tb_fail(err, TB_E_ARG, "kv_plan and kv_merge exclude each other: a plan says merge=up and merge=down");
  if (o->kv_plan && (o->type_k || o->type_v))
    return tb_fail(err, TB_E_ARG,
                   "kv_plan: a plan and a cache type for all layers (type_k, type_v) exclude each other");
  return TB_OK;
}

/* With a folder for them, layers with recall keep some clusters in memory and the others in a file. */
static enum tb_status set_resident(const struct tb_context_options *o, uint32_t n_layer, struct tb_plan_layer *plan,
                                   struct tb_error *err) {
  bool any = !o->kv_spill;
  for (uint32_t i = 0; i < n_layer; i++) {
    if (plan[i].resident && !o->kv_spill)
      return tb_fail(err, TB_E_ARG, "layer %u: resident=%u needs a folder for what is not in memory (kv_spill)", i,
                     plan[i].resident);
    if (!o->kv_spill || !plan[i].recall) continue;
    any = true;
    if (!plan[i].resident) plan[i].resident = o->kv_resident ? o->kv_resident : RESIDENT * plan[i].recall;
  }
  return any ? TB_OK : tb_fail(err, TB_E_ARG, "kv_spill: no layer has recall, and only clusters can be in a file");
}

enum tb_status tb_context_make_plan(const struct tb_context_options *o, uint32_t n_layer, struct tb_plan_layer *plan,
                                    struct tb_error *err) {
  struct tb_plan_layer line = {.window = o->kv_window < 0   ? 0
                                         : o->kv_window > 0 ? (uint32_t)o->kv_window
                                                            : WINDOW,
                               .sinks = o->kv_sinks < 0   ? 0
                                        : o->kv_sinks > 0 ? (uint32_t)o->kv_sinks
                                                          : SINKS,
                               .recall = o->kv_recall};
  if (o->kv_plan) {
    enum tb_status parsed = tb_plan_parse(o->kv_plan, strlen(o->kv_plan), n_layer, &line, plan, err);
    return parsed ? parsed : set_resident(o, n_layer, plan, err);
  }
  enum tb_status status = set_type(line.type_k, o->type_k, "type_k", err);
  if (!status) status = set_type(line.type_v, o->type_v, "type_v", err);
  if (status) return status;
  for (uint32_t i = 0; i < n_layer; i++)
    plan[i] = line;
  for (uint32_t i = o->kv_merge; o->kv_merge && i + 1 < n_layer; i += 2) {
    plan[i].merge = plan[i + 1].merge = (struct tb_merge_plan){.retain = TB_MERGE_RETAIN, .cosine = TB_MERGE_COSINE};
    plan[i].merge.with = TB_MERGE_UP;
    plan[i + 1].merge.with = TB_MERGE_DOWN;
  }
  return set_resident(o, n_layer, plan, err);
}

void tb_context_make_shapes(const struct tb_model *m, const struct tb_rope_table *rope,
                            const struct tb_profile *profile, struct tb_kv_shape *shapes) {
  for (uint32_t i = 0; i < m->hp.n_layer; i++) {
    const struct tb_layer *l = &m->layers[i];
    shapes[i] = (struct tb_kv_shape){.layer = i,
                                     .profile = profile,
                                     .n_head = l->n_head,
                                     .n_kv = l->n_kv,
                                     .d_k = l->d_k,
                                     .d_v = l->d_v,
                                     .scale = m->hp.attn_scale,
                                     .rope = rope};
  }
}

static struct tb_cache_config cache_config(const struct tb_context *c, uint32_t n_ctx) {
  return (struct tb_cache_config){.n_layer = c->model->hp.n_layer,
                                  .shapes = c->shapes,
                                  .plan = c->plan,
                                  .n_ctx = n_ctx,
                                  .n_batch = c->n_batch < n_ctx ? c->n_batch : n_ctx,
                                  .n_threads = c->n_threads,
                                  .spill_dir = c->spill_dir};
}

/* Room for n activations of `width` values, or floats of fewer; 0: only codes. */
static void carve_acts(struct tb_arena *a, struct tb_act_buffer *b, size_t n, size_t width, size_t floats) {
  b->f = floats ? tb_carve(a, n * floats, sizeof *b->f) : NULL;
  b->q = tb_carve(a, n * width, sizeof *b->q);
  b->d = tb_carve(a, n * (width / 32 + 1), sizeof *b->d);
  b->s = tb_carve(a, n * (width / 16 + 1), sizeof *b->s);
}

struct widths {
  size_t inner, floats, gated, q, k, v; /* widest of all layers; floats: what of inner needs its own */
};

static void at_least(size_t *most, size_t x) {
  if (x > *most) *most = x;
}

static struct widths find_widths(const struct tb_model *m) {
  struct widths w = {.inner = m->hp.n_embd, .floats = m->hp.n_embd};
  for (uint32_t i = 0; i < m->hp.n_layer; i++) {
    const struct tb_layer *l = &m->layers[i];
    at_least(&w.inner, (size_t)l->n_head * l->d_v);
    if (l->d_k != l->d_v) at_least(&w.floats, (size_t)l->n_head * l->d_v);
    at_least(&w.gated, l->n_ff);
    at_least(&w.q, (size_t)l->n_head * l->d_k);
    at_least(&w.k, (size_t)l->n_kv * l->d_k);
    at_least(&w.v, (size_t)l->n_kv * l->d_v);
  }
  return w;
}

/* What is never needed at the same time lies in the same memory: queries, keys and values; the gate's output; logits,
 * at least of one position. */
static void carve_shared(struct tb_context *c, struct tb_arena *a, size_t n, const struct widths *w,
                         struct tb_context_need *need) {
  const struct tb_hparams *hp = &c->model->hp;
  struct tb_arena gated = *a, logits = *a;
  const size_t start = a->used;
  c->pass.q = tb_carve(a, n * w->q, sizeof(float));
  c->pass.k = tb_carve(a, n * w->k, sizeof(float));
  c->pass.v = tb_carve(a, n * w->v, sizeof(float));
  carve_acts(&gated, &c->pass.gated, n, w->gated, hp->wide_floats ? w->gated : 0);
  at_least(&a->used, gated.used);
  need->activations = a->used;
  c->logits = tb_carve(&logits, hp->n_vocab, sizeof(float));
  at_least(&a->used, logits.used);
  need->logits = a->used - need->activations;
  const size_t columns = (a->used - start) / (hp->n_vocab * sizeof(float));
  c->logits_columns = columns < HEAD_COLUMNS ? (uint32_t)columns : HEAD_COLUMNS;
}

/* Everything but the cache; with arena->base NULL it only counts. */
static void carve(struct tb_context *c, struct tb_arena *a, uint32_t n_ctx, struct tb_context_need *need) {
  const struct tb_model *m = c->model;
  const size_t n = c->n_batch < n_ctx ? c->n_batch : n_ctx, f = sizeof(float);
  const struct widths w = find_widths(m);
  struct tb_pass *p = &c->pass;
  p->x = tb_carve(a, n * m->hp.n_embd, f);
  carve_acts(a, &p->act, n, w.inner, w.floats);
  carve_shared(c, a, n, &w, need);
  size_t before = a->used;
  p->scratch_bytes = TB_GEMM_SCRATCH + 2 * n * TB_TILE_ROWS * f;
  p->scratch = tb_carve(a, c->n_threads, p->scratch_bytes);
  need->scratch = a->used - before;
  before = a->used;
  c->history = tb_carve(a, n_ctx, sizeof *c->history);
  const size_t angles = (size_t)n_ctx * (m->hp.rope.n_rot / 2);
  c->cos = tb_carve(a, angles, f);
  c->sin = tb_carve(a, angles, f);
  need->tables = a->used - before;
  need->total = a->used == SIZE_MAX ? UINT64_MAX / 4 : a->used;
  c->rope = (struct tb_rope_table){.cos = c->cos, .sin = c->sin, .n_rot = m->hp.rope.n_rot, .neox = m->hp.rope.neox};
}

void tb_context_count(const struct tb_model *m, uint32_t n_ctx, uint32_t n_batch, uint32_t n_threads,
                      struct tb_context_need *need) {
  struct tb_context c = {.model = m, .n_batch = n_batch, .n_threads = n_threads};
  struct tb_arena a = {0};
  carve(&c, &a, n_ctx, need);
  need->objects = sizeof c + m->hp.n_layer * (sizeof *c.plan + sizeof *c.shapes);
}

/* Half of a batch costs 1 to 2 % of a prompt's speed. A small model's buffers are worth that: what a process takes
 * beside weights and cache is to stay below 5 % of both (bench/README.md). */
uint32_t tb_context_default_batch(const struct tb_model *m, uint64_t file_bytes) {
  struct tb_context_need need;
  tb_context_count(m, TB_CONTEXT_BATCH, TB_CONTEXT_BATCH, 1, &need);
  return need.activations > file_bytes / 32 ? TB_CONTEXT_BATCH / 2 : TB_CONTEXT_BATCH;
}

/* All bytes a context of n_ctx tokens allocates. */
static uint64_t bytes_for(struct tb_context *c, uint32_t n_ctx) {
  struct tb_arena a = {0};
  struct tb_cache_config config = cache_config(c, n_ctx);
  struct tb_context_need need;
  uint64_t stored, cache;
  carve(c, &a, n_ctx, &need);
  tb_cache_bytes(&config, &stored, &cache);
  if (a.used == SIZE_MAX || cache > UINT64_MAX / 2) return UINT64_MAX;
  return cache + a.used;
}

/* The model's context, or the largest multiple of 256 that fits in 85 % of the memory that is left: the weights' pages
 * are in the file cache and want room too. */
static enum tb_status choose_context(struct tb_context *c, uint32_t wanted, struct tb_error *err) {
  const char *source;
  uint64_t available = tb_memory_available(&source);
  uint64_t weights = tb_gguf_file_bytes(c->model->gguf);
  uint64_t room = available > weights ? (available - weights) / 20 * 17 : 0;
  uint32_t n = wanted ? wanted : c->model->hp.n_ctx_train;
  if (wanted == 0 && available > 0 && bytes_for(c, n) > room) {
    uint32_t lo = 0, hi = n / 256;
    while (lo < hi) {
      uint32_t mid = lo + (hi - lo + 1) / 2;
      if (bytes_for(c, mid * 256) <= room)
        lo = mid;
      else
        hi = mid - 1;
    }
    if (lo == 0)
      return tb_fail(err, TB_E_LIMIT, "memory: not even a context of 256 tokens fits in the %.0f MiB that %s leaves",
                     (double)available / 0x1p20, source);
    n = lo * 256;
    c->reduced_by = source;
  }
  c->n_ctx = n;
  return TB_OK;
}

/* ------------------------------------------------------------------------------------------------------- making */

struct tb_cache_config tb_context_cache_config(const struct tb_context *c) {
  return cache_config(c, c->n_ctx);
}

static enum tb_status build(struct tb_context *c, const struct tb_context_options *o, struct tb_error *err) {
  const struct tb_allocator *alloc = &c->model->alloc;
  const uint32_t layers = c->model->hp.n_layer;
  c->plan = tb_calloc(alloc, layers, sizeof *c->plan);
  c->shapes = tb_calloc(alloc, layers, sizeof *c->shapes);
  if (!c->plan || !c->shapes) return tb_fail(err, TB_E_NOMEM, "context: out of memory");
  enum tb_status status = tb_context_make_plan(o, layers, c->plan, err);
  if (status) return status;
  if (o->kv_profile) {
    status = tb_model_profile(&c->profile, o->kv_profile, tb_model_identity(c->model->gguf), alloc, err);
    if (status) return status;
  }
  tb_context_make_shapes(c->model, &c->rope, c->profile, c->shapes);
  struct tb_cache_config config = cache_config(c, 256);
  if ((status = tb_cache_check(&config, err)) || (status = choose_context(c, o->n_ctx, err))) return status;
  if (c->n_batch > c->n_ctx) c->n_batch = c->n_ctx;
  if ((status = tb_team_create(&c->team, c->n_threads, alloc, err))) return status;
  struct tb_arena a = {0};
  struct tb_context_need need;
  carve(c, &a, c->n_ctx, &need);
  c->memory_bytes = a.used;
  c->block = a.used == SIZE_MAX ? NULL : tb_calloc(alloc, 1, a.used);
  if (!c->block)
    return tb_fail(err, TB_E_NOMEM, "context: cannot allocate %.1f MiB of buffers", (double)a.used / 0x1p20);
  a = (struct tb_arena){.base = c->block};
  carve(c, &a, c->n_ctx, &need);
  config = cache_config(c, c->n_ctx);
  uint64_t total;
  tb_cache_bytes(&config, &c->cache_bytes, &total);
  c->memory_bytes += total;
  if ((status = tb_cache_create(&c->cache, &config, &c->model->kernels, c->team, alloc, err))) return status;
  c->spill_dir = NULL; /* the caller's */
  c->pass.model = c->model;
  c->pass.team = c->team;
  c->pass.cache = c->cache;
  c->pass.rope = &c->rope;
  c->pass.ids = &c->ids;
  return TB_OK;
}

enum tb_status tb_context_create(struct tb_context **out, const struct tb_model *model,
                                 const struct tb_context_options *options, struct tb_error *err) {
  const struct tb_context_options defaults = {0}, *o = options ? options : &defaults;
  enum tb_status status = tb_context_check_options(o, err);
  if (status) return status;
  struct tb_context *c = tb_calloc(&model->alloc, 1, sizeof *c);
  if (!c) return tb_fail(err, TB_E_NOMEM, "context: out of memory");
  c->model = model;
  c->n_batch = o->n_batch ? o->n_batch : tb_context_default_batch(model, tb_gguf_file_bytes(model->gguf));
  c->n_threads = o->n_threads ? o->n_threads : tb_performance_cores();
  c->spill_dir = o->kv_spill;
  status = build(c, o, err);
  if (status) {
    tb_context_free(c);
    return status;
  }
  *out = c;
  return TB_OK;
}

void tb_context_free(struct tb_context *c) {
  if (!c) return;
  const struct tb_allocator *alloc = &c->model->alloc;
  tb_cache_free(c->cache);
  tb_team_free(c->team);
  tb_free(alloc, c->block);
  tb_free(alloc, c->shapes);
  tb_free(alloc, c->plan);
  tb_profile_free(c->profile);
  tb_free(alloc, c);
}

const char *const *tb_cache_types(void) {
  return tb_store_names();
}

void tb_context_get_info(const struct tb_context *c, struct tb_context_info *info) {
  *info = (struct tb_context_info){.n_ctx = c->n_ctx,
                                   .n_past = tb_cache_length(c->cache),
                                   .n_threads = c->n_threads,
                                   .n_encoded = tb_cache_encoded(c->cache),
                                   .n_ctx_reduced = c->reduced_by != NULL,
                                   .n_ctx_limit = c->reduced_by,
                                   .cache_bytes = c->cache_bytes,
                                   .memory_bytes = c->memory_bytes};
}

void tb_recall_get_stats(const struct tb_context *c, struct tb_recall_stats *stats) {
  struct tb_recalled r;
  tb_cache_recalled(c->cache, &r);
  *stats = (struct tb_recall_stats){.choices = r.steps,
                                    .attended = r.attended,
                                    .held = r.held,
                                    .chosen = r.chosen,
                                    .again = r.again,
                                    .bytes = r.bytes,
                                    .pages = r.pages,
                                    .pages_read = r.read,
                                    .bytes_read = r.read_bytes};
}

/* --------------------------------------------------------------------------------------------------- evaluating */

static enum tb_status check_tokens(const struct tb_context *c, const tb_token *tokens, size_t n, struct tb_error *err) {
  const uint32_t past = tb_cache_length(c->cache);
  if (n == 0) return tb_fail(err, TB_E_ARG, "no tokens to evaluate");
  if (n > c->n_ctx - past)
    return tb_fail(err, TB_E_CONTEXT, "context is full: %u of %u tokens are used and %zu more do not fit", past,
                   c->n_ctx, n);
  for (size_t i = 0; i < n; i++)
    if (tokens[i] < 0 || (uint32_t)tokens[i] >= c->model->hp.n_vocab)
      return tb_fail(err, TB_E_ARG, "token %d at %zu is not in the vocabulary of %u", tokens[i], i,
                     c->model->hp.n_vocab);
  return TB_OK;
}

/* Tables for a long context take longer than reading a short prompt: they are filled as far as it has come. */
void tb_context_reach(struct tb_context *c, uint32_t n) {
  enum { STEP = 512 };
  if (n <= c->n_angles) return;
  const uint32_t end = n < c->n_ctx - c->n_ctx % STEP ? (uint32_t)tb_round_up(n, STEP) : c->n_ctx;
  tb_rope_fill(&c->model->hp.rope, c->n_angles, end, c->cos, c->sin);
  c->n_angles = end;
}

/* The next n tokens: what a pass over them begins with. */
static void begin(struct tb_context *c, const tb_token *tokens, uint32_t n, uint32_t wanted) {
  struct tb_pass *p = &c->pass;
  p->n = n;
  p->wanted = wanted;
  p->pos = tb_cache_length(c->cache);
  p->tokens = tokens;
  memcpy(c->history + p->pos, tokens, n * sizeof *tokens);
  tb_context_reach(c, p->pos + n);
  tb_cache_step(c->cache, n);
}

/* One batch through the layers; p->x holds the outputs of the last `wanted` tokens afterwards. Fails as tb_cache_finish
 * does. */
static enum tb_status run_batch(struct tb_context *c, const tb_token *tokens, uint32_t n, uint32_t wanted,
                                struct tb_error *err) {
  begin(c, tokens, n, wanted);
  tb_op_embed(&c->pass);
  c->model->arch->forward(&c->pass);
  return tb_cache_finish(c->cache, err);
}

static enum tb_status check_logits(const struct tb_context *c, size_t columns, struct tb_error *err) {
  const size_t n = columns * c->model->hp.n_vocab;
  float sum = 0, lanes[16] = {0}; /* x - x is 0 for finite x and NaN otherwise: one pass, no branches */
  size_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (size_t l = 0; l < 16; l++)
      lanes[l] += c->logits[i + l] - c->logits[i + l];
  for (; i < n; i++)
    sum += c->logits[i] - c->logits[i];
  for (size_t l = 0; l < 16; l++)
    sum += lanes[l];
  return sum == 0 ? TB_OK : tb_fail(err, TB_E_NUMERIC, "the model's output is not finite: its weights are damaged");
}

/* Logits of the batch's tokens first … first+columns-1 into c->logits. */
static enum tb_status run_head(struct tb_context *c, uint32_t first, uint32_t columns, struct tb_error *err) {
  struct tb_pass *p = &c->pass;
  struct tb_pass head = *p; /* the norm of only these tokens */
  head.n = columns;
  head.x = p->x + (size_t)first * c->model->hp.n_embd;
  tb_op_norm(&head, c->model->output_norm);
  tb_op_head(&head, &c->model->output, 0, columns, c->logits);
  return check_logits(c, columns, err);
}

enum tb_status tb_eval(struct tb_context *c, const tb_token *tokens, size_t n, tb_progress_fn progress, void *user,
                       struct tb_error *err) {
  enum tb_status status = check_tokens(c, tokens, n, err);
  if (status) return status;
  c->has_logits = false;
  for (size_t done = 0; done < n;) {
    if (progress && !progress(user, done, n))
      return tb_fail(err, TB_E_CANCELLED, "cancelled after %zu of %zu tokens", done, n);
    uint32_t batch = n - done < c->n_batch ? (uint32_t)(n - done) : c->n_batch;
    if ((status = run_batch(c, tokens + done, batch, 1, err))) return status;
    done += batch;
  }
  if (progress) progress(user, n, n);
  status = run_head(c, 0, 1, err);
  c->has_logits = status == TB_OK;
  return status;
}

enum tb_status tb_eval_prompt(struct tb_context *c, const tb_token *tokens, size_t n, size_t *reused,
                              tb_progress_fn progress, void *user, struct tb_error *err) {
  if (n > c->n_ctx) return tb_fail(err, TB_E_CONTEXT, "context is full: %zu tokens are more than its %u", n, c->n_ctx);
  if (n == 0) return tb_fail(err, TB_E_ARG, "no tokens to evaluate");
  const uint32_t past = tb_cache_length(c->cache);
  uint32_t keep = 0;
  while (keep < past && keep < n - 1 && c->history[keep] == tokens[keep])
    keep++; /* the last one gives the logits */
  enum tb_status status = keep < past ? tb_cache_truncate(c->cache, keep, err) : TB_OK;
  if (status) return status;
  if (reused) *reused = keep;
  return tb_eval(c, tokens + keep, n - keep, progress, user, err);
}

/* The logits of a batch, one token after the other; before it, `done` of n were evaluated. */
static enum tb_status show_batch(struct tb_context *c, uint32_t batch, size_t done, size_t n, tb_logits_fn each,
                                 void *user, struct tb_error *err) {
  enum tb_status status = TB_OK;
  for (uint32_t first = 0; !status && first < batch; first += c->logits_columns) {
    uint32_t columns = batch - first < c->logits_columns ? batch - first : c->logits_columns;
    status = run_head(c, first, columns, err);
    for (uint32_t i = 0; !status && i < columns; i++)
      if (!each(user, done + first + i, c->logits + (size_t)i * c->model->hp.n_vocab))
        status = tb_fail(err, TB_E_CANCELLED, "cancelled after %zu of %zu tokens", done + first + i + 1, n);
  }
  return status;
}

enum tb_status tb_eval_all(struct tb_context *c, const tb_token *tokens, size_t n, tb_logits_fn each, void *user,
                           struct tb_error *err) {
  enum tb_status status = check_tokens(c, tokens, n, err);
  c->has_logits = false;
  for (size_t done = 0; !status && done < n;) {
    uint32_t batch = n - done < c->n_batch ? (uint32_t)(n - done) : c->n_batch;
    status = run_batch(c, tokens + done, batch, batch, err);
    if (!status) status = show_batch(c, batch, done, n, each, user, err);
    done += batch;
  }
  return status;
}

const float *tb_logits(const struct tb_context *c) {
  return c->has_logits ? c->logits : NULL;
}

enum tb_status tb_truncate(struct tb_context *c, uint32_t n, struct tb_error *err) {
  if (n > tb_cache_length(c->cache))
    return tb_fail(err, TB_E_ARG, "cannot keep %u tokens of %u", n, tb_cache_length(c->cache));
  enum tb_status status = tb_cache_truncate(c->cache, n, err);
  if (!status) c->has_logits = false;
  return status;
}

/* ------------------------------------------------------------------------------------------------------ filling */

/* What a layer appended of the step's tokens once, put into its place again. */
static void put_layer(struct tb_context *c, const struct tb_seen *seen, uint32_t il) {
  struct tb_pass *p = &c->pass;
  const struct tb_layer *l = &c->model->layers[il];
  const size_t k = (size_t)l->n_kv * l->d_k, v = (size_t)l->n_kv * l->d_v;
  memcpy(p->k, seen->k[il] + p->pos * k, p->n * k * sizeof *p->k); /* the cache overwrites them */
  memcpy(p->v, seen->v[il] + p->pos * v, p->n * v * sizeof *p->v);
  tb_cache_append(c->cache, il, p->k, p->v);
  tb_cache_attend(c->cache, il, NULL, NULL);
}

enum tb_status tb_context_put(struct tb_context *c, const tb_token *tokens, uint32_t n, const struct tb_seen *seen,
                              struct tb_error *err) {
  enum tb_status status = check_tokens(c, tokens, n, err);
  c->has_logits = false;
  for (uint32_t done = 0; !status && done < n; done += c->pass.n) {
    begin(c, tokens + done, n - done < c->n_batch ? n - done : c->n_batch, 0);
    for (uint32_t il = 0; il < c->model->hp.n_layer; il++)
      put_layer(c, seen, il);
    status = tb_cache_finish(c->cache, err);
  }
  return status;
}

enum tb_status tb_context_resume(struct tb_context *c, const tb_token *tokens, uint32_t n, const struct tb_seen *seen,
                                 uint32_t first, const float *x, tb_logits_fn each, void *user, struct tb_error *err) {
  enum tb_status status = check_tokens(c, tokens, n, err);
  if (status) return status;
  c->has_logits = false;
  begin(c, tokens, n, n);
  for (uint32_t il = 0; il < first; il++)
    put_layer(c, seen, il);
  memcpy(c->pass.x, x, (size_t)n * c->model->hp.n_embd * sizeof *x);
  c->pass.first = first;
  c->model->arch->forward(&c->pass);
  c->pass.first = 0;
  status = tb_cache_finish(c->cache, err);
  return status ? status : show_batch(c, n, 0, n, each, user, err);
}

enum tb_status tb_fill_synthetic(struct tb_context *c, uint32_t n, uint64_t seed, struct tb_error *err) {
  struct tb_rng rng = {seed};
  c->has_logits = false;
  if (n > c->n_ctx - tb_cache_length(c->cache))
    return tb_fail(err, TB_E_CONTEXT, "context is full: %u of %u tokens are used and %u more do not fit",
                   tb_cache_length(c->cache), c->n_ctx, n);
  tb_context_reach(c, tb_cache_length(c->cache) + n);
  for (uint32_t done = 0; done < n;) {
    const uint32_t batch = n - done < c->n_batch ? n - done : c->n_batch;
    for (uint32_t i = 0; i < batch; i++)
      c->history[tb_cache_length(c->cache) + i] = -1;
    tb_cache_step(c->cache, batch);
    for (uint32_t il = 0; il < c->model->hp.n_layer; il++) {
      const struct tb_layer *l = &c->model->layers[il];
      for (size_t i = 0; i < (size_t)batch * l->n_kv * l->d_k; i++)
        c->pass.k[i] = tb_rng_normal(&rng);
      for (size_t i = 0; i < (size_t)batch * l->n_kv * l->d_v; i++)
        c->pass.v[i] = tb_rng_normal(&rng);
      tb_cache_append(c->cache, il, c->pass.k, c->pass.v);
      tb_cache_attend(c->cache, il, NULL, NULL);
    }
    enum tb_status status = tb_cache_finish(c->cache, err);
    if (status) return status;
    done += batch;
  }
  return TB_OK;
}
