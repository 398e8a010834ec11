/* The cache configurations that are compared: their plans, contexts and sizes. */
#include <stdlib.h>
#include <string.h>
#include "cli/cache_bytes.h"
#include "cli/eval.h"

static struct eval_config *next_config(struct eval *e) {
  if (e->n_configs < EVAL_CONFIGS) return &e->configs[e->n_configs++];
  fprintf(stderr, "thimble eval: more than %d caches\n", EVAL_CONFIGS);
  return NULL;
}

bool eval_add_cache(struct eval *e, const char *text) {
  struct eval_config *c = next_config(e);
  if (!c) return false;
  const size_t words = strcspn(text, " "), slash = strcspn(text, "/");
  const char *options = text + words;
  const int k = (int)(slash < words ? slash : words), v = (int)(slash < words ? words - slash - 1 : words);
  const char *value = slash < words ? text + slash + 1 : text;
  const size_t cap = strlen(text) * 2 + 80;
  c->plan = malloc(cap);
  if (!c->plan) return false;
  if (k == 0 || v == 0 || strpbrk(text, "\n#")) {
    fprintf(stderr, "thimble eval: --cache: '%.60s' is not TYPE or KTYPE/VTYPE\n", text);
    return false;
  }
  snprintf(c->name, sizeof c->name, "%.*s/%.*s%.60s", k, text, v, value, options);
  snprintf(c->plan, cap, "thimble-plan 1\n0-%u %.*s %.*s%s\n", e->info.n_layer - 1, k, text, v, value, options);
  return true;
}

bool eval_add_plan(struct eval *e, const char *path) {
  struct eval_config *c = next_config(e);
  const char *base = strrchr(path, '/');
  size_t length;
  if (!c || !(c->plan = cli_read_file("eval", path, &length))) return false;
  snprintf(c->name, sizeof c->name, "%.90s", base ? base + 1 : path);
  return true;
}

bool eval_add_planned(struct eval *e, const struct cli_memory *m, const struct tb_context_options *base) {
  struct eval_config *c = next_config(e);
  struct cli_planned planned;
  if (!c || cli_plan_cache("eval", e->path, NULL, NULL, m, base, &planned)) return false;
  c->plan = planned.text;
  if (planned.type_k)
    snprintf(c->name, sizeof c->name, "%s/%s", planned.type_k, planned.type_v);
  else
    snprintf(c->name, sizeof c->name, "planned");
  return true;
}

/* ------------------------------------------------------------------------------------------------------------ opening
 */

static enum tb_status open_one(struct eval *e, struct eval_config *c, const struct tb_context_options *base,
                               struct tb_error *err) {
  struct tb_context_options context = *base;
  context.kv_plan = c->plan;
  if (c == e->configs) { /* what the others are compared with */
    context.kv_recall = context.kv_resident = 0;
    context.kv_spill = NULL;
  }
  if (e->protocol == EVAL_A && context.kv_window == 0) context.kv_window = -1;
  enum tb_status s = tb_context_create(&c->ctx, e->model, &context, err);
  if (s) return s;
  struct tb_context_info info;
  tb_context_get_info(c->ctx, &info);
  c->cache_bytes = info.cache_bytes;
  c->memory_bytes = info.memory_bytes;
  const struct cli_cache_source source = {.path = e->path};
  double bytes, scalars;
  s = cli_cache_per_token(&source, &context, &bytes, &scalars, err);
  if (s) return s;
  c->bits_stored = 8 * bytes / scalars;
  c->bits_all = 8 * (double)c->cache_bytes / (e->n_ctx * scalars);
  return TB_OK;
}

bool eval_open(struct eval *e, const struct tb_context_options *base) {
  for (size_t i = 0; i < e->n_configs; i++) {
    struct tb_error err;
    if (open_one(e, &e->configs[i], base, &err) == TB_OK) continue;
    fprintf(stderr, "thimble eval: %s: %s\n", e->configs[i].name, err.text);
    return false;
  }
  return true;
}

void eval_close(struct eval *e) {
  for (size_t i = 0; i < e->n_configs; i++) {
    struct eval_config *c = &e->configs[i];
    tb_context_free(c->ctx);
    free(c->plan);
    free(c->kld);
    free(c->right);
    free(c->agreed);
  }
  free(e->questions);
}
