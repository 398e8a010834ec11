/* Saved sessions: a restored conversation continues with the same bits; whatever is wrong with a file, the load says so
 * and the live conversation goes on as if nothing had happened. */
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

static const char shape[] =
    "architecture = llama\nname = test\nn_layer = 2\nn_embd = 64\nn_head = 2\nn_head_kv = 1\nn_ff = 96\n"
    "n_vocab = 400\nn_ctx = 512\nrope_base = 10000\nrms_eps = 1e-5\ntied = yes\npre = smollm\n";

static char model_path[64], other_path[64], session_path[64], damaged_path[64];

static void make_model(char path[64], const char *name, uint64_t seed, const char *extra) {
  char text[1024];
  struct tb_error err;
  snprintf(path, 64, "session_test.%ld.%s", (long)getpid(), name);
  snprintf(text, sizeof text, "%s%s", shape, extra);
  struct tb_synth_options options = {.shape = text, .type = "q8_0", .seed = seed};
  if (tb_synth(path, &options, NULL, &err) != TB_OK) fail_msg("synth: %s", err.text);
}

static int set_up(void **state) {
  (void)state;
  make_model(model_path, "model", 3, "");
  make_model(other_path, "other", 3, "n_vocab = 401\n");
  snprintf(session_path, sizeof session_path, "session_test.%ld.session", (long)getpid());
  snprintf(damaged_path, sizeof damaged_path, "session_test.%ld.damaged", (long)getpid());
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  const char *all[] = {model_path, other_path, session_path, damaged_path};
  for (size_t i = 0; i < 4; i++)
    unlink(all[i]);
  return 0;
}

struct live {
  struct tb_model *model;
  struct tb_context *ctx;
};

static struct live start(const char *path, uint32_t n_ctx, const char *type_k, const char *type_v) {
  struct live l;
  struct tb_error err;
  const char *tier = getenv("TB_ISA");
  struct tb_model_options mo = {.isa = tier && *tier ? tier : NULL};
  struct tb_context_options co = {.n_ctx = n_ctx, .n_threads = 2, .type_k = type_k, .type_v = type_v};
  if (tb_model_open(&l.model, path, &mo, &err) != TB_OK) fail_msg("%s", err.text);
  if (tb_context_create(&l.ctx, l.model, &co, &err) != TB_OK) fail_msg("%s", err.text);
  return l;
}

static void stop(struct live l) {
  tb_context_free(l.ctx);
  tb_model_free(l.model);
}

static void feed(struct live l, int first, int n) {
  struct tb_error err;
  for (int i = 0; i < n; i++) {
    tb_token t = (first + i) * 13 % 300;
    if (tb_eval(l.ctx, &t, 1, NULL, NULL, &err) != TB_OK) fail_msg("%s", err.text);
  }
}

/* Logits after one more token, which is then taken back. */
static void probe(struct live l, float logits[400]) {
  struct tb_error err;
  struct tb_context_info info;
  tb_context_get_info(l.ctx, &info);
  feed(l, 77, 1);
  memcpy(logits, tb_logits(l.ctx), 400 * sizeof *logits);
  assert_int_equal(tb_truncate(l.ctx, info.n_past, &err), TB_OK);
}

static void save(struct live l) {
  struct tb_error err;
  if (tb_session_save(l.ctx, session_path, "extra", 5, &err) != TB_OK) fail_msg("%s", err.text);
}

static enum tb_status try_load(struct live l, const char *path, struct tb_error *err) {
  void *extra = NULL;
  size_t n = 0;
  enum tb_status s = tb_session_load(l.ctx, path, &extra, &n, err);
  if (s == TB_OK) {
    assert_int_equal(n, 5);
    assert_memory_equal(extra, "extra", 5);
    tb_session_free_extra(l.ctx, extra);
  }
  return s;
}

static void continues(const char *type_k, const char *type_v, int tokens) {
  struct tb_error err;
  struct live a = start(model_path, 512, type_k, type_v), b = start(model_path, 480, type_k, type_v);
  float want[400], got[400];
  feed(a, 0, tokens);
  save(a);
  probe(a, want);
  feed(b, 5, 3); /* something else, to be replaced */
  if (try_load(b, session_path, &err) != TB_OK) fail_msg("%s: %s", type_k, err.text);
  struct tb_context_info info;
  tb_context_get_info(b.ctx, &info);
  assert_int_equal(info.n_past, tokens);
  probe(b, got);
  assert_memory_equal(got, want, sizeof want);
  stop(a);
  stop(b);
}

static void round_trip(void **state) {
  (void)state;
  static const char *const types[][2] = {{"f16", "f16"}, {"f32", "f32"}, {"q8_0", "q4_0"}, {"f32", "q8_0"}};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
    for (int n = 1; n <= 400; n = n * 4 + 1)
      continues(types[i][0], types[i][1], n);
}

static void refuses_what_does_not_belong(void **state) {
  (void)state;
  struct tb_error err;
  struct live a = start(model_path, 64, "f16", "f16");
  feed(a, 0, 40);
  save(a);
  struct live other = start(other_path, 64, "f16", "f16"), types = start(model_path, 64, "f16", "q8_0"),
              small = start(model_path, 32, "f16", "f16");
  assert_int_equal(try_load(other, session_path, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "another model"));
  assert_int_equal(try_load(types, session_path, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "cache types"));
  assert_int_equal(try_load(small, session_path, &err), TB_E_CONTEXT);
  assert_int_equal(try_load(a, "session_test.no-such-file", &err), TB_E_IO);
  assert_int_equal(try_load(a, model_path, &err), TB_E_FORMAT);
  stop(a);
  stop(other);
  stop(types);
  stop(small);
}

static void write_file(const unsigned char *data, size_t n) {
  FILE *f = fopen(damaged_path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, n, f), n);
  fclose(f);
}

/* Every truncation and every single-bit flip of a small file: refused, and the conversation is untouched. */
static void refuses_every_damage(void **state) {
  (void)state;
  struct tb_error err;
  struct live a = start(model_path, 64, "q4_0", "q4_0");
  float want[400], got[400];
  feed(a, 0, 3);
  save(a);
  feed(a, 9, 5);
  probe(a, want);
  FILE *f = fopen(session_path, "rb");
  static unsigned char data[1 << 16];
  size_t n = fread(data, 1, sizeof data, f);
  fclose(f);
  assert_in_range(n, 100, sizeof data - 1);
  for (size_t cut = 0; cut < n; cut++) {
    write_file(data, cut);
    assert_int_not_equal(try_load(a, damaged_path, &err), TB_OK);
  }
  data[n] = 0;
  write_file(data, n + 1);
  assert_int_not_equal(try_load(a, damaged_path, &err), TB_OK);
  for (size_t bit = 0; bit < 8 * n; bit++) {
    data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    write_file(data, n);
    if (try_load(a, damaged_path, &err) == TB_OK) fail_msg("bit %zu flipped: accepted", bit);
    data[bit / 8] ^= (unsigned char)(1u << bit % 8);
  }
  probe(a, got);
  assert_memory_equal(got, want, sizeof want);
  write_file(data, n);
  assert_int_equal(try_load(a, damaged_path, &err), TB_OK);
  print_message("%zu truncations and %zu bit flips refused\n", n, 8 * n);
  stop(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(refuses_what_does_not_belong),
                                     cmocka_unit_test(refuses_every_damage)};
  return cmocka_run_group_tests_name("session", tests, set_up, tear_down);
}
