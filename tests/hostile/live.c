#include "tests/hostile/live.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

const char *live_model(const struct tmpdir *dir, const char *name, uint64_t seed) {
  static const char shape[] =
      "architecture = llama\nname = test\nn_layer = 2\nn_embd = 64\nn_head = 2\nn_head_kv = 1\nn_ff = 64\n"
      "n_vocab = 300\nn_ctx = 64\nrope_base = 10000\nrms_eps = 1e-5\ntied = yes\npre = smollm\n";
  struct tb_error err;
  const struct tb_synth_options options = {.shape = shape, .type = "q8_0", .seed = seed};
  const char *path = tmpdir_file(dir, name);
  if (tb_synth(path, &options, NULL, &err) != TB_OK) fail_msg("synth: %s", err.text);
  return path;
}

enum tb_status live_try(struct live *l, const char *path, const struct tb_allocator *a, struct tb_error *err) {
  const char *tier = getenv("TB_ISA");
  const struct tb_model_options mo = {.allocator = a, .isa = tier && *tier ? tier : NULL};
  const struct tb_context_options co = {.n_ctx = LIVE_CTX, .n_threads = 1, .type_k = "q8_0", .type_v = "f16"};
  *l = (struct live){0};
  enum tb_status s = tb_model_open(&l->model, path, &mo, err);
  if (s) return s;
  s = tb_context_create(&l->ctx, l->model, &co, err);
  if (s) {
    tb_model_free(l->model);
    *l = (struct live){0};
  }
  return s;
}

struct live live_open(const char *path) {
  struct live l;
  struct tb_error err;
  if (live_try(&l, path, NULL, &err) != TB_OK) fail_msg("%s", err.text);
  return l;
}

void live_close(struct live *l) {
  tb_context_free(l->ctx);
  tb_model_free(l->model);
  *l = (struct live){0};
}

void live_feed(const struct live *l, int first, int n) {
  struct tb_error err;
  for (int i = 0; i < n; i++) {
    const tb_token t = (first + i) * 13 % LIVE_VOCAB;
    if (tb_eval(l->ctx, &t, 1, NULL, NULL, &err) != TB_OK) fail_msg("%s", err.text);
  }
}

uint32_t live_length(const struct live *l) {
  struct tb_context_info info;
  tb_context_get_info(l->ctx, &info);
  return info.n_past;
}

void live_probe(const struct live *l, float logits[LIVE_VOCAB]) {
  struct tb_error err;
  const uint32_t n = live_length(l);
  live_feed(l, 77, 1);
  memcpy(logits, tb_logits(l->ctx), LIVE_VOCAB * sizeof *logits);
  assert_int_equal(tb_truncate(l->ctx, n, &err), TB_OK);
}

enum tb_status live_load(const struct live *l, const char *path, struct tb_error *err) {
  void *extra = NULL;
  size_t n = 0;
  enum tb_status s = tb_session_load(l->ctx, path, &extra, &n, err);
  if (s == TB_OK) {
    assert_int_equal(n, 5);
    assert_memory_equal(extra, "extra", 5);
    tb_session_free_extra(l->ctx, extra);
  }
  return s;
}

void live_save(const struct live *l, const char *path) {
  struct tb_error err;
  if (tb_session_save(l->ctx, path, "extra", 5, &err) != TB_OK) fail_msg("%s", err.text);
}

struct live_file live_read(const char *path) {
  struct live_file f = {malloc(1 << 20), 0};
  FILE *in = fopen(path, "rb");
  assert_non_null(in);
  assert_non_null(f.data);
  f.n = fread(f.data, 1, 1 << 20, in);
  assert_true(feof(in));
  fclose(in);
  return f;
}
