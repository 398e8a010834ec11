#include "cache/plan/bytes.h"

#include <string.h>
#include "cache/policy/recall.h"

uint64_t tb_plan_layer_bytes(const struct tb_kv_shape *shape, const struct tb_plan_layer *plan, uint32_t n_ctx,
                             uint32_t n_batch, uint32_t n_threads) {
  struct tb_policy_layer layer = {
      .shape = shape, .plan = plan, .n_layer = 1, .n_ctx = n_ctx, .n_batch = n_batch, .n_threads = n_threads};
  struct tb_arena arena = {0};
  uint64_t stored = 0;
  tb_policy_of(plan)->create(&arena, &layer, NULL, NULL, &stored);
  return arena.used == SIZE_MAX ? UINT64_MAX / 4 : arena.used;
}

static struct tb_store_config side_config(const char *type, enum tb_side side, const struct tb_kv_shape *s,
                                          uint32_t tokens) {
  const struct tb_store_ops *ops = tb_store_find(type);
  const char *colon = strchr(type, ':');
  return (struct tb_store_config){.side = side,
                                  .n_heads = s->n_kv,
                                  .d = side == TB_SIDE_K ? s->d_k : s->d_v,
                                  .cap = (uint32_t)tb_round_up(tokens, ops->granule),
                                  .layer = s->layer,
                                  .profile = s->profile,
                                  .rope = side == TB_SIDE_K ? s->rope : NULL,
                                  .args = colon ? colon + 1 : NULL};
}

void tb_plan_cache_bytes(const struct tb_cache_config *config, struct tb_plan_bytes *bytes) {
  uint64_t stored, total;
  tb_cache_bytes(config, &stored, &total);
  *bytes = (struct tb_plan_bytes){0};
  for (uint32_t i = 0; i < config->n_layer; i++) {
    const struct tb_plan_layer *p = &config->plan[i];
    if (p->merge.with == TB_MERGE_DOWN) continue; /* what it shares was counted with the layer below */
    const struct tb_policy_layer layer = {
        .shape = &config->shapes[i], .plan = p, .n_ctx = config->n_ctx, .n_threads = config->n_threads};
    const uint32_t spilled = p->recall ? tb_recall_rows(&layer) : 0, rows = spilled ? spilled : config->n_ctx;
    struct tb_store_config k = side_config(p->type_k, TB_SIDE_K, &config->shapes[i], rows);
    struct tb_store_config v = side_config(p->type_v, TB_SIDE_V, &config->shapes[i], rows);
    bytes->main += tb_store_find(p->type_k)->bytes(&k) + tb_store_find(p->type_v)->bytes(&v);
  }
  bytes->window = stored - bytes->main;
  bytes->shared = total - stored;
}

double tb_plan_type_bits(const char *type, enum tb_side side, const struct tb_kv_shape *shape) {
  const struct tb_store_ops *ops = tb_store_find(type);
  if (!ops) return 0;
  struct tb_store_config config = side_config(type, side, shape, 64 * TB_ATTN_BLOCK);
  if (ops->check(&config, NULL) != TB_OK) return 0;
  return 8.0 * (double)ops->bytes(&config) / ((double)config.cap * config.n_heads * config.d);
}
