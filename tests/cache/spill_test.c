/* Clusters in a file: the same answers as from memory, whatever was in memory before; and when the file fails, an error
 * and the conversation as it was. */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/rng.h"
#include "cache/cache.h"
#include "cache/plan/bytes.h"
#include "simd/isa.h"
#include "support/count_alloc.h"
#include "support/tmpdir.h"

enum { LAYERS = 2, HEADS = 4, KV = 2, D = 32, CTX = 1400, BATCH = 512, TOPICS = 24, WINDOW = 32, SINKS = 4 };

static float topics[TOPICS][KV * D], keys[CTX * KV * D], values[CTX * KV * D];
static struct tb_kv_shape shapes[LAYERS];
static struct tmpdir dir;
static bool recall_in_both; /* what rig_make makes */
static int lose = -1;       /* a file that is emptied between the layers of a step */

static int setup(void **state) {
  (void)state;
  struct tb_rng rng = {33};
  for (int i = 0; i < LAYERS; i++)
    shapes[i] = (struct tb_kv_shape){.layer = (uint32_t)i, .n_head = HEADS, .n_kv = KV, .d_k = D, .d_v = D, .scale = 0.2f};
  for (int i = 0; i < TOPICS * KV * D; i++)
    topics[i / (KV * D)][i % (KV * D)] = 1.5f * tb_rng_normal(&rng);
  for (uint32_t t = 0, topic = 0; t < CTX; t++) {
    if (t % 7 == 0) topic = (uint32_t)(tb_rng_next(&rng) % TOPICS);
    for (uint32_t c = 0; c < KV * D; c++) {
      keys[t * KV * D + c] = topics[topic][c] + 0.5f * tb_rng_normal(&rng);
      values[t * KV * D + c] = tb_rng_normal(&rng);
    }
  }
  tmpdir_make(&dir);
  signal(SIGXFSZ, SIG_IGN);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  tmpdir_remove(&dir);
  return 0;
}

struct rig {
  struct tb_plan_layer plan[LAYERS];
  struct tb_cache_config config;
  struct tb_kernels kernels;
  struct tb_team *team;
  struct count_alloc alloc;
  struct tb_cache *cache;
};

/* Layer 0 attends to everything, layer 1 recalls; resident 0: from memory. */
static void rig_make(struct rig *r, const char *k, const char *v, uint32_t recall, uint32_t resident,
                     uint32_t threads) {
  unsigned mask = 0;
  const char *reason;
  struct tb_error err = {0};
  assert_true(tb_isa_select(getenv("TB_ISA"), &mask, &reason));
  memset(r, 0, sizeof *r);
  for (int i = 0; i < LAYERS; i++) {
    r->plan[i] = (struct tb_plan_layer){.window = WINDOW, .sinks = SINKS};
    snprintf(r->plan[i].type_k, TB_TYPE_NAME, "%s", k);
    snprintf(r->plan[i].type_v, TB_TYPE_NAME, "%s", v);
  }
  for (int i = recall_in_both ? 0 : 1; i < LAYERS; i++) {
    r->plan[i].recall = recall;
    r->plan[i].resident = resident;
  }
  if (recall_in_both) r->plan[1].segment = 160;
  r->config = (struct tb_cache_config){.n_layer = LAYERS,
                                       .shapes = shapes,
                                       .plan = r->plan,
                                       .n_ctx = CTX,
                                       .n_batch = BATCH,
                                       .n_threads = threads,
                                       .spill_dir = dir.path};
  tb_kernels_init(&r->kernels, mask);
  count_alloc_init(&r->alloc);
  assert_int_equal(tb_team_create(&r->team, threads, &tb_system_allocator, NULL), TB_OK);
  if (tb_cache_create(&r->cache, &r->config, &r->kernels, r->team, &r->alloc.hooks, &err)) fail_msg("%s", err.text);
  assert_int_equal(tmpdir_count(&dir), 0);
}

static void rig_free(struct rig *r) {
  tb_cache_free(r->cache);
  assert_int_equal(r->alloc.blocks, 0);
  tb_team_free(r->team);
}

/* Tokens from … to-1 in one step, their queries along topic `about`; out (may be NULL): of layer 1, for all of them. */
static enum tb_status step(struct rig *r, uint32_t from, uint32_t to, int about, float *out, struct tb_error *err) {
  static float k[BATCH * KV * D], v[BATCH * KV * D], q[BATCH * HEADS * D], o[BATCH * HEADS * D];
  const uint32_t n = to - from;
  for (uint32_t i = 0; i < n * HEADS * D; i++)
    q[i] = topics[about][i / D % HEADS / (HEADS / KV) * D + i % D];
  tb_cache_step(r->cache, n);
  for (uint32_t il = 0; il < LAYERS; il++) {
    memcpy(k, keys + (size_t)from * KV * D, n * KV * D * sizeof *k);
    memcpy(v, values + (size_t)from * KV * D, n * KV * D * sizeof *v);
    tb_cache_append(r->cache, il, k, v);
    tb_cache_attend(r->cache, il, q, o);
    if (lose >= 0) assert_int_equal(ftruncate(lose, 0), 0);
  }
  if (out) memcpy(out, o, n * HEADS * D * sizeof *o);
  return tb_cache_finish(r->cache, err);
}

static void fill(struct rig *r, uint32_t from, uint32_t to) {
  for (uint32_t at = from; at < to; at += BATCH)
    assert_int_equal(step(r, at, to - at < BATCH ? to : at + BATCH, 1, NULL, NULL), TB_OK);
}

static void near(const float *a, const float *b, size_t n) {
  double error = 0, sum = 0;
  for (size_t i = 0; i < n; i++) {
    error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    sum += (double)b[i] * b[i];
  }
  if (!(error <= 1e-10 * sum)) fail_msg("relative error %.3g", sqrt(error / sum));
}

static const char *const types[][2] = {{"f32", "f32"},   {"f16", "f16"},       {"q8_0", "q8_0"},
                                       {"q4_0", "q4_0"}, {"f16", "skvqx2"},    {"skvqx2", "skvqx2"},
                                       {"skvqx2", "f16"}};

/* Prompts, decoding about changing topics with few and with many clusters, cuts and growth. */
static void test_as_from_memory(void **state) {
  (void)state;
  static float a[BATCH * HEADS * D], b[BATCH * HEADS * D];
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    for (uint32_t recall = 64; recall <= 640; recall *= 10) {
      struct rig memory, file;
      rig_make(&memory, types[i][0], types[i][1], recall, 0, 1);
      rig_make(&file, types[i][0], types[i][1], recall, 320, 1);
      fill(&memory, 0, 900);
      fill(&file, 0, 900);
      step(&memory, 900, 1340, 2, a, NULL);
      assert_int_equal(step(&file, 900, 1340, 2, b, NULL), TB_OK);
      near(b, a, (size_t)440 * HEADS * D);
      for (uint32_t t = 1340; t < 1350; t++) {
        step(&memory, t, t + 1, (int)t % TOPICS, a, NULL);
        assert_int_equal(step(&file, t, t + 1, (int)t % TOPICS, b, NULL), TB_OK);
        near(b, a, (size_t)HEADS * D);
      }
      static const uint32_t kept[] = {1345, 800, 330, 3};
      for (size_t cut = 0; cut < sizeof kept / sizeof *kept; cut++) {
        assert_int_equal(tb_cache_truncate(memory.cache, kept[cut], NULL), TB_OK);
        assert_int_equal(tb_cache_truncate(file.cache, kept[cut], NULL), TB_OK);
        fill(&memory, kept[cut], kept[cut] + 40);
        fill(&file, kept[cut], kept[cut] + 40);
        step(&memory, kept[cut] + 40, kept[cut] + 41, 3, a, NULL);
        assert_int_equal(step(&file, kept[cut] + 40, kept[cut] + 41, 3, b, NULL), TB_OK);
        near(b, a, (size_t)HEADS * D);
      }
      struct tb_recalled n;
      tb_cache_recalled(file.cache, &n);
      assert_true(n.read > 0 && n.read <= n.pages && n.read_bytes > 0);
      tb_cache_recalled(memory.cache, &n);
      assert_int_equal(n.pages, 0);
      rig_free(&memory);
      rig_free(&file);
    }
}

/* Neither threads nor what was in memory before change a bit. */
static void test_history_does_not_matter(void **state) {
  (void)state;
  float a[HEADS * D], b[HEADS * D], c[HEADS * D];
  for (size_t i = 1; i < sizeof types / sizeof *types; i += 2) {
    struct rig one, three, all;
    rig_make(&one, types[i][0], types[i][1], 64, 320, 1);
    rig_make(&three, types[i][0], types[i][1], 64, 320, 3);
    rig_make(&all, types[i][0], types[i][1], 64, CTX, 2);
    struct rig *rigs[] = {&one, &three, &all};
    for (int r = 0; r < 3; r++) {
      fill(rigs[r], 0, 1300);
      for (int t = 0; t < 4; t++)
        assert_int_equal(step(rigs[r], 1300 + (uint32_t)t, 1301 + (uint32_t)t, (t + 5 * r) % TOPICS, a, NULL), TB_OK);
    }
    step(&one, 1304, 1305, 9, a, NULL);
    step(&three, 1304, 1305, 9, b, NULL);
    step(&all, 1304, 1305, 9, c, NULL);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_equal(a, c, sizeof a);
    struct tb_recalled n;
    tb_cache_recalled(all.cache, &n);
    assert_int_equal(n.read, 0);
    for (int r = 0; r < 3; r++)
      rig_free(rigs[r]);
  }
}

/* What is allocated is what was predicted, and less than everything. */
static void test_bytes(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    struct rig r;
    rig_make(&r, types[i][0], types[i][1], 64, 320, 2);
    uint64_t stored, total, whole;
    struct tb_plan_bytes parts;
    tb_cache_bytes(&r.config, &stored, &total);
    tb_plan_cache_bytes(&r.config, &parts);
    assert_int_equal(total, r.alloc.live);
    assert_int_equal(total, parts.main + parts.window + parts.shared);
    r.plan[1].resident = 0;
    tb_cache_bytes(&r.config, &whole, &total);
    assert_true(stored < whole);
    rig_free(&r);
  }
}

/* ---------------------------------------------------------------------------------------------------------- faults */

/* The file that this process has open without a name, opened once more: -1 where the system does not show it. */
static int open_again(void) {
  DIR *list = opendir("/proc/self/fd");
  int fd = -1;
  for (struct dirent *e; list && fd < 0 && (e = readdir(list));) {
    char path[300], target[300] = {0};
    snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
    if (readlink(path, target, sizeof target - 1) > 0 && strstr(target, "thimble-spill")) fd = open(path, O_RDWR);
  }
  if (list) closedir(list);
  return fd;
}

/* One bit of every 64 bytes changes. */
static void damage(int fd) {
  unsigned char byte;
  for (off_t at = 0; pread(fd, &byte, 1, at) == 1; at += 64) {
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
  }
}

static void test_damage(void **state) {
  (void)state;
  float a[HEADS * D], b[HEADS * D];
  struct tb_error err = {0};
  struct rig memory, file;
  rig_make(&memory, "f16", "f16", 64, 0, 1);
  rig_make(&file, "f16", "f16", 64, 320, 2);
  const int fd = open_again();
  if (fd < 0) skip();
  fill(&memory, 0, 1300);
  fill(&file, 0, 1300);
  damage(fd);
  uint32_t t = 1300;
  int about = 0;
  while (about < TOPICS && step(&file, t, t + 1, about, b, &err) == TB_OK)
    step(&memory, t, t + 1, about, a, NULL), t++, about++;
  assert_true(about < TOPICS);
  assert_int_equal(err.status, TB_E_FORMAT);
  assert_non_null(strstr(err.text, "damaged"));
  assert_int_equal(tb_cache_length(file.cache), t);
  assert_int_equal(step(&file, t, t + 20, 0, NULL, &err), TB_E_FORMAT); /* a prompt reads everything */
  assert_int_equal(tb_cache_truncate(file.cache, 200, &err), TB_E_FORMAT);
  assert_int_equal(tb_cache_length(file.cache), t);
  damage(fd); /* what it was */
  step(&memory, t, t + 1, about, a, NULL);
  assert_int_equal(step(&file, t, t + 1, about, b, &err), TB_OK);
  near(b, a, HEADS * D);
  assert_int_equal(ftruncate(fd, 0), 0);
  assert_int_equal(step(&file, t + 1, t + 20, 0, NULL, &err), TB_E_FORMAT);
  assert_non_null(strstr(err.text, "shortened"));
  assert_int_equal(tb_cache_length(file.cache), t + 1);
  assert_int_equal(tb_cache_truncate(file.cache, 0, &err), TB_OK);
  fill(&file, 0, 100); /* a new conversation */
  close(fd);
  rig_free(&memory);
  rig_free(&file);
}

/* The disk takes no more, in the middle of a prompt and while generating; then it does again. */
static void test_full(void **state) {
  (void)state;
  float a[HEADS * D], b[HEADS * D];
  struct tb_error err = {0};
  struct rlimit old, small;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    struct rig memory, file;
    rig_make(&memory, types[i][0], types[i][1], 64, 0, 2);
    rig_make(&file, types[i][0], types[i][1], 64, 320, 2);
    fill(&memory, 0, 900);
    fill(&file, 0, 600);
    small = old;
    small.rlim_cur = 1;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    uint32_t t = 600;
    while (t < 900 && step(&file, t, t + 1, 0, NULL, &err) == TB_OK)
      t++;
    assert_int_equal(t, 2 * 320 + WINDOW + SINKS - 1); /* when the second segment is due */
    assert_int_equal(err.status, TB_E_IO);
    assert_int_equal(tb_cache_length(file.cache), t);
    assert_int_equal(step(&file, t, t + 225, 0, NULL, &err), TB_E_IO);
    assert_int_equal(tb_cache_length(file.cache), t);
    setrlimit(RLIMIT_FSIZE, &old);
    fill(&file, t, 900);
    step(&memory, 900, 901, 7, a, NULL);
    assert_int_equal(step(&file, 900, 901, 7, b, NULL), TB_OK);
    near(b, a, HEADS * D);
    rig_free(&memory);
    rig_free(&file);
  }
}

/* The file is lost between the layers: layer 0 has clustered two more segments and has one of them in memory, layer 1 cannot
 * read what it attends to. What layer 0 would have to give back it cannot read, so whole segments are left. */
static void test_lost(void **state) {
  (void)state;
  struct tb_error err = {0};
  struct rig r;
  recall_in_both = true;
  rig_make(&r, "f16", "f16", 64, 320, 1);
  recall_in_both = false;
  const int fd = open_again();
  if (fd < 0) skip();
  fill(&r, 0, 640);
  lose = fd;
  assert_int_equal(step(&r, 640, 640 + BATCH, 0, NULL, &err), TB_E_FORMAT);
  lose = -1;
  assert_int_equal(tb_cache_length(r.cache), SINKS + 320);
  assert_int_equal(tb_cache_truncate(r.cache, 200, &err), TB_E_FORMAT);
  assert_int_equal(tb_cache_length(r.cache), SINKS + 320);
  assert_int_equal(step(&r, SINKS + 320, SINKS + 330, 0, NULL, &err), TB_E_FORMAT);
  assert_int_equal(tb_cache_length(r.cache), SINKS + 320);
  close(fd);
  rig_free(&r);
}

static void test_refusals(void **state) {
  (void)state;
  struct rig r;
  struct tb_error err = {0};
  struct tb_cache *none;
  rig_make(&r, "f16", "f16", 64, 320, 1);
  r.config.spill_dir = NULL;
  assert_int_equal(tb_cache_create(&none, &r.config, &r.kernels, r.team, &tb_system_allocator, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "kv_spill"));
  r.config.spill_dir = "/no such folder";
  assert_int_equal(tb_cache_create(&none, &r.config, &r.kernels, r.team, &r.alloc.hooks, &err), TB_E_IO);
  r.plan[1].form = TB_RECALL_PUBLISHED;
  assert_int_equal(tb_cache_check(&r.config, &err), TB_E_ARG);
  assert_non_null(strstr(err.text, "form=1"));
  rig_free(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_from_memory),
                                     cmocka_unit_test(test_history_does_not_matter),
                                     cmocka_unit_test(test_bytes),
                                     cmocka_unit_test(test_damage),
                                     cmocka_unit_test(test_full),
                                     cmocka_unit_test(test_lost),
                                     cmocka_unit_test(test_refusals)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
