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
#include "cache/plan/plan_file.h"
#include "cache/plan/time.h"

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

/* ----------------------------------------------------------------------------------------------------- speed, recall
 */

enum { FEW = 4, CTX = 8192, LIST = 16 };

static struct tb_choose fast(void) {
  struct tb_choose c = base(CTX);
  c.n_layer = FEW;
  c.type_k = "f16";
  c.most_loss = 1.5;
  c.offers[0].recall = CTX / 8;
  c.n_offers = 1;
  return c;
}

/* What a layer may have, within the bound. */
static uint32_t list_options(const struct tb_choose *c, uint32_t layer, struct tb_plan_layer out[LIST]) {
  static const char *const values[] = {"f16", "q8_0", "q4_0", "skvqx4", "skvqx2", "skvqx1.5"};
  const uint32_t first = tb_loss_at_end(layer, FEW) ? 5 : 6; /* uncalibrated, ends are one type better */
  uint32_t n = 0;
  for (uint32_t i = 0; i < first; i++)
    for (uint32_t recall = 0; recall <= (layer >= 2 ? c->offers[0].recall : 0); recall += c->offers[0].recall) {
      struct tb_plan_layer p = {.type_k = "f16", .window = c->window, .sinks = c->sinks, .recall = recall};
      memcpy(p.type_v, values[i], strlen(values[i]) + 1);
      if (tb_loss_line(&c->shapes[layer], &p, FEW, CTX) <= c->most_loss) out[n++] = p;
    }
  return n;
}

/* The least time, and the least loss with it, of all choices that take no more than the budget. */
static double least_time(const struct tb_choose *c, uint64_t budget, double *loss) {
  struct tb_plan_layer list[FEW][LIST], plan[FEW];
  uint32_t count[FEW], pick[FEW] = {0};
  double best = INFINITY;
  for (uint32_t i = 0; i < FEW; i++)
    count[i] = list_options(c, i, list[i]);
  for (uint32_t i = 0; i < FEW;) {
    uint64_t stored, bytes;
    for (uint32_t j = 0; j < FEW; j++)
      plan[j] = list[j][pick[j]];
    const struct tb_cache_config config = {.n_layer = FEW,
                                           .shapes = c->shapes,
                                           .plan = plan,
                                           .n_ctx = CTX,
                                           .n_batch = c->n_batch,
                                           .n_threads = c->n_threads};
    const double us = tb_plan_us(c->shapes, plan, FEW, CTX, NULL), l = tb_plan_loss(c->shapes, plan, FEW, CTX);
    if (us < best || (us == best && l < *loss)) {
      tb_cache_bytes(&config, &stored, &bytes);
      if (bytes <= budget) {
        best = us;
        *loss = l;
      }
    }
    for (i = 0; i < FEW && ++pick[i] == count[i]; i++)
      pick[i] = 0;
  }
  return best;
}

static bool append(void *user, const char *s, size_t n) {
  strncat(user, s, n);
  return true;
}

/* Against brute force. What layers share is reserved for the options that share most, so that a budget may be a little
 * less than it seems. */
static void least_time_within(void **state) {
  (void)state;
  struct tb_choose c = fast();
  struct tb_plan_layer plan[FEW], again[FEW];
  struct tb_error err;
  uint64_t least, bytes;
  double loss, before = INFINITY, f16;
  uint32_t recalls = 0;
  assert_int_equal(tb_choose_plan(&c, 0, plan, &least, &loss, &tb_system_allocator, &err), TB_E_LIMIT);
  for (uint64_t budget = least + (256 << 10); budget < least + (12 << 20); budget += 500000) {
    if (tb_choose_plan(&c, budget, plan, &bytes, &loss, &tb_system_allocator, &err) != TB_OK) fail_msg("%s", err.text);
    const double us = tb_plan_us(c.shapes, plan, FEW, CTX, &f16);
    double brute_loss = 0, tight_loss = 0;
    assert_true(bytes <= budget && us <= before && us <= f16);
    const double brute = least_time(&c, budget, &brute_loss), tight = least_time(&c, budget - (256 << 10), &tight_loss);
    assert_true(us >= brute - 1e-9 && us <= tight + 1e-9);
    if (fabs(brute - tight) < 1e-9 && brute_loss == tight_loss) assert_true(fabs(loss - brute_loss) < 1e-12);
    for (int i = 0; i < FEW; i++) {
      assert_true(i >= 2 || !plan[i].recall);
      recalls += plan[i].recall > 0;
    }
    char text[2000] = "";
    assert_true(tb_plan_write(plan, FEW, append, text));
    assert_int_equal(tb_plan_parse(text, strlen(text), FEW, &plan[0], again, &err), TB_OK);
    for (int i = 0; i < FEW; i++)
      assert_true(again[i].recall == plan[i].recall && strcmp(again[i].type_v, plan[i].type_v) == 0);
    before = us;
  }
  assert_true(recalls > 0);
  c.most_loss = 0.01; /* less than recall loses by its prior */
  assert_int_equal(tb_choose_plan(&c, UINT64_MAX / 4, plan, &bytes, &loss, &tb_system_allocator, &err), TB_OK);
  for (int i = 0; i < FEW; i++)
    assert_int_equal(plan[i].recall, 0);
}

/* Fewer bytes and fewer tokens take less time; a sliding window bounds it. */
static void times(void **state) {
  (void)state;
  struct tb_kv_shape s = make_shapes()[0];
  struct tb_plan_layer f16 = {.type_k = "f16", .type_v = "f16"}, packed = {.type_k = "skvqx2", .type_v = "skvqx1.5"};
  struct tb_plan_layer recall = {.type_k = "f16", .type_v = "f16", .recall = 1024};
  const double us = tb_time_us(&s, &f16, CTX);
  assert_true(fabs(us - CTX * 2.0 * (D + D) * 2 / TB_TIME_BANDWIDTH * 1e6) < 1e-9);
  assert_true(tb_time_us(&s, &packed, CTX) < us && tb_time_us(&s, &recall, CTX) < us / 2);
  assert_true(tb_time_us(&s, &recall, 1024) == tb_time_us(&s, &f16, 1024)); /* nothing to pass over */
  s.sliding = CTX / 4;
  assert_true(fabs(tb_time_us(&s, &f16, CTX) - us / 4) < 1e-9);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(least_time_within),
                                     cmocka_unit_test(times),
                                     cmocka_unit_test(errors_are_those_of_the_stores),
                                     cmocka_unit_test(parts_make_the_whole),
                                     cmocka_unit_test(keeps_its_rules),
                                     cmocka_unit_test(fixed_and_smallest)};
  return cmocka_run_group_tests_name("choose", tests, NULL, NULL);
}
