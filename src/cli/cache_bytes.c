#include "cli/cache_bytes.h"

/* Bytes of the cache at n_ctx tokens, and cached scalars of a token. */
static enum tb_status count(const struct cli_cache_source *source, struct tb_context_options context, uint32_t n_ctx,
                            uint64_t *bytes, double *scalars, struct tb_error *err) {
  struct tb_plan *plan;
  struct tb_plan_info info;
  context.n_ctx = n_ctx;
  struct tb_plan_options o = {.context = context, .elsewhere = true};
  if (!context.kv_plan && !context.type_k) o.context.type_k = "f16"; /* as tb_context_create takes NULL */
  if (!context.kv_plan && !context.type_v) o.context.type_v = "f16";
  enum tb_status s = source->path ? tb_plan_file(&plan, source->path, &o, err)
                                  : tb_plan_shape(&plan, source->shape, source->type, &o, err);
  if (s) return s;
  tb_plan_get_info(plan, &info);
  *bytes = info.cache;
  *scalars = 0;
  for (uint32_t i = 0; i < info.n_layer; i++) {
    struct tb_plan_layer_info l;
    tb_plan_get_layer(plan, i, &l);
    *scalars += (double)l.n_kv * (l.d_k + l.d_v);
  }
  tb_plan_free(plan);
  return TB_OK;
}

enum tb_status cli_cache_per_token(const struct cli_cache_source *source, const struct tb_context_options *options,
                                   double *bytes, double *scalars, struct tb_error *err) {
  enum { FROM = 32000, MORE = 32000 };
  uint64_t few, many;
  enum tb_status s = count(source, *options, FROM, &few, scalars, err);
  if (!s) s = count(source, *options, FROM + MORE, &many, scalars, err);
  if (!s) *bytes = (double)(many - few) / MORE;
  return s;
}
