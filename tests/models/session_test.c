/* Saved sessions: a restored conversation continues with the same bits, for every cache type; whatever is wrong with a
 * file, the load says so and the live conversation goes on as if nothing had happened.
 *
 * TB_SESSION_FOLDER=F: sessions of every type are written to F, or, where they are there already, restored and saved
 * again: the same bytes, whatever machine wrote them. */
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

static char model_path[64], other_path[64], retrained_path[64], session_path[64], damaged_path[64];

/* Sessions are synchronised with the disk, hundreds of times: in memory where that is possible. */
static void file_name(char path[64], const char *name) {
  snprintf(path, 64, "%ssession_test.%ld.%s", access("/dev/shm", W_OK) == 0 ? "/dev/shm/" : "", (long)getpid(), name);
}

static void make_model(char path[64], const char *name, uint64_t seed, const char *extra) {
  char text[1024];
  struct tb_error err;
  file_name(path, name);
  snprintf(text, sizeof text, "%s%s", shape, extra);
  struct tb_synth_options options = {.shape = text, .type = "q8_0", .seed = seed};
  if (tb_synth(path, &options, NULL, &err) != TB_OK) fail_msg("synth: %s", err.text);
}

static int set_up(void **state) {
  (void)state;
  make_model(model_path, "model", 3, "");
  make_model(other_path, "other", 3, "n_vocab = 401\n");
  make_model(retrained_path, "retrained", 4, "");
  file_name(session_path, "session");
  file_name(damaged_path, "damaged");
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  const char *all[] = {model_path, other_path, retrained_path, session_path, damaged_path};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    unlink(all[i]);
  return 0;
}

struct live {
  struct tb_model *model;
  struct tb_context *ctx;
};

/* False when the tier is not of this machine, or the type needs what this model does not have (a profile, a head size). */
static bool try_start(struct live *l, const char *path, uint32_t n_ctx, const char *type_k, const char *type_v, int window,
                      const char *tier) {
  struct tb_error err;
  struct tb_model_options mo = {.isa = tier && *tier ? tier : NULL};
  struct tb_context_options co = {
      .n_ctx = n_ctx, .n_threads = 1, .type_k = type_k, .type_v = type_v, .kv_window = window, .kv_sinks = window < 0 ? -1 : 0};
  enum tb_status s = tb_model_open(&l->model, path, &mo, &err);
  if (s == TB_E_ARG && tier) return false;
  if (s) fail_msg("%s", err.text);
  s = tb_context_create(&l->ctx, l->model, &co, &err);
  if (s == TB_OK) return true;
  if (s != TB_E_ARG && s != TB_E_UNSUPPORTED) fail_msg("%s", err.text);
  tb_model_free(l->model);
  return false;
}

static struct live start(const char *path, uint32_t n_ctx, const char *type_k, const char *type_v) {
  struct live l;
  if (!try_start(&l, path, n_ctx, type_k, type_v, 0, getenv("TB_ISA"))) fail_msg("%s %s cannot be started", type_k, type_v);
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

/* Many tokens in one batch. */
static void feed_at_once(struct live l, int n) {
  struct tb_error err;
  tb_token ids[256];
  for (int i = 0; i < n; i++) ids[i] = i * 13 % 300;
  if (tb_eval(l.ctx, ids, (size_t)n, NULL, NULL, &err) != TB_OK) fail_msg("%s", err.text);
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

static uint32_t length(struct live l) {
  struct tb_context_info info;
  tb_context_get_info(l.ctx, &info);
  return info.n_past;
}

/* False when this type cannot be had here. */
static bool continues(const char *type_k, const char *type_v, int window, int tokens) {
  struct tb_error err;
  struct live a, b;
  float want[400], got[400];
  if (!try_start(&a, model_path, 512, type_k, type_v, window, getenv("TB_ISA"))) return false;
  assert_true(try_start(&b, model_path, 480, type_k, type_v, window, getenv("TB_ISA")));
  feed(a, 0, tokens);
  save(a);
  probe(a, want);
  if (tokens % 2) feed(b, 5, 3); /* something else, to be replaced */
  if (try_load(b, session_path, &err) != TB_OK) fail_msg("%s: %s", type_k, err.text);
  assert_int_equal(length(b), tokens);
  probe(b, got);
  assert_memory_equal(got, want, sizeof want);
  stop(a);
  stop(b);
  return true;
}

static bool brief(void) { return getenv("QEMU_CPU") || getenv("TB_TEST_SHORT"); }

static void round_trip(void **state) {
  (void)state;
  for (const char *const *t = tb_cache_types(); *t; t++) {
    bool any = false;
    for (int n = 1; n <= 200; n = n * 4 + 1)
      for (int window = -1; window <= 16; window += 17)
        any = continues(*t, *t, window, n) | any;
    if (!any) print_message("skipped: %s needs more than this model has\n", *t);
  }
  for (int n = 1; n <= 200; n = n * 13 + 5) {
    assert_true(continues("q8_0", "q4_0", 0, n));
    assert_true(continues("f32", "q8_0", 0, n));
  }
}

static size_t read_file(const char *path, unsigned char *data, size_t cap) {
  FILE *f = fopen(path, "rb");
  size_t n = f ? fread(data, 1, cap, f) : 0;
  if (f) fclose(f);
  assert_true(n < cap);
  return n;
}

/* Restored under one tier what another saved, and saved again: the same bytes. */
static void same_on_every_tier(void **state) {
  (void)state;
  static unsigned char first[1 << 18], again[1 << 18];
  struct tb_error err;
  size_t pairs = 0;
  for (const char *const *t = tb_cache_types(); *t; t++)
    for (const char *const *from = tb_isa_names(); *from; from++)
      for (const char *const *to = tb_isa_names(); *to; to++) {
        struct live a, b;
        /* From the reference to every tier and back. */
        if (*from == *to || (from != tb_isa_names() && to != tb_isa_names())) continue;
        if ((brief() && pairs > 8) || !try_start(&a, model_path, 256, *t, *t, -1, *from)) continue;
        if (try_start(&b, model_path, 256, *t, *t, -1, *to)) {
          feed_at_once(a, 170);
          save(a);
          const size_t n = read_file(session_path, first, sizeof first);
          if (try_load(b, session_path, &err) != TB_OK) fail_msg("%s: %s to %s: %s", *t, *from, *to, err.text);
          save(b);
          assert_int_equal(read_file(session_path, again, sizeof again), n);
          assert_memory_equal(first, again, n);
          feed(b, 3, 5);
          stop(b);
          pairs++;
        }
        stop(a);
      }
  print_message("%zu pairs of tiers and types\n", pairs);
}

static void same_on_every_machine(void **state) {
  (void)state;
  static unsigned char theirs[1 << 18], ours[1 << 18];
  const char *folder = getenv("TB_SESSION_FOLDER");
  struct tb_error err;
  size_t read = 0, written = 0;
  for (const char *const *t = tb_cache_types(); folder && *t; t++) {
    char path[512];
    struct live l;
    snprintf(path, sizeof path, "%s/%s.session", folder, *t);
    if (!try_start(&l, model_path, 256, *t, *t, -1, NULL)) continue;
    const size_t n = read_file(path, theirs, sizeof theirs);
    if (n) {
      if (try_load(l, path, &err) != TB_OK) fail_msg("%s: %s", path, err.text);
      save(l);
      assert_int_equal(read_file(session_path, ours, sizeof ours), n);
      assert_memory_equal(ours, theirs, n);
      feed(l, 3, 5);
      read++;
    } else {
      feed_at_once(l, 170);
      if (tb_session_save(l.ctx, path, "extra", 5, &err) != TB_OK) fail_msg("%s", err.text);
      written++;
    }
    stop(l);
  }
  if (folder) print_message("%zu sessions written, %zu read and written again\n", written, read);
}

static void refuses_what_does_not_belong(void **state) {
  (void)state;
  struct tb_error err;
  struct live a = start(model_path, 64, "f16", "f16");
  feed(a, 0, 40);
  save(a);
  struct live other = start(other_path, 64, "f16", "f16"), retrained = start(retrained_path, 64, "f16", "f16"),
              types = start(model_path, 64, "f16", "q8_0"), small = start(model_path, 32, "f16", "f16");
  assert_int_equal(try_load(other, session_path, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "another model"));
  assert_int_equal(try_load(retrained, session_path, &err), TB_E_ARG); /* the same header, other weights */
  assert_int_equal(try_load(types, session_path, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "cache types"));
  assert_int_equal(try_load(small, session_path, &err), TB_E_CONTEXT);
  assert_int_equal(try_load(a, "session_test.no-such-file", &err), TB_E_IO);
  assert_int_equal(try_load(a, model_path, &err), TB_E_FORMAT);
  stop(a);
  stop(other);
  stop(retrained);
  stop(types);
  stop(small);
}

static void write_file(const unsigned char *data, size_t n) {
  FILE *f = fopen(damaged_path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, n, f), n);
  fclose(f);
}

/* Truncations and single-bit flips of a file, all of them or one in `stride`: refused, and the conversation is untouched. */
static void damage(struct live a, size_t stride, size_t *cuts, size_t *flips) {
  static unsigned char data[1 << 18];
  struct tb_error err;
  const size_t n = read_file(session_path, data, sizeof data);
  for (size_t cut = 0; cut < n; cut += stride, ++*cuts) {
    write_file(data, cut);
    assert_int_not_equal(try_load(a, damaged_path, &err), TB_OK);
  }
  data[n] = 0;
  write_file(data, n + 1);
  assert_int_not_equal(try_load(a, damaged_path, &err), TB_OK);
  for (size_t bit = 0; bit < 8 * n; bit += stride, ++*flips) {
    data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    write_file(data, n);
    if (try_load(a, damaged_path, &err) == TB_OK) fail_msg("bit %zu flipped: accepted", bit);
    data[bit / 8] ^= (unsigned char)(1u << bit % 8);
  }
  write_file(data, n);
}

static void refuses_every_damage(void **state) {
  (void)state;
  struct tb_error err;
  for (const char *const *t = tb_cache_types(); *t; t++)
    for (int live = 0; live < 2; live++) { /* an empty and a live conversation */
      struct live a;
      float want[400], got[400];
      size_t cuts = 0, flips = 0;
      const bool small = !strcmp(*t, "q4_0"); /* every bit of a small file; of the others, blocks included, many */
      if (!try_start(&a, model_path, 256, *t, *t, -1, getenv("TB_ISA"))) continue;
      feed_at_once(a, small ? 3 : 165);
      save(a);
      assert_int_equal(tb_truncate(a.ctx, 0, &err), TB_OK);
      feed(a, 9, 5 * live);
      probe(a, want);
      damage(a, (small ? 1 + 6 * !live : 1999) * (brief() ? 7 : 1), &cuts, &flips);
      assert_int_equal(length(a), 5 * live);
      probe(a, got);
      assert_memory_equal(got, want, sizeof want);
      assert_int_equal(try_load(a, damaged_path, &err), TB_OK); /* whole again */
      print_message("%s: %zu truncations and %zu bit flips refused\n", *t, cuts, flips);
      stop(a);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(same_on_every_tier),
                                     cmocka_unit_test(same_on_every_machine), cmocka_unit_test(refuses_what_does_not_belong),
                                     cmocka_unit_test(refuses_every_damage)};
  return cmocka_run_group_tests_name("session", tests, set_up, tear_down);
}
