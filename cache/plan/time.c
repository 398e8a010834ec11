/* time = Σ over both sides of  tokens attended · n_kv · d · 2 bytes · ratio(type) / bandwidth
 *
 * f16 is read as fast as memory allows; ratio is what a type takes beside it, bytes and arithmetic together, measured
 * (cache/README.md, "Time per token of attention alone": 12288 tokens, heads of 64, 4 query heads per KV head, AVX-512;
 * of both sides, so that the one for values only is what is left of its pair; f32 and lowrank:x1.5 are not of the table
 * but of twice the bytes of f16 and between the neighbours; lowrank by channels and cskv with 4096 tokens).
 *
 * Recall reads of every cluster its centroid in a byte per channel and 10 bytes besides, then the rows of its budget.
 * Those lie apart: each piece is waited for, and packed types read more of it than was chosen. How many times as long
 * they take as rows that follow each other was measured with 2048 of 16,384 tokens (cache/README.md, "The planner"). */
#include "cache/plan/time.h"

#include <string.h>
#include "cache/policy/recall.h"

static const struct {
  const char *type;
  double ratio;
} rows[] = {{"f32", 2},           {"f16", 1},           {"q8_0", 0.64},         {"q4_0", 0.59},
            {"skvqx4", 0.57},     {"skvqx2", 0.33},     {"skvqx1.5", 0.25},     {"lowrank:x4", 0.56},
            {"lowrank:x3", 0.46}, {"lowrank:x2", 0.34}, {"lowrank:x1.5", 0.35}, {"lowrank:x1", 0.37},
            {"lowrank", 0.84},    {"cskv", 5.3}};

#define OTHER 1.5   /* types for comparison, which expand what they read */
#define SCATTERED 3 /* row by row, */
#define SCATTERED_PACKED 4
#define MERGED                                                                                                         \
  1.6 /* layers that share directions read them and their lengths: 1.8 times q8_0's time, 1.5 times skvqx2's */
enum { CLUSTER_BYTES = 10 };

/* The longest row that the name begins with. */
static double ratio_of(const char *type) {
  double ratio = OTHER;
  size_t longest = 0;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const size_t n = strlen(rows[i].type);
    if (strncmp(type, rows[i].type, n) != 0 || (type[n] && type[n] != ':') || n <= longest) continue;
    longest = n;
    ratio = rows[i].ratio;
  }
  return ratio;
}

static double scattered(const struct tb_plan_layer *plan) {
  const struct tb_store_ops *k = tb_store_find(plan->type_k), *v = tb_store_find(plan->type_v);
  return (k && k->granule > 1) || (v && v->granule > 1) ? SCATTERED_PACKED : SCATTERED;
}

double tb_time_us(const struct tb_kv_shape *s, const struct tb_plan_layer *plan, uint32_t n) {
  const uint32_t held = s->sliding && s->sliding < n ? s->sliding : n;
  const double token = 2.0 * s->n_kv * (s->d_k * ratio_of(plan->type_k) + s->d_v * ratio_of(plan->type_v));
  double bytes = held * token;
  if (plan->merge.with != TB_MERGE_NONE) return MERGED * bytes / TB_TIME_BANDWIDTH * 1e6;
  if (plan->recall && !plan->resident && plan->recall + plan->window + plan->sinks < held) {
    const double clusters = (double)held / tb_recall_params_of(plan).cluster;
    const double attended = plan->window + plan->sinks + scattered(plan) * plan->recall;
    bytes = clusters * s->n_kv * (s->d_k + CLUSTER_BYTES) + attended * token;
  }
  return bytes / TB_TIME_BANDWIDTH * 1e6;
}

double tb_plan_us(const struct tb_kv_shape *shapes, const struct tb_plan_layer *plan, uint32_t n_layer, uint32_t n,
                  double *f16) {
  const struct tb_plan_layer plain = {.type_k = "f16", .type_v = "f16"};
  double us = 0;
  if (f16) *f16 = 0;
  for (uint32_t i = 0; i < n_layer; i++) {
    us += tb_time_us(&shapes[i], &plan[i], n);
    if (f16) *f16 += tb_time_us(&shapes[i], &plain, n);
  }
  return us;
}
