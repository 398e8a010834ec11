#include "cache/cache.h"

#include <stdio.h>
#include <string.h>
#include "base/checksum.h"
#include "cache/policy/policy.h"

struct tb_cache {
  const struct tb_allocator *alloc;
  struct tb_cache_config config; /* plan points into the block */
  struct tb_cache_work work;
  struct tb_policy **layers;
  struct tb_spillfile file; /* closed unless a part of the cache is in it */
  unsigned char *block; /* everything below; owned */
  uint32_t length, step;
};

static struct tb_policy_layer layer_of(const struct tb_cache_config *c, uint32_t i) {
  return (struct tb_policy_layer){.shape = &c->shapes[i],
                                  .plan = &c->plan[i],
                                  .index = i,
                                  .n_layer = c->n_layer,
                                  .n_ctx = c->n_ctx,
                                  .n_batch = c->n_batch,
                                  .n_threads = c->n_threads};
}

bool tb_cache_spilled(const struct tb_cache_config *c) {
  for (uint32_t i = 0; i < c->n_layer; i++)
    if (c->plan[i].recall && c->plan[i].resident) return true;
  return false;
}

enum tb_status tb_cache_check(const struct tb_cache_config *c, struct tb_error *err) {
  for (uint32_t i = 0; i < c->n_layer; i++) {
    struct tb_policy_layer layer = layer_of(c, i);
    enum tb_status status = tb_policy_of(layer.plan)->check(&layer, err);
    char where[32];
    snprintf(where, sizeof where, "layer %u", i);
    if (status) return tb_fail_prefix(err, status, where);
  }
  return TB_OK;
}

/* Carves everything; with a.base NULL it only counts. */
static void carve(struct tb_cache *c, struct tb_arena *a, const struct tb_kernels *kernels, void *init_work,
                  uint64_t *stored) {
  const struct tb_cache_config *cfg = &c->config;
  c->file.bytes = 0;
  struct tb_plan_layer *plan = tb_carve(a, cfg->n_layer, sizeof *plan);
  if (plan) {
    memcpy(plan, cfg->plan, cfg->n_layer * sizeof *plan);
    c->config.plan = plan;
  }
  c->layers = tb_carve(a, cfg->n_layer, sizeof *c->layers);
  struct tb_policy_need need = {0};
  size_t query = 0;
  *stored = 0;
  for (uint32_t i = 0; i < cfg->n_layer; i++) {
    struct tb_policy_layer layer = layer_of(cfg, i);
    layer.init_work = init_work;
    layer.file_bytes = &c->file.bytes;
    const struct tb_policy_ops *policy = tb_policy_of(layer.plan);
    struct tb_policy_need n = policy->need(&layer);
    if (n.scratch_bytes > need.scratch_bytes) need.scratch_bytes = n.scratch_bytes;
    if (n.partials > need.partials) need.partials = n.partials;
    for (int side = 0; side < 2; side++)
      if (n.chunk[side] > need.chunk[side]) need.chunk[side] = n.chunk[side];
    if (n.shared_bytes > need.shared_bytes) need.shared_bytes = n.shared_bytes;
    if ((size_t)layer.shape->n_head * layer.shape->d_k > query) query = (size_t)layer.shape->n_head * layer.shape->d_k;
    struct tb_policy *before = c->layers && i > 0 ? c->layers[i - 1] : NULL;
    struct tb_policy *made = policy->create(a, &layer, before, kernels, stored);
    if (c->layers) c->layers[i] = made;
  }
  c->work.scratch_bytes = tb_round_up(need.scratch_bytes, TB_ALIGN);
  c->work.scratch = tb_carve(a, cfg->n_threads, c->work.scratch_bytes);
  c->work.partials = tb_carve(a, need.partials, sizeof(float));
  for (int side = 0; side < 2; side++)
    c->work.chunk[side] = tb_carve(a, need.chunk[side], 1);
  c->work.shared = tb_carve(a, need.shared_bytes, 1);
  c->work.query = tb_carve(a, query, sizeof(float));
  c->work.query_q = tb_carve(a, query, 1);
  c->work.query_d = tb_carve(a, query / 32 + 1, sizeof(float));
  c->work.query_s = tb_carve(a, query / 16 + 1, sizeof(int16_t));
  c->work.n_threads = cfg->n_threads;
  if (!tb_cache_spilled(cfg)) return;
  c->work.errors = tb_carve(a, cfg->n_threads, sizeof *c->work.errors);
  c->work.crcs = tb_carve(a, cfg->n_threads, sizeof *c->work.crcs);
}

uint64_t tb_cache_init_bytes(const struct tb_cache_config *c) {
  size_t most = 0;
  for (uint32_t i = 0; i < c->n_layer; i++) {
    struct tb_policy_layer layer = layer_of(c, i);
    size_t n = tb_policy_of(layer.plan)->need(&layer).init_bytes;
    if (n > most) most = n;
  }
  return most;
}

void tb_cache_bytes(const struct tb_cache_config *config, uint64_t *stored, uint64_t *total) {
  struct tb_cache counted = {.config = *config};
  struct tb_arena a = {0};
  carve(&counted, &a, NULL, NULL, stored);
  *total = a.used == SIZE_MAX ? UINT64_MAX : a.used + sizeof(struct tb_cache);
}

/* Where what is not resident goes. */
static enum tb_status open_file(struct tb_cache *c, struct tb_error *err) {
  const uint64_t bytes = c->file.bytes;
  if (!c->work.errors) return TB_OK;
  if (!c->config.spill_dir)
    return tb_fail(err, TB_E_ARG, "recall: resident= needs a folder for what is not in memory (kv_spill)");
  for (uint32_t i = 0; i < c->config.n_threads; i++)
    tb_crc32c_start(&c->work.crcs[i]);
  c->work.file = &c->file;
  return tb_spillfile_open(&c->file, c->config.spill_dir, bytes, c->alloc, err);
}

struct zeroing {
  unsigned char *block;
  size_t bytes;
};
enum { ZEROED = 4 << 20 }; /* bytes of a task: two huge pages */

static void zero_task(void *arg, size_t task, unsigned thread) {
  (void)thread;
  const struct zeroing *z = arg;
  const size_t at = task * ZEROED, left = z->bytes - at;
  memset(z->block + at, 0, left < ZEROED ? left : ZEROED);
}

/* Every page is touched now, so that a lack of memory shows here and not in the middle of an answer. */
static unsigned char *zeroed(size_t bytes, struct tb_team *team, const struct tb_allocator *a) {
  struct zeroing z = {tb_alloc_large(a, bytes), bytes};
  if (z.block) tb_parallel_for(team, (bytes + ZEROED - 1) / ZEROED, zero_task, &z);
  return z.block;
}

enum tb_status tb_cache_create(struct tb_cache **out, const struct tb_cache_config *config,
                               const struct tb_kernels *kernels, struct tb_team *team, const struct tb_allocator *alloc,
                               struct tb_error *err) {
  enum tb_status status = tb_cache_check(config, err);
  if (status) return status;
  uint64_t stored, total;
  tb_cache_bytes(config, &stored, &total);
  struct tb_cache *c = tb_calloc(alloc, 1, sizeof *c);
  if (!c) return tb_fail(err, TB_E_NOMEM, "KV cache: out of memory");
  c->alloc = alloc;
  c->config = *config;
  c->file.fd = -1;
  c->work.kernels = kernels;
  c->work.team = team;
  c->block = total < SIZE_MAX ? zeroed((size_t)total - sizeof *c, team, alloc) : NULL;
  const size_t init = (size_t)tb_cache_init_bytes(config);
  void *work = init && c->block ? tb_alloc(alloc, init, 1) : NULL;
  if (!c->block || (init && !work)) {
    tb_free(alloc, c->block);
    tb_free(alloc, c);
    return tb_fail(err, TB_E_NOMEM, "KV cache: cannot allocate %.1f MiB for a context of %u tokens",
                   (double)total / 0x1p20, config->n_ctx);
  }
  struct tb_arena a = {.base = c->block};
  carve(c, &a, kernels, work, &stored);
  tb_free(alloc, work);
  status = open_file(c, err);
  if (status)
    tb_cache_free(c);
  else
    *out = c;
  return status;
}

void tb_cache_free(struct tb_cache *c) {
  if (!c) return;
  tb_spillfile_close(&c->file);
  tb_free(c->alloc, c->block);
  tb_free(c->alloc, c);
}

const struct tb_policy *tb_cache_policy(const struct tb_cache *c, uint32_t layer) {
  return c->layers[layer];
}

uint32_t tb_cache_length(const struct tb_cache *c) {
  return c->length;
}

uint32_t tb_cache_encoded(const struct tb_cache *c) {
  uint32_t least = c->length;
  for (uint32_t i = 0; i < c->config.n_layer; i++) {
    uint32_t n = c->layers[i]->ops->encoded(c->layers[i]);
    if (n < least) least = n;
  }
  return least;
}

static void clear_errors(struct tb_cache *c) {
  for (uint32_t i = 0; c->work.errors && i < c->work.n_threads; i++)
    c->work.errors[i].status = TB_OK;
}

void tb_cache_step(struct tb_cache *c, uint32_t n) {
  clear_errors(c);
  c->step = n;
  c->length += n;
}

void tb_cache_append(struct tb_cache *c, uint32_t layer, float *k, float *v) {
  if (tb_work_failed(&c->work)) return;
  c->layers[layer]->ops->append(c->layers[layer], &c->work, c->length - c->step, c->step, k, v);
}

void tb_cache_attend(struct tb_cache *c, uint32_t layer, const float *q, float *out) {
  if (tb_work_failed(&c->work)) return;
  c->layers[layer]->ops->attend(c->layers[layer], &c->work, c->length - c->step, c->step, q, out);
}

/* The first thread's error, which is cleared; TB_OK when there is none. */
static enum tb_status take_error(struct tb_cache *c, struct tb_error *err) {
  uint32_t i = 0;
  while (i + 1 < c->work.n_threads && c->work.errors[i].status == TB_OK)
    i++;
  const enum tb_status status = c->work.errors[i].status;
  if (status && err) *err = c->work.errors[i];
  clear_errors(c);
  return status;
}

static void truncate(struct tb_cache *c, uint32_t n) {
  for (uint32_t i = 0; i < c->config.n_layer; i++)
    c->layers[i]->ops->truncate(c->layers[i], &c->work, n);
  c->length = n;
}

/* What truncating to n needs of the file is read for all layers before anything changes. */
static bool prepare(struct tb_cache *c, uint32_t n) {
  bool ready = true;
  for (uint32_t i = 0; i < c->config.n_layer && ready; i++) {
    const struct tb_policy_ops *ops = c->layers[i]->ops;
    ready = !ops->prepare || ops->prepare(c->layers[i], &c->work, n);
  }
  return ready;
}

enum tb_status tb_cache_truncate(struct tb_cache *c, uint32_t n, struct tb_error *err) {
  if (!prepare(c, n)) return take_error(c, err);
  truncate(c, n);
  return TB_OK;
}

/* The most tokens up to n for which no layer has to read. */
static uint32_t settled(const struct tb_cache *c, uint32_t n) {
  for (uint32_t i = 0; i < c->config.n_layer;) {
    const struct tb_policy_ops *ops = c->layers[i]->ops;
    const uint32_t least = ops->settled ? ops->settled(c->layers[i], n) : n;
    i = least < n ? 0 : i + 1;
    n = least;
  }
  return n;
}

enum tb_status tb_cache_finish(struct tb_cache *c, struct tb_error *err) {
  if (!tb_work_failed(&c->work)) return TB_OK;
  const enum tb_status status = take_error(c, err);
  const uint32_t n = c->length - c->step;
  const bool ready = prepare(c, n);
  clear_errors(c);
  truncate(c, ready ? n : settled(c, n));
  return status;
}

/* ------------------------------------------------------------------------------------------------------- saving */

uint32_t tb_cache_state_words(const struct tb_cache *c) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < c->config.n_layer; i++)
    n += c->layers[i]->ops->state_words(c->layers[i]);
  return n;
}

void tb_cache_get_state(const struct tb_cache *c, uint32_t *words) {
  for (uint32_t i = 0; i < c->config.n_layer; i++) {
    c->layers[i]->ops->get_state(c->layers[i], words);
    words += c->layers[i]->ops->state_words(c->layers[i]);
  }
}

enum tb_status tb_cache_set_state(struct tb_cache *c, uint32_t length, const uint32_t *words, struct tb_error *err) {
  if (length > c->config.n_ctx)
    return tb_fail(err, TB_E_CONTEXT, "the saved conversation has %u tokens, the context holds %u", length,
                   c->config.n_ctx);
  uint32_t i = 0;
  for (; i < c->config.n_layer && c->layers[i]->ops->set_state(c->layers[i], length, words); i++)
    words += c->layers[i]->ops->state_words(c->layers[i]);
  if (i == c->config.n_layer) {
    c->length = length;
    return TB_OK;
  }
  truncate(c, 0);
  return tb_fail(err, TB_E_FORMAT, "layer %u: the saved state is impossible", i);
}

enum tb_status tb_cache_pieces(struct tb_cache *c, tb_cache_piece_fn fn, void *user, struct tb_error *err) {
  enum tb_status status = TB_OK;
  for (uint32_t i = 0; !status && i < c->config.n_layer; i++)
    status = c->layers[i]->ops->pieces(c->layers[i], fn, user, err);
  return status;
}

enum tb_status tb_cache_verify(const struct tb_cache *c, struct tb_error *err) {
  for (uint32_t i = 0; i < c->config.n_layer; i++)
    if (c->layers[i]->ops->verify && !c->layers[i]->ops->verify(c->layers[i]))
      return tb_fail(err, TB_E_FORMAT, "layer %u: %s: what was saved is impossible", i, c->layers[i]->ops->name);
  return TB_OK;
}

void tb_cache_recalled(const struct tb_cache *c, struct tb_recalled *counts) {
  *counts = (struct tb_recalled){0};
  for (uint32_t i = 0; i < c->config.n_layer; i++)
    if (c->layers[i]->ops->recalled) c->layers[i]->ops->recalled(c->layers[i], counts);
}

/* What the bytes of a layer mean; nothing as long as they mean what they meant at first. */
static void add_revisions(struct tb_crc *crc, const struct tb_plan_layer *p) {
  const uint32_t revisions[] = {tb_policy_of(p)->revision, tb_store_find(p->type_k)->revision,
                                tb_store_find(p->type_v)->revision};
  if (revisions[0] || revisions[1] || revisions[2]) tb_crc_add(crc, revisions, sizeof revisions);
}

uint64_t tb_cache_identity(const struct tb_cache_config *config) {
  struct tb_crc crc;
  tb_crc64_start(&crc);
  for (uint32_t i = 0; i < config->n_layer; i++) {
    const struct tb_kv_shape *s = &config->shapes[i];
    const struct tb_plan_layer *p = &config->plan[i];
    const uint32_t numbers[] = {s->n_kv,  s->d_k,        s->d_v,          s->sliding,       p->window,
                                p->sinks, p->merge.with, p->merge.retain, p->merge.similar, p->merge.unaligned};
    tb_crc_add(&crc, numbers, sizeof numbers);
    if (p->recall) {
      const uint32_t recall[] = {p->recall, p->cluster, p->segment, p->form};
      tb_crc_add(&crc, recall, sizeof recall);
    }
    tb_crc_add(&crc, p->type_k, strlen(p->type_k) + 1);
    tb_crc_add(&crc, p->type_v, strlen(p->type_v) + 1);
    add_revisions(&crc, p);
    if (s->profile && (p->merge.with || tb_store_find(p->type_k)->profiled || tb_store_find(p->type_v)->profiled)) {
      const uint64_t profile = tb_profile_identity(s->profile);
      tb_crc_add(&crc, &profile, sizeof profile);
    }
  }
  return tb_crc_value(&crc);
}
