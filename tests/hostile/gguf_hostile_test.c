/* Malformed GGUF files, made field by field from good ones: hundreds of cases, each with an expectation from an
 * independent validator, each answered in time and within the memory bound, without a byte read outside the file. */
#include "tests/check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "io/gguf.h"
#include "tests/hostile/gguf_oracle.h"
#include "tests/support/count_alloc.h"
#include "tests/support/gguf_make.h"
#include "tests/support/gguf_walk.h"

/* Of this process: how long others keep it waiting does not count. */
static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What emulation and sanitizers may take longer. */
static double slowdown(void) {
#ifdef TB_SANITIZED
  return 20;
#else
  return tb_check_short() ? 100 : 1;
#endif
}

static struct {
  size_t cases, accepted;
  double slowest;
} seen;

/* Opens the bytes behind a guard page and holds status, text, time and memory against what must be. */
static void check_case(const unsigned char *data, size_t n, size_t header, const char *what) {
  static unsigned char *p; /* kept while the size is the same: a mapping takes longer than a case */
  static size_t size = SIZE_MAX;
  if (n != size) {
    if (p) tb_guard_free(p);
    p = tb_guard_new(n, 1);
    size = n;
  }
  if (n) memcpy(p, data, n);
  const char *why;
  bool good = gguf_oracle(p, n, &why);
  struct count_alloc c;
  struct tb_error err = {0};
  struct tb_gguf *g = NULL;
  count_alloc_init(&c);
  double start = cpu_seconds();
  enum tb_status s = tb_gguf_open_memory(&g, p, n, &c.hooks, &err);
  double took = cpu_seconds() - start;
  if (good && s) fail_msg("%s: refused with '%s', but it breaks no rule", what, err.text);
  if (!good && !s) fail_msg("%s: accepted, but: %s", what, why);
  if (s && s != TB_E_FORMAT && s != TB_E_UNSUPPORTED && s != TB_E_LIMIT)
    fail_msg("%s: status %d '%s'", what, s, err.text);
  if (s && (err.status != s || !err.text[0] || strchr(err.text, '\n'))) fail_msg("%s: text '%s'", what, err.text);
  if (s && g) fail_msg("%s: an object in spite of '%s'", what, err.text);
  if (!s) gguf_walk(g);
  tb_gguf_free(g);
  if (c.blocks) fail_msg("%s: %zu blocks leak", what, c.blocks);
  if (c.peak > 4 * header + (1 << 20)) fail_msg("%s: %zu bytes of memory", what, c.peak);
  if (took > 0.1 * slowdown()) fail_msg("%s: took %.3f s", what, took);
  if (took > seen.slowest) seen.slowest = took;
  seen.cases++;
  seen.accepted += !s;
}

/* ------------------------------------------------------------------------------------------------- the good files */

/* What make_sample does not have: version 2, an alignment, formats with blocks of 256, up to four dimensions, data in
 * another order than the table. */
static struct gguf_make second_sample(void) {
  struct gguf_make m;
  static const char *const words[] = {"a", "bc"};
  make_begin(&m, 2, 5, 5);
  make_kv_u32(&m, "general.alignment", 64);
  make_kv_u16(&m, "split.no", 0);
  make_kv_u16(&m, "split.count", 1);
  make_strings(&m, "words", 2, words);
  make_kv_f32(&m, "last", 1);
  make_tensor(&m, "k", 2, (const uint64_t[]){256, 2}, 12, 1024);
  make_tensor(&m, "cube", 3, (const uint64_t[]){2, 3, 4}, 1, 0);
  make_tensor(&m, "four", 4, (const uint64_t[]){32, 2, 1, 2}, 8, 64);
  make_tensor(&m, "iq", 1, (const uint64_t[]){256}, 23, 1344);
  make_tensor(&m, "b", 1, (const uint64_t[]){5}, 30, 256);
  make_data(&m, 64, 1344 + 136);
  return m;
}

static struct gguf_make sample(int i) { return i == 0 ? make_sample() : second_sample(); }

/* ------------------------------------------------------------------------------------------------- field by field */

static const uint64_t sizes[] = {0,          1,           2,          3,          7,          8,
                                 9,          31,          32,         33,         63,         64,
                                 65,         127,         128,        255,        256,        511,
                                 1000,       4096,        65535,      65536,      0x7fffffff, 0x80000000,
                                 0xffffffff, 0x100000000, 1ull << 40, INT64_MAX,  1ull << 63, UINT64_MAX - 7,
                                 UINT64_MAX};

static void set_and_check(const struct gguf_make *good, const struct make_field *f, uint64_t value) {
  struct gguf_make m = make_copy(good);
  char what[128];
  make_set(&m, f, value);
  snprintf(what, sizeof what, "field %d of '%s' [%u] = %llu", (int)f->kind, f->owner, f->index,
           (unsigned long long)value);
  check_case(m.data, m.n, m.header_end, what);
  make_free(&m);
}

/* Numbers: the list above and what lies around the present value. */
static void check_number(const struct gguf_make *good, const struct make_field *f) {
  uint64_t v = 0;
  memcpy(&v, good->data + f->at, f->len < 8 ? f->len : 8);
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    if (f->len == 8 || sizes[i] <= UINT32_MAX) set_and_check(good, f, sizes[i]);
  const uint64_t near[] = {v - 1, v + 1, 2 * v, v / 2, v ^ 0x80000000, v << 32, ~v, good->n, good->n - f->at};
  for (size_t i = 0; i < sizeof near / sizeof near[0]; i++) set_and_check(good, f, near[i]);
}

/* Types and formats: all small numbers and a few absurd ones. */
static void check_enum(const struct gguf_make *good, const struct make_field *f) {
  for (uint64_t v = 0; v < 50; v++) set_and_check(good, f, v);
  set_and_check(good, f, 255);
  set_and_check(good, f, 0x80000000);
  set_and_check(good, f, 0xffffffff);
}

/* Text and values: bytes that mean something elsewhere. */
static void check_bytes(const struct gguf_make *good, const struct make_field *f) {
  static const unsigned char bytes[] = {0, 1, 2, '\n', 0x1b, '%', 0x7f, 0x80, 0xff};
  for (size_t i = 0; i < sizeof bytes && f->len > 0; i++) {
    struct gguf_make m = make_copy(good);
    memset(m.data + f->at, bytes[i], f->len);
    check_case(m.data, m.n, m.header_end, f->owner);
    make_free(&m);
  }
}

static void test_field_by_field(void **state) {
  (void)state;
  memset(&seen, 0, sizeof seen);
  for (int k = 0; k < 2; k++) {
    struct gguf_make good = sample(k);
    check_case(good.data, good.n, good.header_end, "the good file");
    assert_int_equal(seen.accepted, seen.cases);
    seen.accepted = seen.cases = 0;
    for (size_t i = 0; i < good.n_fields; i++) {
      const struct make_field *f = &good.fields[i];
      switch (f->kind) {
      case MAKE_MAGIC:
      case MAKE_KEY:
      case MAKE_STR:
      case MAKE_NAME:
      case MAKE_VALUE: check_bytes(&good, f); break;
      case MAKE_TYPE:
      case MAKE_ELEM:
      case MAKE_FORMAT: check_enum(&good, f); break;
      default: check_number(&good, f);
      }
    }
    make_free(&good);
    print_message("file %d: %zu cases, %zu of them valid, slowest %.6f s\n", k, seen.cases, seen.accepted, seen.slowest);
    assert_true(seen.cases >= 800);
    assert_true(seen.cases - seen.accepted >= 400);
    seen.accepted = seen.cases = 0;
  }
}

/* One entry takes the name of another. */
static void test_duplicates(void **state) {
  (void)state;
  struct gguf_make good = make_sample();
  for (size_t i = 0; i < good.n_fields; i++)
    for (size_t k = 0; k < good.n_fields; k++) {
      const struct make_field *a = &good.fields[i], *b = &good.fields[k];
      if (i == k || a->kind != b->kind || (a->kind != MAKE_KEY && a->kind != MAKE_NAME) || a->len != b->len) continue;
      struct gguf_make m = make_copy(&good);
      memcpy(m.data + a->at, m.data + b->at, a->len);
      check_case(m.data, m.n, m.header_end, "duplicate");
      make_free(&m);
    }
  make_free(&good);
}

/* A field is left out, doubled or swapped with the next one. */
static void test_moved_fields(void **state) {
  (void)state;
  for (int k = 0; k < 2; k++) {
    struct gguf_make good = sample(k);
    for (size_t i = 0; i + 1 < good.n_fields; i++) {
      const struct make_field *a = &good.fields[i], *b = &good.fields[i + 1];
      struct gguf_make m = {0};
      make_bytes(&m, good.data, a->at); /* without a */
      make_bytes(&m, good.data + b->at, good.n - b->at);
      check_case(m.data, m.n, good.header_end, "field left out");
      m.n = 0;
      make_bytes(&m, good.data, b->at); /* a twice */
      make_bytes(&m, good.data + a->at, good.n - a->at);
      check_case(m.data, m.n, 2 * good.header_end, "field doubled");
      m.n = a->at;
      make_bytes(&m, good.data + b->at, b->len);
      make_bytes(&m, good.data + a->at, a->len);
      make_bytes(&m, good.data + b->at + b->len, good.n - b->at - b->len);
      check_case(m.data, m.n, good.header_end, "fields swapped");
      make_free(&m);
    }
    make_free(&good);
  }
}

static void test_truncations(void **state) {
  (void)state;
  for (int k = 0; k < 2; k++) {
    struct gguf_make good = sample(k);
    for (size_t n = 0; n < good.n; n++) check_case(good.data, n, good.header_end, "truncated");
    make_free(&good);
  }
}

/* The smallest files that have a key of each kind and a tensor: every byte of their headers with every value. */
static struct gguf_make small_sample(int k) {
  struct gguf_make m;
  static const char *const words[] = {"a", "bc"};
  make_begin(&m, 3, 1, 2);
  if (k == 0) {
    make_kv_u32(&m, "general.alignment", 32);
    make_strings(&m, "w", 2, words);
  } else {
    make_kv_str(&m, "s", "text");
    make_array(&m, "a", TB_GGUF_U16, 3, "\1\0\2\0\3\0", 6);
  }
  make_tensor(&m, "t", 2, (const uint64_t[]){32, 2}, k == 0 ? 8 : 0, 0);
  make_data(&m, 32, k == 0 ? 68 : 256);
  return m;
}

static void test_every_byte(void **state) {
  (void)state;
  memset(&seen, 0, sizeof seen);
  for (int k = 0; k < 2; k++) {
    struct gguf_make good = small_sample(k);
    const size_t accepted = seen.accepted;
    check_case(good.data, good.n, good.header_end, "the good file");
    assert_int_equal(seen.accepted, accepted + 1);
    for (size_t i = 0; i < good.header_end; i++)
      for (unsigned v = 0; v < 256; v += tb_check_short() ? 23 : 1) {
        char what[64];
        const unsigned char kept = good.data[i];
        snprintf(what, sizeof what, "small file %d, byte %zu = %u", k, i, v);
        good.data[i] = (unsigned char)v;
        check_case(good.data, good.n, good.header_end, what);
        good.data[i] = kept;
      }
    make_free(&good);
  }
  print_message("%zu cases, %zu of them valid, slowest %.6f s\n", seen.cases, seen.accepted, seen.slowest);
}

/* Several fields at once, and bits anywhere: by chance, the same chance every time. */
static void test_random_damage(void **state) {
  (void)state;
  struct tb_rng rng = {20260801};
  memset(&seen, 0, sizeof seen);
  for (int k = 0; k < 2; k++) {
    struct gguf_make good = sample(k);
    for (int round = 0; round < (tb_check_short() ? 200 : 5000); round++) {
      struct gguf_make m = make_copy(&good);
      for (unsigned n = 1 + (unsigned)(tb_rng_next(&rng) % 4); n > 0; n--) {
        const struct make_field *f = &m.fields[tb_rng_next(&rng) % m.n_fields];
        uint64_t r = tb_rng_next(&rng);
        if (r % 4 == 0) m.data[(r >> 8) % m.header_end] ^= (unsigned char)(1 << (r >> 4) % 8);
        else if (f->len == 4 || f->len == 8) make_set(&m, f, r % 4 == 1 ? sizes[(r >> 8) % 30] : (r >> 8) % 300);
        else if (f->len) m.data[f->at + (r >> 8) % f->len] = (unsigned char)(r >> 32);
      }
      char what[64];
      snprintf(what, sizeof what, "random damage, file %d round %d", k, round);
      check_case(m.data, m.n, m.header_end, what);
      make_free(&m);
    }
    make_free(&good);
  }
  print_message("%zu cases, %zu of them valid\n", seen.cases, seen.accepted);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_field_by_field), cmocka_unit_test(test_duplicates),    cmocka_unit_test(test_moved_fields),
      cmocka_unit_test(test_truncations),    cmocka_unit_test(test_every_byte),    cmocka_unit_test(test_random_damage),
  };
  return cmocka_run_group_tests_name("hostile gguf", tests, NULL, NULL);
}
