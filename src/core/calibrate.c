/* Calibration: a text goes through the model in pieces of a context's length, while every layer's queries, keys and
 * values are summed up. Then, with a first profile for the stores to use, what each of them loses. */
#include "core/calibrate.h"

#include <stdio.h>
#include <string.h>
#include "cache/plan/loss.h"

enum {
  TOKENS = 16384,
  CTX = 2048,
  LEAST_TOKENS = 128, /* with fewer, moments say nothing */
};

struct tokens {
  tb_token *ids; /* owned */
  size_t n;
  tb_token bos; /* -1: the model's texts begin without */
};

static enum tb_status tokenize(const struct tb_model *m, const char *text, size_t length, size_t most,
                               struct tokens *out, struct tb_error *err) {
  const unsigned flags = TB_TOKENIZE_SPECIAL_PARSE | TB_TOKENIZE_SPECIAL_ADD;
  const size_t cap = length + 16;
  size_t n_bos = 0;
  out->bos = -1;
  out->ids = tb_alloc(&m->alloc, cap, sizeof *out->ids);
  if (!out->ids) return tb_fail(err, TB_E_NOMEM, "calibrate: out of memory");
  enum tb_status status = tb_tokenize(m, text, length, flags, out->ids, cap, &out->n, err);
  if (!status) status = tb_tokenize(m, "", 0, flags, &out->bos, 1, &n_bos, err);
  if (n_bos == 0) out->bos = -1;
  if (!status && out->n < LEAST_TOKENS)
    status = tb_fail(err, TB_E_ARG, "calibrate: the text has %zu tokens, at least %d are needed", out->n, LEAST_TOKENS);
  if (out->n > most) out->n = most;
  return status;
}

/* Progress over all pieces. */
struct progress {
  tb_progress_fn fn;
  void *user;
  size_t before, total;
};

static bool show(void *user, size_t done, size_t total) {
  (void)total;
  const struct progress *p = user;
  return !p->fn || p->fn(p->user, p->before + done, p->total);
}

/* Runs all pieces; each begins anew, as a text does. */
static enum tb_status run(struct tb_context *ctx, struct tokens *t, struct progress *p, struct tb_error *err) {
  enum tb_status status = TB_OK;
  for (size_t at = 0; !status && at < t->n; at += ctx->n_ctx) {
    const size_t n = t->n - at < ctx->n_ctx ? t->n - at : ctx->n_ctx;
    if (t->bos >= 0) t->ids[at] = t->bos;
    p->before = at;
    status = tb_truncate(ctx, 0, err);
    if (!status) status = tb_eval(ctx, t->ids + at, n, show, p, err);
  }
  if (!status && !show(p, t->n - p->before, 0)) status = tb_fail(err, TB_E_CANCELLED, "cancelled");
  return status;
}

static enum tb_status open_context(struct tb_context **ctx, const struct tb_model *model,
                                   const struct tb_calibrate_options *o, size_t n_tokens, struct tb_error *err) {
  uint32_t n_ctx = o->n_ctx ? o->n_ctx : CTX;
  if (n_ctx > model->hp.n_ctx_train && !o->n_ctx) n_ctx = model->hp.n_ctx_train;
  if (n_ctx > n_tokens) n_ctx = (uint32_t)n_tokens;
  const struct tb_context_options options = {.n_ctx = n_ctx,
                                             .n_batch = o->n_batch ? o->n_batch : TB_CONTEXT_BATCH,
                                             .n_threads = o->n_threads,
                                             .type_k = "f32",
                                             .type_v = "f32"};
  return tb_context_create(ctx, model, &options, err);
}

/* The statistics, written to `path`. */
static enum tb_status measure(const struct tb_model *model, const struct tb_calibrate_options *o, struct tokens *tokens,
                              struct progress *progress, const char *path, struct tb_error *err) {
  struct tb_context *ctx = NULL;
  struct tb_calibration c = {0};
  enum tb_status status = open_context(&ctx, model, o, tokens->n, err);
  if (!status) status = tb_calibration_create(&c, model, ctx->team, ctx->n_batch, err);
  if (!status) {
    ctx->pass.observe = tb_calibration_observe;
    ctx->pass.observer = &c;
    status = run(ctx, tokens, progress, err);
  }
  if (!status) status = tb_calibration_write(&c, path, err);
  tb_calibration_free(&c);
  tb_context_free(ctx);
  return status;
}

/* The losses, with the statistics at `from`, and the whole profile to `path`. */
static enum tb_status measure_losses(const struct tb_model *model, const struct tb_calibrate_options *o,
                                     const struct tokens *tokens, const struct progress *progress, const char *from,
                                     const char *path, struct tb_error *err) {
  struct tb_loss_table t = {.n_layer = model->hp.n_layer};
  while (tb_loss_row(t.n_rows))
    t.n_rows++;
  t.values = tb_calloc(&model->alloc, 2 * t.n_layer * t.n_rows, sizeof *t.values);
  if (!t.values) return tb_fail(err, TB_E_NOMEM, "calibrate: out of memory");
  const struct tb_loss_progress p = {progress->fn, progress->user, tokens->n, progress->total};
  enum tb_status status = tb_calibrate_loss(&t, model, tokens->ids, tokens->n, from, o->n_threads, &p, err);
  if (!status) status = tb_calibrate_join(&t, model, from, path, err);
  tb_free(&model->alloc, t.values);
  return status;
}

enum tb_status tb_calibrate(const struct tb_model *model, const char *text, size_t length, const char *path,
                            const struct tb_calibrate_options *options, tb_progress_fn progress, void *user,
                            struct tb_error *err) {
  const struct tb_calibrate_options defaults = {0}, *o = options ? options : &defaults;
  struct tokens tokens = {0};
  char first[4096];
  if (snprintf(first, sizeof first, "%s%s", path, o->no_losses ? "" : ".part") >= (int)sizeof first)
    return tb_fail(err, TB_E_ARG, "calibrate: the profile's path is too long");
  enum tb_status status = tokenize(model, text, length, o->n_tokens ? o->n_tokens : TOKENS, &tokens, err);
  struct progress p = {progress, user, 0, tokens.n};
  if (!o->no_losses) p.total += tb_calibrate_loss_work(model, tokens.n);
  if (!status) status = measure(model, o, &tokens, &p, first, err);
  if (!status && !o->no_losses) {
    status = measure_losses(model, o, &tokens, &p, first, path, err);
    remove(first);
  }
  tb_free(&model->alloc, tokens.ids);
  return status;
}
