/* Plans of whole models against what models and contexts allocate; more memory is never worse; no crash without memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "support/count_alloc.h"
#include "support/tmpdir.h"

static const char shape_text[] =
    "architecture = llama\nn_layer = 6\nn_embd = 128\nn_head = 4\nn_head_kv = 2\nn_ff = 256\nn_vocab = 600\n"
    "n_ctx = 16384\nhead_dim = 64\n";

static struct tmpdir dir;

static const char *model_file(void) {
  const char *path = tmpdir_file(&dir, "m.gguf");
  struct tb_synth_options o = {.shape = shape_text, .type = "q8_0", .seed = 2};
  struct tb_error err;
  if (tb_synth(path, &o, NULL, &err) != TB_OK) fail_msg("%s", err.text);
  return path;
}

static uint64_t class_bytes(const struct tb_plan *p, const char *name) {
  struct tb_plan_info info;
  struct tb_plan_class c;
  tb_plan_get_info(p, &info);
  for (size_t i = 0; i < info.n_classes; i++) {
    tb_plan_get_class(p, i, &c);
    if (strcmp(c.name, name) == 0) return c.bytes;
  }
  return 0;
}

/* The classes that the library allocates, to the byte: contexts are counted by their own code. */
static void exact(void **state) {
  (void)state;
  const char *path = model_file();
  const uint32_t contexts[] = {1, 100, 256, 4096}, batches[] = {1, 512};
  static const char *const types[] = {"f16", "q4_0", NULL};
  for (int i = 0; i < 24; i++) {
    struct tb_plan_options o = {.context = {.n_ctx = contexts[i % 4],
                                            .n_batch = batches[i / 4 % 2],
                                            .n_threads = 1 + (uint32_t)i % 3,
                                            .type_k = types[i / 8],
                                            .type_v = types[i / 8]}};
    struct tb_plan *p;
    struct tb_error err;
    if (tb_plan_file(&p, path, &o, &err) != TB_OK) fail_msg("%s", err.text);
    struct tb_plan_info plan;
    tb_plan_get_info(p, &plan);
    assert_true(plan.fits);
    struct count_alloc count;
    count_alloc_init(&count);
    struct tb_model_options mo = {.allocator = &count.hooks};
    struct tb_model *model;
    struct tb_context *ctx;
    assert_int_equal(tb_model_open(&model, path, &mo, &err), TB_OK);
    const uint64_t opened = count.live, tables = class_bytes(p, "tokenizer and tables");
    struct tb_context_options co = {
        .n_ctx = plan.n_ctx, .n_batch = o.context.n_batch, .n_threads = plan.n_threads, .kv_plan = plan.text};
    if (tb_context_create(&ctx, model, &co, &err) != TB_OK) fail_msg("%s", err.text);
    struct tb_context_info info;
    tb_context_get_info(ctx, &info);
    uint64_t planned = class_bytes(p, "keys and values") + class_bytes(p, "window and sinks");
    assert_int_equal(info.cache_bytes, planned);
    assert_int_equal(info.cache_bytes, plan.cache);
    planned += class_bytes(p, "attention workspace") + class_bytes(p, "activations of a batch") +
               class_bytes(p, "workspace of threads") + class_bytes(p, "logits") +
               class_bytes(p, "rotations and history");
    assert_int_equal(info.memory_bytes, planned);
    assert_true(opened <= tables && tables < opened + (64 << 10));
    assert_true(count.peak <= plan.anonymous);
    tb_context_free(ctx);
    tb_model_free(model);
    tb_plan_free(p);
  }
}

/* A shape's plan is not below the plan of the file of that shape. */
static void shape_covers_file(void **state) {
  (void)state;
  struct tb_plan_options o = {.context = {.n_ctx = 1024, .n_threads = 2}};
  struct tb_plan *a, *b;
  struct tb_error err;
  struct tb_plan_info shape, file;
  assert_int_equal(tb_plan_shape(&a, shape_text, "q8_0", &o, &err), TB_OK);
  assert_int_equal(tb_plan_file(&b, model_file(), &o, &err), TB_OK);
  tb_plan_get_info(a, &shape);
  tb_plan_get_info(b, &file);
  assert_int_equal(shape.cache, file.cache);
  assert_true(shape.hard >= file.hard && shape.fast >= file.fast && shape.address >= file.address);
  assert_true(shape.hard < file.hard + (1 << 20));
  tb_plan_free(a);
  tb_plan_free(b);
}

/* Better: it fits; more tokens; at equal tokens less loss, or less time. */
static void more_is_never_worse(void **state) {
  (void)state;
  uint32_t spilled = 0;
  for (int prefer = 0; prefer < 6; prefer++) /* with a folder to spill to in the second half */
    for (uint32_t n_ctx = 0; n_ctx <= 8192; n_ctx += 8192) {
      struct tb_plan_info before = {0};
      for (uint64_t ram = 8 << 20; ram < (uint64_t)128 << 20; ram += 3 << 19) {
        struct tb_plan_options o = {.context = {.n_ctx = n_ctx, .n_threads = 2, .kv_spill = prefer < 3 ? NULL : "/"},
                                    .ram = ram,
                                    .elsewhere = true,
                                    .prefer = (enum tb_prefer)(prefer % 3)};
        struct tb_plan *p;
        struct tb_error err;
        struct tb_plan_info now;
        if (tb_plan_shape(&p, shape_text, "q8_0", &o, &err) != TB_OK) fail_msg("%s", err.text);
        tb_plan_get_info(p, &now);
        assert_true(now.fits >= before.fits && (prefer >= 3 || !now.n_spilled));
        spilled += now.fits && now.n_spilled;
        if (now.fits) assert_true(now.fast <= ram);
        if (before.fits) {
          assert_true(now.n_ctx >= before.n_ctx);
          const bool speed = prefer % 3 == TB_PREFER_SPEED;
          if (now.n_ctx == before.n_ctx)
            assert_true(speed ? now.us <= before.us * (1 + 1e-12) : now.loss <= before.loss * (1 + 1e-12));
        }
        for (size_t i = 0; !now.fits && i < now.n_settings; i++) {
          struct tb_plan_setting s;
          tb_plan_get_setting(p, i, &s);
          assert_true(s.fast <= ram && s.n_ctx > 0);
        }
        before = now;
        tb_plan_free(p);
      }
      assert_true(before.fits && before.limited_by == NULL && before.n_spilled == 0); /* in the end all in f16 */
    }
  assert_true(spilled > 0);
}

static void refuses(void **state) {
  (void)state;
  static const struct {
    struct tb_plan_options o;
    const char *says;
  } cases[] = {
      {{.context = {.type_k = "q9"}}, "'q9' is not known"},
      {{.context = {.type_k = "f16", .kv_plan = "x"}}, "exclude"},
      {{.context = {.kv_plan = "thimble-plan 1\n0-4 f16 f16\n"}}, "layer 5 is not planned"},
      {{.context = {.kv_plan = "thimble-plan 1\n0-5 f16 q7\n"}}, "layer 0: values: 'q7'"},
      {{.context = {.n_batch = 100000}}, "n_batch"},
      {{.context = {.n_threads = 100000}}, "threads"},
      {{.prefer = (enum tb_prefer)7}, "prefer"},
  };
  struct tb_plan *p;
  struct tb_error err;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (tb_plan_shape(&p, shape_text, "q8_0", &cases[i].o, &err) == TB_OK) fail_msg("accepted: %s", cases[i].says);
    if (!strstr(err.text, cases[i].says)) fail_msg("'%s' does not say '%s'", err.text, cases[i].says);
  }
  assert_int_not_equal(tb_plan_shape(&p, "architecture = mamba\n", "q8_0", NULL, &err), TB_OK);
  assert_int_not_equal(tb_plan_shape(&p, shape_text, "q8_9", NULL, &err), TB_OK);
  assert_int_equal(tb_plan_file(&p, "/nonexistent/x.gguf", NULL, &err), TB_E_IO);
  assert_int_equal(tb_plan_file(&p, tmpdir_write(&dir, "bad.gguf", "GGUF", 4), NULL, &err), TB_E_FORMAT);
}

/* Every allocation fails once. */
static void without_memory(void **state) {
  (void)state;
  const char *path = model_file();
  for (size_t fail = 1;; fail++) {
    struct count_alloc count;
    count_alloc_init(&count);
    count.fail_at = fail;
    struct tb_plan_options o = {.allocator = &count.hooks, .context = {.n_ctx = 512}};
    struct tb_plan *p = NULL;
    struct tb_error err;
    enum tb_status s = tb_plan_file(&p, path, &o, &err);
    tb_plan_free(s == TB_OK ? p : NULL);
    assert_int_equal(count.blocks, 0);
    if (s == TB_OK && count.calls < fail) break;
    assert_int_equal(s, TB_E_NOMEM);
    if (fail > 2000) fail_msg("more allocations than expected");
  }
}

static int setup(void **state) {
  (void)state;
  tmpdir_make(&dir);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  tmpdir_remove(&dir);
  return 0;
}

/* Small models compute smaller batches, in plans as in contexts. */
static void batch_of_small_models(void **state) {
  (void)state;
  static const char large_text[] =
      "architecture = llama\nn_layer = 6\nn_embd = 128\nn_head = 4\nn_head_kv = 2\nn_ff = 256\nn_vocab = 900000\n"
      "n_ctx = 16384\nhead_dim = 64\n";
  const char *const texts[] = {shape_text, large_text};
  const uint32_t expected[] = {256, 512};
  struct tb_error err;
  for (int i = 0; i < 2; i++) {
    const struct tb_plan_options o = {.context = {.n_ctx = 2048}, .elsewhere = true};
    struct tb_plan *p;
    struct tb_plan_info plan;
    if (tb_plan_shape(&p, texts[i], "q8_0", &o, &err) != TB_OK) fail_msg("%s", err.text);
    tb_plan_get_info(p, &plan);
    assert_int_equal(plan.n_batch, expected[i]);
    tb_plan_free(p);
  }
  struct tb_model *model;
  struct tb_model_info info;
  if (tb_model_open(&model, model_file(), NULL, &err) != TB_OK) fail_msg("%s", err.text);
  tb_model_get_info(model, &info);
  assert_int_equal(info.n_batch, 256);
  tb_model_free(model);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(exact), cmocka_unit_test(shape_covers_file),
                                     cmocka_unit_test(more_is_never_worse), cmocka_unit_test(refuses),
                                     cmocka_unit_test(without_memory), cmocka_unit_test(batch_of_small_models)};
  return cmocka_run_group_tests_name("plan", tests, setup, teardown);
}
