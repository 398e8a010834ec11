/* The public side of the planner: limits, the call, what it says. */
#include "core/plan.h"

#include <stdio.h>
#include <string.h>
#include "base/sysfile.h"
#include "cache/plan/bytes.h"
#include "cache/plan/loss.h"
#include "cache/plan/plan_file.h"
#include "cache/plan/time.h"

/* ------------------------------------------------------------------------------------------------------------- limits
 */

static void bound(struct tb_plan *p, const char *source, enum tb_plan_total total, uint64_t bytes, bool soft) {
  p->bounds[p->n_bounds++] = (struct tb_plan_bound){.source = source, .total = total, .bytes = bytes, .soft = soft};
}

/* MemAvailable is an estimate: a twentieth is left alone. Limits that the kernel enforces are taken whole. Passing RAM
 * with weights that can be read again costs speed, not the run. */
static void read_limits(struct tb_plan *p) {
  struct tb_memory_limit limits[TB_MEMORY_LIMITS];
  const size_t n = p->options.elsewhere ? 0 : tb_memory_limits(limits);
  if (p->options.ram) bound(p, "--ram", TB_TOTAL_FAST, p->options.ram, false);
  for (size_t i = 0; i < n; i++) {
    const struct tb_memory_limit *l = &limits[i];
    const uint64_t bytes = l->estimate ? l->bytes / 20 * 19 : l->bytes;
    if (l->kind == TB_LIMIT_RESIDENT) {
      bound(p, l->source, TB_TOTAL_HARD, bytes, false);
      bound(p, l->source, TB_TOTAL_FAST, bytes, true);
    } else {
      bound(p, l->source, l->kind == TB_LIMIT_ADDRESS ? TB_TOTAL_ADDRESS : TB_TOTAL_DATA, bytes, false);
    }
  }
}

/* ----------------------------------------------------------------------------------------------------------- planning
 */

bool tb_plan_text_append(void *user, const char *s, size_t n) {
  struct tb_plan_text *t = user;
  if (!tb_grow(t->a, &t->data, &t->cap, t->n + n + 1, 1)) return false;
  memcpy((char *)t->data + t->n, s, n);
  t->n += n;
  ((char *)t->data)[t->n] = '\0';
  return true;
}

static enum tb_status make(struct tb_plan *p, struct tb_error *err) {
  const uint32_t n_layer = p->subject.model.hp.n_layer;
  struct tb_context_options *o = &p->options.context;
  if (!o->n_batch) o->n_batch = tb_context_default_batch(&p->subject.model, p->subject.file_bytes);
  if (!o->n_threads) o->n_threads = tb_performance_cores();
  p->answer.lines = tb_calloc(&p->alloc, n_layer, sizeof *p->answer.lines);
  p->shapes = tb_calloc(&p->alloc, n_layer, sizeof *p->shapes);
  if (!p->answer.lines || !p->shapes) return tb_fail(err, TB_E_NOMEM, "plan: out of memory");
  p->rope = (struct tb_rope_table){.n_rot = p->subject.model.hp.rope.n_rot, .neox = p->subject.model.hp.rope.neox};
  if (o->kv_profile) {
    enum tb_status opened = tb_plan_subject_profile(&p->subject, o->kv_profile, err);
    if (!opened) opened = tb_loss_check(p->subject.profile, n_layer, err);
    if (opened) return opened;
  }
  tb_context_make_shapes(&p->subject.model, &p->rope, p->subject.profile, p->shapes);
  read_limits(p);
  const struct tb_plan_ask ask = {
      .subject = &p->subject, .options = o, .prefer = p->options.prefer, .bounds = p->bounds, .n_bounds = p->n_bounds};
  enum tb_status status = tb_plan_search(&ask, &p->answer, &p->alloc, err);
  if (status) return status;
  const struct tb_plan_size size = {.n_ctx = p->answer.n_ctx, .n_batch = p->answer.n_batch, .n_threads = o->n_threads};
  tb_plan_count_all(&p->subject, size, p->shapes, p->answer.lines, &p->count);
  struct tb_plan_text t = {.a = &p->alloc};
  if (!tb_plan_write(p->answer.lines, n_layer, tb_plan_text_append, &t))
    status = tb_fail(err, TB_E_NOMEM, "plan: out of memory");
  p->text = t.data;
  return status ? status : tb_plan_try_settings(p, err);
}

static enum tb_status create(struct tb_plan **out, const struct tb_plan_options *options, struct tb_error *err) {
  const struct tb_plan_options defaults = {0}, *o = options ? options : &defaults;
  const struct tb_allocator *a = o->allocator ? o->allocator : &tb_system_allocator;
  struct tb_context_options words = o->context;
  if (tb_plan_may_spill(&words)) {
    words.kv_spill = NULL;
    words.kv_resident = 0;
  }
  enum tb_status status = tb_context_check_options(&words, err);
  if (status) return status;
  if (o->prefer > TB_PREFER_CONTEXT)
    return tb_fail(err, TB_E_ARG, "prefer: %d is none of enum tb_prefer", (int)o->prefer);
  struct tb_plan *p = tb_calloc(a, 1, sizeof *p);
  if (!p) return tb_fail(err, TB_E_NOMEM, "plan: out of memory");
  p->alloc = *a;
  p->options = *o;
  *out = p;
  return TB_OK;
}

static enum tb_status finish(struct tb_plan **out, struct tb_plan *p, enum tb_status status, struct tb_error *err) {
  if (!status) {
    p->subject.sampler = tb_sampler_bytes(p->subject.model.hp.n_vocab, p->options.sampler);
    status = make(p, err);
  }
  /* What the options point to belongs to the caller. */
  p->options.context.kv_plan = p->options.context.type_k = p->options.context.type_v = NULL;
  p->options.context.kv_profile = p->options.context.kv_spill = NULL;
  p->options.sampler = NULL;
  if (!status)
    *out = p;
  else
    tb_plan_free(p);
  return status;
}

enum tb_status tb_plan_file(struct tb_plan **out, const char *path, const struct tb_plan_options *options,
                            struct tb_error *err) {
  struct tb_plan *p = NULL;
  enum tb_status status = create(&p, options, err);
  return status ? status : finish(out, p, tb_plan_subject_file(&p->subject, path, &p->alloc, err), err);
}

enum tb_status tb_plan_shape(struct tb_plan **out, const char *shape, const char *type,
                             const struct tb_plan_options *options, struct tb_error *err) {
  struct tb_plan *p = NULL;
  enum tb_status status = create(&p, options, err);
  return status ? status : finish(out, p, tb_plan_subject_shape(&p->subject, shape, type, &p->alloc, err), err);
}

void tb_plan_free(struct tb_plan *p) {
  if (!p) return;
  const struct tb_allocator a = p->alloc;
  if (p->subject.model.layers) tb_plan_subject_free(&p->subject);
  tb_free(&a, p->answer.lines);
  tb_free(&a, p->shapes);
  tb_free(&a, p->text);
  tb_free(&a, p);
}

/* ---------------------------------------------------------------------------------------------------------- reporting
 */

void tb_plan_get_info(const struct tb_plan *p, struct tb_plan_info *info) {
  const struct tb_hparams *hp = &p->subject.model.hp;
  const struct tb_plan_answer *a = &p->answer;
  double us_f16;
  const double us = tb_plan_us(p->shapes, a->lines, hp->n_layer, a->n_ctx, &us_f16);
  *info = (struct tb_plan_info){.name = p->subject.name,
                                .architecture = p->subject.arch,
                                .n_layer = hp->n_layer,
                                .n_ctx = a->n_ctx,
                                .n_ctx_train = hp->n_ctx_train,
                                .n_batch = a->n_batch,
                                .n_threads = p->options.context.n_threads,
                                .fits = a->fits,
                                .paging = a->paging,
                                .calibrated = tb_loss_measured(p->subject.profile),
                                .prefer = p->options.prefer,
                                .loss = a->loss,
                                .us = us,
                                .us_f16 = us_f16,
                                .limited_by = a->limited_by,
                                .fast = p->count.total[TB_TOTAL_FAST],
                                .hard = p->count.total[TB_TOTAL_HARD],
                                .address = p->count.total[TB_TOTAL_ADDRESS],
                                .data = p->count.total[TB_TOTAL_DATA],
                                .anonymous = p->count.anonymous,
                                .mapped = p->subject.file_bytes,
                                .text = p->text,
                                .n_classes = p->count.n,
                                .n_limits = p->n_bounds,
                                .n_settings = p->n_tried};
  for (uint32_t i = 0; i < hp->n_layer; i++)
    info->n_spilled += a->lines[i].resident > 0;
  for (size_t i = 0; i < 2 && i < p->count.n; i++)
    if (strcmp(p->count.classes[i].name, "keys and values") == 0 ||
        strcmp(p->count.classes[i].name, "window and sinks") == 0)
      info->cache += p->count.classes[i].bytes;
}

void tb_plan_get_class(const struct tb_plan *p, size_t i, struct tb_plan_class *out) {
  *out = p->count.classes[i];
}

void tb_plan_get_limit(const struct tb_plan *p, size_t i, struct tb_plan_limit *out) {
  static const char *const names[TB_TOTALS] = {"fast", "hard", "address", "data"};
  *out = (struct tb_plan_limit){
      .source = p->bounds[i].source, .total = names[p->bounds[i].total], .bytes = p->bounds[i].bytes};
}

void tb_plan_get_layer(const struct tb_plan *p, uint32_t i, struct tb_plan_layer_info *out) {
  const struct tb_plan_layer *l = &p->answer.lines[i];
  const struct tb_kv_shape *s = &p->shapes[i];
  const uint32_t n = p->subject.model.hp.n_layer;
  *out = (struct tb_plan_layer_info){
      .type_k = l->type_k,
      .type_v = l->type_v,
      .window = l->window,
      .sinks = l->sinks,
      .n_head = s->n_head,
      .n_kv = s->n_kv,
      .d_k = s->d_k,
      .d_v = s->d_v,
      .bytes = tb_plan_layer_bytes(s, l, p->answer.n_ctx, p->answer.n_batch, p->options.context.n_threads),
      .recall = l->recall,
      .resident = l->resident,
      .merged = (l->merge.with == TB_MERGE_UP) - (l->merge.with == TB_MERGE_DOWN),
      .loss = tb_loss_line(s, l, n, p->answer.n_ctx),
      .us = tb_time_us(s, l, p->answer.n_ctx)};
}

void tb_plan_get_setting(const struct tb_plan *p, size_t i, struct tb_plan_setting *out) {
  *out = p->tried[i].setting;
  out->options = p->tried[i].text;
}

/* ----------------------------------------------------------------------------------------------------------- measuring
 */

void tb_memory_get_usage(struct tb_memory_usage *u) {
  *u = (struct tb_memory_usage){0};
  const struct {
    const char *key;
    uint64_t *target;
  } fields[] = {{"RssAnon", &u->anonymous}, {"RssFile", &u->file}, {"VmHWM", &u->peak},
                {"VmPeak", &u->address},    {"VmData", &u->data},  {"VmPTE", &u->page_tables}};
  struct tb_sys_lines l;
  if (!tb_sys_open(&l, "", "/proc/self/status")) return;
  for (char *line; (line = tb_sys_next(&l));)
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
      const char *text = tb_sys_field(line, fields[i].key);
      uint64_t kib;
      if (text && tb_sys_number(text, &kib, NULL)) *fields[i].target = kib * 1024;
    }
  tb_sys_close(&l);
}
