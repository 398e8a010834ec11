/* Sessions of caches that hold more than rows: types made from a profile, clusters of recall, merged layers. They continue
 * with the same bits, belong to one kind only, and survive every fault like the others; contents that no cache can have,
 * under checksums that are right, are refused or do no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/checksum.h"
#include "base/rng.h"
#include "tests/check/check.h"
#include "tests/support/count_alloc.h"
#include "tests/support/kinds.h"
#include "tests/support/tmpdir.h"
#include "thimble.h"

enum { VOCAB = KINDS_VOCAB, CTX = KINDS_CTX, TOKENS = 345, BYTES = 1 << 20, HEADER = 72, CRC = 4, TRAILER = 8 };

static struct tmpdir dir;
static struct tb_rng rng = {20260801};
static char model_path[600], profile_path[600], session_path[600], damaged_path[600];
static struct count_alloc counter;
static struct tb_model *model;
static struct tb_context *live; /* of the kind that is being tested */
static unsigned char file[BYTES], changed[BYTES];

static int set_up(void **state) {
  (void)state;
  tmpdir_make(&dir);
  snprintf(model_path, sizeof model_path, "%s", tmpdir_file(&dir, "model.gguf"));
  snprintf(profile_path, sizeof profile_path, "%s", tmpdir_file(&dir, "profile"));
  snprintf(session_path, sizeof session_path, "%s", tmpdir_file(&dir, "session"));
  snprintf(damaged_path, sizeof damaged_path, "%s", tmpdir_file(&dir, "damaged"));
  count_alloc_init(&counter);
  model = kinds_model(model_path, profile_path, &counter.hooks);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  tb_model_free(model);
  tmpdir_remove(&dir);
  assert_int_equal(counter.blocks, 0);
  return 0;
}

static struct tb_context *start(const struct tb_kind *k) {
  struct tb_context *c;
  struct tb_error err;
  const struct tb_context_options o = kinds_options(k, profile_path, NULL);
  if (tb_context_create(&c, model, &o, &err) != TB_OK) fail_msg("%s: %s", k->name, err.text);
  return c;
}

static uint32_t length(const struct tb_context *c) {
  struct tb_context_info info;
  tb_context_get_info(c, &info);
  return info.n_past;
}

static void feed(struct tb_context *c, int first, int n) {
  struct tb_error err;
  tb_token ids[CTX];
  for (int i = 0; i < n; i++)
    ids[i] = (first + i) * 13 % 300;
  if (tb_eval(c, ids, (size_t)n, NULL, NULL, &err) != TB_OK) fail_msg("%s", err.text);
}

/* Logits after some more tokens, one by one, which are then taken back: not far enough to come to what is encoded. */
static void probe(struct tb_context *c, float logits[VOCAB]) {
  const uint32_t n = length(c);
  feed(c, 77, 1);
  feed(c, 91, 1);
  memcpy(logits, tb_logits(c), VOCAB * sizeof *logits);
  assert_int_equal(tb_truncate(c, n, NULL), TB_OK);
}

static void save(struct tb_context *c, const char *path) {
  struct tb_error err;
  if (tb_session_save(c, path, "extra", 5, &err) != TB_OK) fail_msg("%s", err.text);
}

static enum tb_status load(struct tb_context *c, const char *path, struct tb_error *err) {
  void *extra = NULL;
  size_t n = 0;
  enum tb_status s = tb_session_load(c, path, &extra, &n, err);
  if (s == TB_OK) tb_session_free_extra(c, extra);
  return s;
}

static size_t read_session(void) {
  FILE *f = fopen(session_path, "rb");
  assert_non_null(f);
  const size_t n = fread(file, 1, sizeof file, f);
  fclose(f);
  assert_true(n < sizeof file - 1); /* one block */
  return n;
}

/* ------------------------------------------------------------------------------------------------------------ tests */

static void continues(void **state) {
  (void)state;
  struct tb_error err;
  float want[VOCAB], got[VOCAB];
  for (size_t k = 0; k < KINDS; k++) {
    struct tb_context *a = start(&kinds[k]);
    for (int busy = 0; busy < 2; busy++) {
      struct tb_context *b = start(&kinds[k]);
      assert_int_equal(tb_truncate(a, 0, NULL), TB_OK);
      feed(a, 0, TOKENS);
      save(a, session_path);
      if (busy) feed(b, 5, 170);
      if (load(b, session_path, &err) != TB_OK) fail_msg("%s: %s", kinds[k].name, err.text);
      assert_int_equal(length(b), TOKENS);
      for (int cut = 0; cut < 2; cut++) { /* also after what was packed is partly taken back */
        probe(a, want);
        probe(b, got);
        if (memcmp(got, want, sizeof want) != 0) fail_msg("%s: other logits, cut %d", kinds[k].name, cut);
        assert_int_equal(tb_truncate(a, 207, NULL), TB_OK);
        assert_int_equal(tb_truncate(b, 207, NULL), TB_OK);
      }
      tb_context_free(b);
    }
    tb_context_free(a);
  }
}

static void belongs_to_one_kind(void **state) {
  (void)state;
  struct tb_error err;
  for (size_t k = 0; k < KINDS; k++) {
    struct tb_context *a = start(&kinds[k]);
    feed(a, 0, 20);
    save(a, session_path);
    tb_context_free(a);
    for (size_t other = 0; other < KINDS; other++) {
      if (other == k) continue;
      struct tb_context *b = start(&kinds[other]);
      if (load(b, session_path, &err) != TB_E_ARG) fail_msg("%s loads %s", kinds[other].name, kinds[k].name);
      assert_int_equal(length(b), 0);
      tb_context_free(b);
    }
  }
}

static void write_damaged(const unsigned char *data, size_t n) { tmpdir_write(&dir, "damaged", data, n); }

static void refuses_damage(void **state) {
  (void)state;
  struct tb_error err;
  float want[VOCAB], got[VOCAB];
  const size_t stride = tb_check_short() ? 60013 : 3001;
  for (size_t k = 0; k < KINDS; k++) {
    live = start(&kinds[k]);
    feed(live, 0, TOKENS);
    save(live, session_path);
    const size_t n = read_session();
    assert_int_equal(tb_truncate(live, 0, NULL), TB_OK);
    feed(live, 9, 190);
    probe(live, want);
    for (size_t bit = k; bit < 8 * n; bit += stride) {
      file[bit / 8] ^= (unsigned char)(1u << bit % 8);
      write_damaged(file, n);
      if (load(live, damaged_path, &err) == TB_OK) fail_msg("%s: bit %zu flipped: accepted", kinds[k].name, bit);
      file[bit / 8] ^= (unsigned char)(1u << bit % 8);
      write_damaged(file, bit / 8);
      if (load(live, damaged_path, &err) == TB_OK) fail_msg("%s: %zu bytes: accepted", kinds[k].name, bit / 8);
    }
    assert_int_equal(length(live), 190);
    probe(live, got);
    assert_memory_equal(got, want, sizeof want);
    tb_context_free(live);
  }
}

static void repair(unsigned char *data, size_t n) {
  static struct tb_crc c;
  tb_crc32c_start(&c);
  tb_crc_add(&c, data + HEADER, n - HEADER - CRC - TRAILER);
  const uint32_t block = (uint32_t)tb_crc_value(&c);
  memcpy(data + n - CRC - TRAILER, &block, CRC);
  tb_crc64_start(&c);
  tb_crc_add(&c, data, n - TRAILER);
  const uint64_t whole = tb_crc_value(&c);
  memcpy(data + n - TRAILER, &whole, TRAILER);
}

/* Whatever was accepted is used: the last segment is cut, so that what is packed is unpacked, and all goes on. */
static void use(const char *name) {
  struct tb_error err;
  static const uint32_t lengths[] = {TOKENS, 300, 170, 3};
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    assert_int_equal(tb_truncate(live, lengths[i], NULL), TB_OK);
    const tb_token t = 5;
    enum tb_status s = tb_eval(live, &t, 1, NULL, NULL, &err);
    if (s != TB_OK && s != TB_E_NUMERIC) fail_msg("%s: status %d: %s", name, (int)s, err.text);
  }
}

/* A change of what the cache holds, or of its state. */
static void change(size_t n) {
  const size_t from = HEADER + 4 * TOKENS, room = n - from - CRC - TRAILER;
  const size_t bytes = 1 + (size_t)(tb_rng_next(&rng) % (tb_rng_next(&rng) % 4 ? 8 : 400));
  const size_t at = from + (size_t)(tb_rng_next(&rng) % (room - bytes));
  const int what = (int)(tb_rng_next(&rng) % 3);
  for (size_t i = 0; i < bytes; i++)
    changed[at + i] = what == 0 ? 0xff : what == 1 ? 0 : (unsigned char)tb_rng_next(&rng);
}

static void impossible_contents(void **state) {
  (void)state;
  struct tb_error err;
  const size_t rounds = tb_check_short() ? 12 : 250;
  for (size_t k = 0; k < KINDS; k++) {
    size_t refused = 0;
    live = start(&kinds[k]);
    feed(live, 0, TOKENS);
    save(live, session_path);
    const size_t n = read_session();
    for (size_t i = 0; i < rounds; i++) {
      memcpy(changed, file, n);
      for (int more = 0; more < 3; more++) change(n);
      repair(changed, n);
      write_damaged(changed, n);
      enum tb_status s = load(live, damaged_path, &err);
      refused += s != TB_OK;
      if (s == TB_OK) use(kinds[k].name);
      else if (s != TB_E_FORMAT) fail_msg("%s: status %d: %s", kinds[k].name, (int)s, err.text);
    }
    print_message("%s: %zu of %zu refused\n", kinds[k].name, refused, rounds);
    tb_context_free(live);
  }
}

/* The order of a segment of recall: 160 numbers that are 0 … 159 in some order. */
static unsigned char *find_order(size_t n) {
  for (size_t at = HEADER; at + 320 + TRAILER < n; at++) {
    bool seen[160] = {false};
    size_t i = 0;
    for (uint16_t v; i < 160; i++) {
      memcpy(&v, changed + at + 2 * i, 2);
      if (v >= 160 || seen[v]) break;
      seen[v] = true;
    }
    if (i == 160) return changed + at;
  }
  return NULL;
}

/* 0, 4, 5 become 1, 2, 6: neither the sum nor the sum of squares tells. */
static void an_order_with_repetitions(void **state) {
  (void)state;
  struct tb_error err;
  for (size_t k = 0; k < KINDS; k++) {
    if (strncmp(kinds[k].name, "recall", 6) != 0) continue;
    live = start(&kinds[k]);
    feed(live, 0, TOKENS);
    save(live, session_path);
    const size_t n = read_session();
    memcpy(changed, file, n);
    unsigned char *order = find_order(n);
    assert_non_null(order);
    for (size_t i = 0; i < 160; i++) {
      uint16_t v;
      memcpy(&v, order + 2 * i, 2);
      v = v == 0 ? 1 : v == 4 ? 2 : v == 5 ? 6 : v;
      memcpy(order + 2 * i, &v, 2);
    }
    repair(changed, n);
    write_damaged(changed, n);
    assert_int_equal(load(live, damaged_path, &err), TB_E_FORMAT);
    if (!strstr(err.text, "recall: what was saved is impossible")) fail_msg("%s", err.text);
    assert_int_equal(length(live), TOKENS);
    tb_context_free(live);
  }
}

/* The rows that both merged layers keep, 8 ascending numbers behind 160 magnitudes: one beyond the block, one twice. */
static void merged_rows_beyond_a_block(void **state) {
  (void)state;
  struct tb_error err;
  size_t found = 0;
  live = start(&kinds[7]);
  feed(live, 0, TOKENS);
  save(live, session_path);
  const size_t n = read_session();
  for (size_t at = HEADER; at + 8 < n; at++) {
    bool rows = true;
    for (size_t i = 0; i < 8; i++)
      rows = rows && file[at + i] < 160 && (i == 0 || file[at + i] > file[at + i - 1]);
    for (size_t i = 0; rows && i < 8; i++) { /* the magnitudes of rows that are kept are 0 */
      static const unsigned char zero[2];
      rows = memcmp(file + at - 320 + 2 * (size_t)file[at + i], zero, 2) == 0;
    }
    if (!rows || at < HEADER + 320) continue;
    found++;
    for (int twice = 0; twice < 2; twice++) {
      memcpy(changed, file, n);
      changed[at + 7] = twice ? changed[at + 6] : 160;
      repair(changed, n);
      write_damaged(changed, n);
      assert_int_equal(load(live, damaged_path, &err), TB_E_FORMAT);
    }
  }
  assert_int_equal(found % 8, 0); /* 2 layers, 2 sides, 2 heads */
  assert_int_not_equal(found, 0);
  tb_context_free(live);
}

static void failing_allocations(void **state) {
  (void)state;
  struct tb_error err;
  float want[VOCAB], got[VOCAB];
  size_t total = 0;
  for (size_t k = 0; k < KINDS; k++) {
    live = start(&kinds[k]);
    feed(live, 0, 175);
    save(live, session_path);
    feed(live, 4, 9);
    for (int how = 0; how < 4; how++) { /* once or for ever; saving or restoring */
      probe(live, want);
      for (size_t at = 1;; at++) {
        const size_t calls = counter.calls, blocks = counter.blocks;
        counter.fail_at = calls + at;
        counter.fail_after = how & 1;
        enum tb_status s = how & 2 ? load(live, session_path, &err)
                                   : tb_session_save(live, damaged_path, "extra", 5, &err);
        const bool failed = counter.calls >= calls + at;
        counter.fail_at = 0;
        counter.fail_after = false;
        assert_int_equal(s, failed ? TB_E_NOMEM : TB_OK);
        assert_int_equal(counter.blocks, blocks);
        if (!failed) break;
        total++;
        probe(live, got);
        assert_memory_equal(got, want, sizeof want);
      }
    }
    tb_context_free(live);
  }
  print_message("%zu allocations failed in turn\n", total);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(continues),           cmocka_unit_test(belongs_to_one_kind),
      cmocka_unit_test(refuses_damage),      cmocka_unit_test(impossible_contents),
      cmocka_unit_test(an_order_with_repetitions), cmocka_unit_test(merged_rows_beyond_a_block),
      cmocka_unit_test(failing_allocations),
  };
  return cmocka_run_group_tests_name("session kinds", tests, set_up, tear_down);
}
