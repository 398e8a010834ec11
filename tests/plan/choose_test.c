/* The planner's parts in cache/plan: the table of errors against the stores, bytes against what a cache takes, the
 * choice of types. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/rng.h"
#include "cache/plan/bytes.h"
#include "cache/plan/choose.h"
#include "cache/plan/loss.h"

enum { MAX_LAYERS = 24, D = 64, ROWS = 160 };

static float normal(struct tb_rng *rng) {
  float u = tb_rng_unit(rng), v = tb_rng_unit(rng);
  return sqrtf(-2 * logf(u < 1e-12f ? 1e-12f : u)) * cosf(6.28318531f * v);
}

/* Σ(x - x̂)² / Σx² of what a store gives back, over many normal rows; negative when the type does not suit. */
static double measure(const char *type, enum tb_side side) {
  static float x[ROWS * D], y[ROWS * D];
  static _Alignas(64) unsigned char mem[1 << 20], scratch[TB_STORE_SCRATCH];
  static float cos_table[ROWS * D / 2], sin_table[ROWS * D / 2];
  for (int i = 0; i < ROWS * D / 2; i++)
    cos_table[i] = 1; /* positions that do not rotate */
  const struct tb_rope_table rope = {.cos = cos_table, .sin = sin_table, .n_rot = D};
  struct tb_kernels kernels;
  tb_kernels_init(&kernels, 0);
  struct tb_store st = {.ops = tb_store_find(type), .kernels = &kernels, .mem = mem};
  st.config = (struct tb_store_config){
      .side = side, .n_heads = 1, .d = D, .cap = ROWS, .rope = side == TB_SIDE_K ? &rope : NULL};
  if (st.ops->check(&st.config, NULL) != TB_OK) return -1;
  assert_true(st.ops->bytes(&st.config) <= sizeof mem);
  static _Alignas(64) unsigned char work[1 << 20];
  if (st.ops->init_bytes) assert_true(st.ops->init_bytes(&st.config) <= sizeof work);
  if (st.ops->init) st.ops->init(&st, work);
  struct tb_rng rng = {3};
  double error = 0, sum = 0;
  for (int round = 0; round < 8; round++) {
    for (int i = 0; i < ROWS * D; i++)
      x[i] = normal(&rng);
    st.ops->encode(&st, 0, 0, ROWS, 0, x, D, scratch);
    st.ops->expand(&st, 0, 0, ROWS, 0, y, D, scratch);
    for (int i = 0; i < ROWS * D; i++) {
      error += (double)(x[i] - y[i]) * (x[i] - y[i]);
      sum += (double)x[i] * x[i];
    }
  }
  return error / sum;
}

static void errors_are_those_of_the_stores(void **state) {
  (void)state;
  int measured = 0;
  for (const char *const *name = tb_store_names(); *name; name++) {
    double error;
    if (!tb_loss_error(*name, &error)) {
      print_message("%s: no row in loss.c: the planner does not choose it\n", *name);
      continue;
    }
    for (int side = 0; side < 2; side++) {
      double real = measure(*name, (enum tb_side)side);
      if (real < 0) continue;
      measured++;
      if (real > 1.5 * error + 1e-12 || real < error / 1.5 - 1e-12)
        fail_msg("%s: error %g, the table says %g", *name, real, error);
    }
  }
  assert_true(measured >= 8);
}

static const struct tb_rope_table no_rope = {.n_rot = D};

static struct tb_kv_shape *make_shapes(void) {
  static struct tb_kv_shape shapes[MAX_LAYERS];
  for (int i = 0; i < MAX_LAYERS; i++)
    shapes[i] = (struct tb_kv_shape){.n_head = 8, .n_kv = 2, .d_k = D, .d_v = D, .scale = 1, .rope = &no_rope};
  return shapes;
}

static struct tb_choose base(uint32_t n_ctx) {
  return (struct tb_choose){.shapes = make_shapes(),
                            .n_layer = MAX_LAYERS,
                            .n_ctx = n_ctx,
                            .n_batch = 128,
                            .n_threads = 2,
                            .window = 128,
                            .sinks = 5,
                            .least_bits_k = 8};
}

static void parts_make_the_whole(void **state) {
  (void)state;
  for (const char *const *k = tb_store_names(); *k; k++)
    for (const char *const *v = tb_store_names(); *v; v++) {
      struct tb_plan_layer plan[MAX_LAYERS];
      for (int i = 0; i < MAX_LAYERS; i++) {
        plan[i] = (struct tb_plan_layer){.window = 128, .sinks = 5};
        memcpy(plan[i].type_k, *k, strlen(*k) + 1);
        memcpy(plan[i].type_v, *v, strlen(*v) + 1);
      }
      struct tb_cache_config config = {
          .n_layer = MAX_LAYERS, .shapes = make_shapes(), .plan = plan, .n_ctx = 1000, .n_batch = 128, .n_threads = 3};
      if (tb_cache_check(&config, NULL) != TB_OK) continue;
      struct tb_plan_bytes parts;
      uint64_t stored, total, layers = 0;
      tb_cache_bytes(&config, &stored, &total);
      tb_plan_cache_bytes(&config, &parts);
      assert_int_equal(parts.main + parts.window, stored);
      assert_int_equal(parts.main + parts.window + parts.shared, total);
      for (int i = 0; i < MAX_LAYERS; i++)
        layers += tb_plan_layer_bytes(&config.shapes[i], &plan[i], 1000, 128, 1);
      assert_true(layers >= stored && layers < total);
    }
}

static double bits_of(const char *type, enum tb_side side) {
  const struct tb_kv_shape shape = {.n_head = 1, .n_kv = 1, .d_k = D, .d_v = D, .rope = &no_rope};
  return tb_plan_type_bits(type, side, &shape);
}

static void keeps_its_rules(void **state) {
  (void)state;
  struct tb_choose c = base(4096);
  struct tb_plan_layer plan[MAX_LAYERS];
  struct tb_error err;
  uint64_t least, bytes, most;
  double loss, before = INFINITY;
  assert_int_equal(tb_choose_plan(&c, 0, plan, &least, &loss, &tb_system_allocator, &err), TB_E_LIMIT);
  if (tb_choose_plan(&c, UINT64_MAX / 4, plan, &most, &loss, &tb_system_allocator, &err) != TB_OK)
    fail_msg("%s", err.text);
  for (int i = 0; i < MAX_LAYERS; i++)
    assert_string_equal(plan[i].type_k, "f16"); /* with room for all, nothing is packed */
  assert_true(most > least);
  for (int step = 0; step <= 20; step++) {
    /* The reserve for workspace may be a little more than the plan at hand takes. */
    uint64_t budget = least + 65536 + (most - least) * (uint64_t)step / 20;
    if (tb_choose_plan(&c, budget, plan, &bytes, &loss, &tb_system_allocator, &err) != TB_OK) fail_msg("%s", err.text);
    assert_true(bytes <= budget);
    assert_true(loss <= before); /* more memory is never worse */
    before = loss;
    for (int i = 0; i < MAX_LAYERS; i++) {
      bool end = tb_loss_at_end((uint32_t)i, MAX_LAYERS);
      assert_true(bits_of(plan[i].type_k, TB_SIDE_K) >= (end ? 8.6 : 8)); /* at the ends better than q8_0's 8.5 */
    }
  }
}

static void fixed_and_smallest(void **state) {
  (void)state;
  struct tb_choose c = base(4096);
  struct tb_plan_layer plan[MAX_LAYERS];
  struct tb_error err;
  uint64_t bytes, smaller;
  double loss;
  c.type_v = "q4_0";
  assert_int_equal(tb_choose_plan(&c, UINT64_MAX / 4, plan, &bytes, &loss, &tb_system_allocator, &err), TB_OK);
  for (int i = 0; i < MAX_LAYERS; i++)
    assert_string_equal(plan[i].type_v, "q4_0");
  c.smallest = true;
  assert_int_equal(tb_choose_plan(&c, UINT64_MAX / 4, plan, &smaller, &loss, &tb_system_allocator, &err), TB_OK);
  assert_true(smaller < bytes);
  c.least_bits_k = 64;
  assert_int_equal(tb_choose_plan(&c, UINT64_MAX / 4, plan, &bytes, &loss, &tb_system_allocator, &err),
                   TB_E_UNSUPPORTED);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(errors_are_those_of_the_stores),
                                     cmocka_unit_test(parts_make_the_whole), cmocka_unit_test(keeps_its_rules),
                                     cmocka_unit_test(fixed_and_smallest)};
  return cmocka_run_group_tests_name("choose", tests, NULL, NULL);
}
