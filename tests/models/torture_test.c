/* Every allocation of open + context + prefill + decode fails once, and then for ever: each time a typed error, nothing
 * leaked, and the next attempt works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "thimble.h"

struct faulty {
  size_t count, live; /* allocations so far, blocks not freed */
  size_t fail_at;     /* 0: never; the number of the allocation that fails */
  bool for_ever;
};

static void *take(void *user, size_t bytes) {
  struct faulty *f = user;
  f->count++;
  if (f->fail_at && (f->count == f->fail_at || (f->for_ever && f->count > f->fail_at))) return NULL;
  void *p = NULL;
  if (posix_memalign(&p, 64, bytes) != 0) return NULL;
  memset(p, 0xa5, bytes); /* nothing may rely on zeroes */
  f->live++;
  return p;
}

static void give(void *user, void *block) {
  struct faulty *f = user;
  f->live--;
  free(block);
}

static const char shape[] =
    "architecture = llama\nname = test\nn_layer = 2\nn_embd = 64\nn_head = 2\nn_head_kv = 1\nn_ff = 96\n"
    "n_vocab = 400\nn_ctx = 64\nrope_base = 10000\nrms_eps = 1e-5\ntied = yes\npre = smollm\n";

static enum tb_status whole_run(const char *path, const struct tb_allocator *a, struct tb_error *err) {
  struct tb_model *model = NULL;
  struct tb_context *ctx = NULL;
  struct tb_sampler *sampler = NULL;
  struct tb_model_options mo = {.allocator = a};
  struct tb_context_options co = {.n_ctx = 64, .n_threads = 2};
  struct tb_sampler_options so = tb_sampler_defaults();
  tb_token ids[64], next;
  size_t n;
  enum tb_status s = tb_model_open(&model, path, &mo, err);
  if (!s) s = tb_tokenize(model, "hello, world", 12, 0, ids, 64, &n, err);
  if (!s) s = tb_context_create(&ctx, model, &co, err);
  if (!s) s = tb_sampler_create(&sampler, model, &so, err);
  if (!s) s = tb_eval(ctx, ids, n, NULL, NULL, err);
  for (int i = 0; !s && i < 3; i++) {
    next = tb_sampler_pick(sampler, tb_logits(ctx));
    s = tb_eval(ctx, &next, 1, NULL, NULL, err);
  }
  tb_sampler_free(sampler);
  tb_context_free(ctx);
  tb_model_free(model);
  return s;
}

static void fail_each(const char *path, bool for_ever) {
  struct tb_error err;
  size_t total = 0, survived = 0;
  for (size_t at = 0; at <= total; at++) {
    struct faulty f = {.fail_at = at, .for_ever = for_ever};
    const struct tb_allocator a = {take, give, &f};
    err.text[0] = '\0';
    enum tb_status s = whole_run(path, &a, &err);
    if (at == 0) {
      if (s) fail_msg("without a fault: %s", err.text);
      total = f.count;
      assert_true(total > 20);
    } else if (s == TB_OK) {
      survived++;
    } else if (s != TB_E_NOMEM || !err.text[0]) {
      fail_msg("allocation %zu of %zu failed, status %d: %s", at, total, (int)s, err.text);
    }
    if (f.live) fail_msg("allocation %zu of %zu failed: %zu blocks leaked", at, total, f.live);
  }
  /* The regular-expression library's working memory is the one thing that can be done without: the tokenizer's own
   * splitter takes over with the same result. */
  assert_in_range(survived, 0, 4);
  print_message("%zu allocations, each failed %s; %zu were not needed\n", total, for_ever ? "for ever" : "once",
                survived);
}

static void every_allocation(void **state) {
  (void)state;
  char path[64];
  struct tb_error err;
  snprintf(path, sizeof path, "torture_test.%ld.gguf", (long)getpid());
  struct tb_synth_options options = {.shape = shape, .type = "q8_0", .seed = 3};
  if (tb_synth(path, &options, NULL, &err) != TB_OK) fail_msg("synth: %s", err.text);
  fail_each(path, false);
  fail_each(path, true);
  unlink(path);
}

/* Decoding takes no memory at all. */
static void decode_allocates_nothing(void **state) {
  (void)state;
  char path[64];
  struct tb_error err;
  struct faulty f = {0};
  const struct tb_allocator a = {take, give, &f};
  snprintf(path, sizeof path, "torture_test.%ld.gguf", (long)getpid());
  struct tb_synth_options options = {.shape = shape, .type = "q8_0", .seed = 3};
  if (tb_synth(path, &options, NULL, &err) != TB_OK) fail_msg("synth: %s", err.text);
  struct tb_model *model;
  struct tb_context *ctx;
  struct tb_model_options mo = {.allocator = &a};
  assert_int_equal(tb_model_open(&model, path, &mo, &err), TB_OK);
  struct tb_context_options co = {.n_ctx = 64};
  assert_int_equal(tb_context_create(&ctx, model, &co, &err), TB_OK);
  tb_token ids[40];
  for (int i = 0; i < 40; i++)
    ids[i] = i;
  size_t before = f.count;
  assert_int_equal(tb_eval(ctx, ids, 40, NULL, NULL, &err), TB_OK);
  for (int i = 0; i < 24; i++)
    assert_int_equal(tb_eval(ctx, ids, 1, NULL, NULL, &err), TB_OK);
  assert_int_equal(tb_eval(ctx, ids, 1, NULL, NULL, &err), TB_E_CONTEXT);
  assert_int_equal(f.count, before);
  tb_context_free(ctx);
  tb_model_free(model);
  assert_int_equal(f.live, 0);
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation), cmocka_unit_test(decode_allocates_nothing)};
  return cmocka_run_group_tests_name("torture", tests, NULL, NULL);
}
