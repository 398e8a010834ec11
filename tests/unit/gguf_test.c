/* The GGUF reader on single files: what the getters give, what each defect is called, and that neither a shortened nor
 * a damaged file is read beyond its end. */
#include "tests/check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "io/gguf.h"
#include "tests/support/count_alloc.h"
#include "tests/support/gguf_make.h"
#include "tests/support/gguf_walk.h"

static enum tb_status open_bytes(struct tb_gguf **g, const void *data, size_t n, struct tb_error *err) {
  return tb_gguf_open_memory(g, data, n, &tb_system_allocator, err);
}

/* ------------------------------------------------------------------------------------------------------- contents */

static void test_contents(void **state) {
  (void)state;
  struct gguf_make m = make_sample();
  struct tb_gguf *g;
  struct tb_error err;
  assert_int_equal(open_bytes(&g, m.data, m.n, &err), TB_OK);
  assert_int_equal(tb_gguf_version(g), 3);
  assert_int_equal(tb_gguf_parts(g), 1);
  assert_int_equal(tb_gguf_file_bytes(g), m.n);
  assert_int_equal(tb_gguf_kv_count(g), 17);
  assert_int_equal(tb_gguf_tensor_count(g), 3);
  assert_null(tb_gguf_mapping(g, 0));
  assert_int_equal(tb_gguf_check(g, &err), TB_OK);

  const struct tb_gguf_kv *kv = tb_gguf_kv_find(g, "a.str");
  assert_int_equal(kv->type, TB_GGUF_ARRAY);
  assert_int_equal(kv->elem, TB_GGUF_STRING);
  assert_int_equal(kv->count, 3);
  const unsigned char *cursor = kv->data;
  assert_true(tb_str_is(tb_gguf_next_str(&cursor), "alpha"));
  assert_true(tb_str_is(tb_gguf_next_str(&cursor), ""));
  assert_true(tb_str_is(tb_gguf_next_str(&cursor), "\xc4\xa0gamma"));
  assert_ptr_equal(cursor, kv->data + kv->bytes);
  kv = tb_gguf_kv_find(g, "a.i32");
  assert_int_equal(tb_gguf_array_int(kv, 3), 40);
  assert_true(tb_gguf_array_float(tb_gguf_kv_find(g, "a.f32"), 1) == 2.5);
  assert_int_equal(tb_gguf_array_int(tb_gguf_kv_find(g, "a.bool"), 0), 1);
  assert_int_equal(tb_gguf_kv_find(g, "a.empty")->count, 0);
  assert_null(tb_gguf_kv_find(g, "absent"));
  assert_null(tb_gguf_kv_find(g, ""));

  const struct tb_gguf_tensor *t = tb_gguf_tensor_find(g, "two.weight");
  assert_int_equal(t->format, TB_FMT_q4_0);
  assert_int_equal(t->n_dims, 2);
  assert_int_equal(t->ne[0], 32);
  assert_int_equal(t->ne[1], 2);
  assert_int_equal(t->ne[2], 1);
  assert_int_equal(t->ne[3], 1);
  assert_int_equal(t->bytes, 36);
  assert_ptr_equal(t->data, m.data + m.n - 320 + 128);
  assert_ptr_equal(tb_gguf_tensor_at(g, 1), t);
  assert_null(tb_gguf_tensor_find(g, "four"));
  gguf_walk(g);
  tb_gguf_free(g);
  tb_gguf_free(NULL);
  make_free(&m);
}

static void test_version_2(void **state) {
  (void)state;
  struct gguf_make m = make_sample();
  make_set(&m, make_find(&m, MAKE_VERSION, "", 0), 2);
  struct tb_gguf *g;
  assert_int_equal(open_bytes(&g, m.data, m.n, NULL), TB_OK);
  assert_int_equal(tb_gguf_version(g), 2);
  tb_gguf_free(g);
  make_free(&m);
}

/* -------------------------------------------------------------------------------------------------------- getters */

struct get_case {
  const char *key;
  char getter; /* u: u32, f: f32, b: bool, s: string, n: three u32s */
  double value;
  const char *text; /* of the error; NULL: success */
};

static const struct get_case gets[] = {
    {"t.u8", 'u', 200, NULL},
    {"t.u16", 'u', 60000, NULL},
    {"t.u32", 'u', 4000000000.0, NULL},
    {"t.i64", 'u', 7, NULL},
    {"t.i8", 'u', 0, "key 't.i8': -5 is out of range"},
    {"t.i16", 'u', 0, "key 't.i16': -300 is out of range"},
    {"t.i32", 'u', 0, "key 't.i32': -70000 is out of range"},
    {"t.u64", 'u', 0, "key 't.u64': 1099511627776 is out of range"},
    {"t.f32", 'u', 0, "key 't.f32': expected an integer, found f32"},
    {"t.bool", 'u', 0, "key 't.bool': expected an integer, found bool"},
    {"general.architecture", 'u', 0, "key 'general.architecture': expected an integer, found string"},
    {"a.i32", 'u', 0, "key 'a.i32': expected an integer, found an array of i32"},
    {"absent", 'u', 0, "key 'absent' is missing"},
    {"t.f32", 'f', 1.5, NULL},
    {"t.f64", 'f', -0.25, NULL},
    {"t.i16", 'f', -300, NULL},
    {"t.u64", 'f', 1099511627776.0, NULL},
    {"t.bool", 'f', 0, "key 't.bool': expected a number, found bool"},
    {"a.f32", 'f', 0, "key 'a.f32': expected a number, found an array of f32"},
    {"absent", 'f', 0, "key 'absent' is missing"},
    {"t.bool", 'b', 1, NULL},
    {"t.u8", 'b', 0, "key 't.u8': expected bool, found u8"},
    {"absent", 'b', 0, "key 'absent' is missing"},
    {"general.architecture", 's', 5, NULL},
    {"t.u8", 's', 0, "key 't.u8': expected string, found u8"},
    {"a.str", 's', 0, "key 'a.str': expected string, found an array of string"},
    {"absent", 's', 0, "key 'absent' is missing"},
    {"a.i32", 'n', 60, NULL},
    {"t.u8", 'n', 600, NULL},
    {"a.f32", 'n', 0, "key 'a.f32': expected an integer or an array of integers, found an array of f32"},
    {"a.empty", 'n', 0, "key 'a.empty': an array of 0 values, 3 are needed"},
    {"t.i8", 'n', 0, "key 't.i8': -5 is out of range"},
    {"absent", 'n', 0, "key 'absent' is missing"},
};

/* Calls the getter; *value is what it stored, 77 when nothing. */
static enum tb_status get(const struct tb_gguf *g, const struct get_case *c, bool required, double *value,
                          struct tb_error *err) {
  uint32_t u = 77, many[3] = {77, 0, 0};
  float f = 77;
  bool b = false;
  struct tb_str s = {NULL, 77};
  enum tb_status status;
  switch (c->getter) {
  case 'u':
    status = tb_gguf_get_u32(g, c->key, required, &u, err);
    *value = u;
    return status;
  case 'f':
    status = tb_gguf_get_f32(g, c->key, required, &f, err);
    *value = (double)f;
    return status;
  case 'b':
    status = tb_gguf_get_bool(g, c->key, required, &b, err);
    *value = b || status == TB_OK ? b : 77;
    return status;
  case 's':
    status = tb_gguf_get_str(g, c->key, required, &s, err);
    *value = (double)s.len;
    return status;
  default:
    status = tb_gguf_get_u32s(g, c->key, required, many, 3, err);
    *value = (double)many[0] + many[1] + many[2];
    return status;
  }
}

static void test_getters(void **state) {
  (void)state;
  struct gguf_make m = make_sample();
  struct tb_gguf *g;
  assert_int_equal(open_bytes(&g, m.data, m.n, NULL), TB_OK);
  for (size_t i = 0; i < sizeof gets / sizeof gets[0]; i++) {
    const struct get_case *c = &gets[i];
    struct tb_error err = {0};
    double value;
    enum tb_status s = get(g, c, true, &value, &err);
    if (c->text) {
      assert_int_equal(s, TB_E_FORMAT);
      assert_int_equal(err.status, s);
      assert_string_equal(err.text, c->text);
      assert_true(value == 77); /* nothing is stored on failure */
    } else {
      if (s) fail_msg("%s as %c: %s", c->key, c->getter, err.text);
      assert_true(value == c->value);
    }
    if (strcmp(c->key, "absent") != 0) continue;
    assert_int_equal(get(g, c, false, &value, &err), TB_OK); /* a key that may be absent changes nothing */
    assert_true(value == 77 || c->getter == 'b');
  }
  tb_gguf_free(g);
  make_free(&m);
}

static void test_float_must_be_finite(void **state) {
  (void)state;
  static const uint64_t patterns[] = {0x7ff0000000000000, 0x7ff8000000000000, 0x47f0000000000000}; /* inf, nan, 2^128 */
  for (size_t i = 0; i < 3; i++) {
    struct gguf_make m = make_sample();
    make_set(&m, make_find(&m, MAKE_VALUE, "t.f64", 0), patterns[i]);
    struct tb_gguf *g;
    struct tb_error err;
    float f = 1;
    assert_int_equal(open_bytes(&g, m.data, m.n, NULL), TB_OK);
    assert_int_equal(tb_gguf_get_f32(g, "t.f64", true, &f, &err), TB_E_FORMAT);
    assert_string_equal(err.text, "key 't.f64': not a finite 32-bit number");
    assert_true(f == 1);
    tb_gguf_free(g);
    make_free(&m);
  }
}

static void test_largest_integer(void **state) {
  (void)state;
  struct gguf_make m = make_sample();
  make_set(&m, make_find(&m, MAKE_VALUE, "t.u64", 0), UINT64_MAX);
  struct tb_gguf *g;
  struct tb_error err;
  uint32_t u = 1;
  assert_int_equal(open_bytes(&g, m.data, m.n, NULL), TB_OK);
  assert_int_equal(tb_gguf_get_u32(g, "t.u64", true, &u, &err), TB_E_FORMAT);
  assert_string_equal(err.text, "key 't.u64': 18446744073709551615 is out of range");
  assert_int_equal(u, 1);
  assert_true(tb_gguf_array_float(tb_gguf_kv_find(g, "t.u64"), 0) > 1.8e19);
  tb_gguf_free(g);
  make_free(&m);
}

static void test_type_names(void **state) {
  (void)state;
  assert_string_equal(tb_gguf_type_name(TB_GGUF_U8), "u8");
  assert_string_equal(tb_gguf_type_name(TB_GGUF_F64), "f64");
  assert_string_equal(tb_gguf_type_name((enum tb_gguf_type)99), "unknown");
}

/* ------------------------------------------------------------------------------------------------------- messages */

/* One field of the sample gets another value. */
struct defect {
  enum make_kind kind;
  const char *owner;
  unsigned index;
  uint64_t value;
  enum tb_status status;
  const char *text;
};

static const struct defect defects[] = {
    {MAKE_VERSION, "", 0, 1, TB_E_UNSUPPORTED, "offset 8: GGUF version 1, supported are 2 and 3"},
    {MAKE_VERSION, "", 0, 4, TB_E_UNSUPPORTED, "offset 8: GGUF version 4, supported are 2 and 3"},
    {MAKE_VERSION, "", 0, 0, TB_E_UNSUPPORTED, "offset 8: GGUF version 0, supported are 2 and 3"},
    {MAKE_VERSION, "", 0, 0x03000000, TB_E_UNSUPPORTED,
     "offset 8: a big-endian GGUF file: only little-endian files can be read"},
    {MAKE_N_KVS, "", 0, UINT64_MAX, TB_E_FORMAT, "offset 24: 18446744073709551615 keys cannot be in the"},
    {MAKE_N_KVS, "", 0, 1000, TB_E_FORMAT, "offset 24: 1000 keys cannot be in the"},
    {MAKE_N_TENSORS, "", 0, 1ull << 63, TB_E_FORMAT, "offset 24: 9223372036854775808 tensors cannot be in the"},
    {MAKE_N_TENSORS, "", 0, 4, TB_E_FORMAT, "a tensor name is empty"},
    {MAKE_KEY_LEN, "t.u8", 0, 0, TB_E_FORMAT, "a key is empty"},
    {MAKE_KEY_LEN, "t.u8", 0, 65536, TB_E_FORMAT, "a key has 65536 bytes, at most 65535 are allowed"},
    {MAKE_KEY_LEN, "t.u8", 0, 60000, TB_E_FORMAT, "a key takes 60000 bytes, but only"},
    {MAKE_TYPE, "t.u8", 0, 13, TB_E_FORMAT, "key 't.u8': unknown value type 13"},
    {MAKE_TYPE, "t.u8", 0, 0xffffffff, TB_E_FORMAT, "key 't.u8': unknown value type 4294967295"},
    {MAKE_ELEM, "a.i32", 0, 9, TB_E_UNSUPPORTED, "key 'a.i32': an array of arrays"},
    {MAKE_ELEM, "a.i32", 0, 77, TB_E_FORMAT, "key 'a.i32': unknown value type 77"},
    {MAKE_COUNT, "a.i32", 0, 1ull << 62, TB_E_FORMAT, "key 'a.i32': 4611686018427387904 values of 4 bytes, but only"},
    {MAKE_COUNT, "a.str", 0, 1ull << 61, TB_E_FORMAT, "key 'a.str': an array of 2305843009213693952 strings, but only"},
    {MAKE_COUNT, "a.empty", 0, UINT64_MAX, TB_E_FORMAT, "key 'a.empty': 18446744073709551615 values of 1 bytes, but"},
    {MAKE_STR_LEN, "a.str", 2, UINT64_MAX, TB_E_FORMAT, "key 'a.str': a string takes 18446744073709551615 bytes, but"},
    {MAKE_STR_LEN, "general.architecture", 0, 1ull << 32, TB_E_FORMAT, "a string takes 4294967296 bytes, but only"},
    {MAKE_VALUE, "t.bool", 0, 2, TB_E_FORMAT, "key 't.bool': a boolean has the value 2"},
    {MAKE_VALUE, "a.bool", 0, 0x0300, TB_E_FORMAT, "key 'a.bool': a boolean has the value 3"},
    {MAKE_KEY, "t.u8", 0, 0x38692e74, TB_E_FORMAT, "key 't.i8' occurs twice"},
    {MAKE_NAME_LEN, "one", 0, 0, TB_E_FORMAT, "a tensor name is empty"},
    {MAKE_NAME_LEN, "one", 0, 65, TB_E_FORMAT, "a tensor name has 65 bytes, at most 64 are allowed"},
    {MAKE_N_DIMS, "one", 0, 0, TB_E_FORMAT, "tensor 'one': 0 dimensions, 1 to 4 are supported"},
    {MAKE_N_DIMS, "one", 0, 5, TB_E_FORMAT, "tensor 'one': 5 dimensions, 1 to 4 are supported"},
    {MAKE_NE, "three", 1, 0, TB_E_FORMAT, "tensor 'three': dimension 1 is 0"},
    {MAKE_NE, "three", 0, 1ull << 63, TB_E_FORMAT, "tensor 'three': dimension 0 is 9223372036854775808"},
    {MAKE_NE, "three", 1, INT64_MAX, TB_E_FORMAT, "tensor 'three': its size overflows"},
    {MAKE_NE, "two.weight", 0, 33, TB_E_FORMAT, "tensor 'two.weight': rows of 33 values are not whole blocks of 32 (q4_0)"},
    {MAKE_FORMAT, "one", 0, 16, TB_E_UNSUPPORTED, "tensor 'one': type 16 (iq2_xxs) is not supported"},
    {MAKE_FORMAT, "one", 0, 34, TB_E_UNSUPPORTED, "tensor 'one': type 34 (tq1_0) is not supported"},
    {MAKE_FORMAT, "one", 0, 39, TB_E_UNSUPPORTED, "tensor 'one': type 39 (mxfp4) is not supported"},
    {MAKE_FORMAT, "one", 0, 4711, TB_E_UNSUPPORTED, "tensor 'one': unknown type 4711"},
    {MAKE_OFFSET, "two.weight", 0, 130, TB_E_FORMAT, "tensor 'two.weight': offset 130 is not a multiple of the alignment 32"},
    {MAKE_OFFSET, "three", 0, 224, TB_E_FORMAT,
     "tensor 'three': bytes 224 to 351 of the tensor data, but the file has only 320 (truncated?)"},
    {MAKE_OFFSET, "three", 0, 0xffffffffffffffe0, TB_E_FORMAT, "but the file has only 320"},
    {MAKE_OFFSET, "two.weight", 0, 96, TB_E_FORMAT, "tensors 'one' and 'two.weight' overlap"},
    {MAKE_OFFSET, "three", 0, 0, TB_E_FORMAT, "overlap"},
};

static void expect_failure(const void *data, size_t n, enum tb_status status, const char *text) {
  struct tb_gguf *g = (void *)1;
  struct tb_error err = {0};
  enum tb_status s = open_bytes(&g, data, n, &err);
  if (s != status || !strstr(err.text, text)) fail_msg("expected %d '%s', got %d '%s'", status, text, s, err.text);
  assert_null(g);
  assert_null(strchr(err.text, '\n'));
}

static void test_messages(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof defects / sizeof defects[0]; i++) {
    const struct defect *d = &defects[i];
    struct gguf_make m = make_sample();
    make_set(&m, make_find(&m, d->kind, d->owner, d->index), d->value);
    expect_failure(m.data, m.n, d->status, d->text);
    make_free(&m);
  }
}

static void test_not_gguf(void **state) {
  (void)state;
  static const struct {
    const char *bytes, *text;
  } cases[] = {
      {"", "not a GGUF file: it is empty"},
      {"GGU", "not a GGUF file: it does not begin with the bytes GGUF"},
      {"hello, world", "not a GGUF file: it does not begin with the bytes GGUF"},
      {"<!DOCTYPE html>", "it looks like a web page"},
      {"version https://git-lfs.github.com/spec/v1", "it looks like a Git LFS pointer"},
      {"PK\3\4", "it looks like a zip or PyTorch file"},
      {"lmgg....", "it looks like an old GGML file"},
      {"tjgg....", "it looks like an old GGJT file"},
      {"FUGG....", "it looks like a byte-swapped file"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    expect_failure(cases[i].bytes, strlen(cases[i].bytes), TB_E_FORMAT, cases[i].text);
}

static void test_alignment(void **state) {
  (void)state;
  static const struct {
    uint32_t alignment;
    enum tb_status status;
  } cases[] = {{0, TB_E_FORMAT}, {1, TB_E_FORMAT}, {4, TB_E_FORMAT},  {8, TB_OK},
               {48, TB_E_FORMAT}, {64, TB_OK},     {4096, TB_OK},     {0x80000000, TB_E_FORMAT}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct gguf_make m;
    make_begin(&m, 3, 2, 1);
    make_kv_u32(&m, "general.alignment", cases[i].alignment);
    size_t a = cases[i].alignment, step = a > 8 && a <= 4096 ? a : 8;
    make_tensor(&m, "a", 1, (const uint64_t[]){2}, 0, 0);
    make_tensor(&m, "b", 1, (const uint64_t[]){2}, 0, step);
    make_data(&m, step, step + 8);
    struct tb_gguf *g;
    enum tb_status s = open_bytes(&g, m.data, m.n, NULL);
    assert_int_equal(s, cases[i].status);
    if (!s) {
      assert_ptr_equal(tb_gguf_tensor_at(g, 1)->data, m.data + m.n - 8);
      tb_gguf_free(g);
    }
    make_free(&m);
  }
  struct gguf_make m;
  make_begin(&m, 3, 0, 1);
  make_kv_str(&m, "general.alignment", "32");
  expect_failure(m.data, m.n, TB_E_FORMAT, "key 'general.alignment': expected an integer, found string");
  make_free(&m);
}

/* The order of the tensors in the table need not be that of their data. */
static void test_any_order(void **state) {
  (void)state;
  enum { N = 100 };
  for (int broken = 0; broken < 2; broken++) {
    struct gguf_make m;
    char name[16];
    make_begin(&m, 3, N, 0);
    for (unsigned i = 0; i < N; i++) {
      snprintf(name, sizeof name, "t%u", i);
      unsigned place = i * 37 % N; /* 37 and 100 have no common factor: a permutation */
      if (broken && i == 50) place = (i + 1) * 37 % N;
      make_tensor(&m, name, 1, (const uint64_t[]){8}, 0, 32 * place);
    }
    make_data(&m, 32, 32 * N);
    struct tb_gguf *g;
    if (broken) {
      expect_failure(m.data, m.n, TB_E_FORMAT, "overlap");
    } else {
      assert_int_equal(open_bytes(&g, m.data, m.n, NULL), TB_OK);
      tb_gguf_free(g);
    }
    make_free(&m);
  }
}

static void test_split_in_memory(void **state) {
  (void)state;
  struct gguf_make m;
  make_begin(&m, 3, 0, 2);
  make_kv_u16(&m, "split.no", 0);
  make_kv_u16(&m, "split.count", 2);
  expect_failure(m.data, m.n, TB_E_UNSUPPORTED, "a part of a split model, which can only be opened as files");
  make_set(&m, make_find(&m, MAKE_VALUE, "split.count", 0), 1); /* "one of one" is not split */
  struct tb_gguf *g;
  assert_int_equal(open_bytes(&g, m.data, m.n, NULL), TB_OK);
  tb_gguf_free(g);
  make_free(&m);
}

/* Names in messages are cut and made printable. */
static void test_hostile_names(void **state) {
  (void)state;
  struct gguf_make m;
  char name[4000];
  memset(name, 'k', sizeof name);
  memcpy(name, "a\nb\x1b[31m", 8);
  name[sizeof name - 1] = '\0';
  make_begin(&m, 3, 0, 1);
  make_kv(&m, name, 55, "", 0);
  make_bytes(&m, "0123456789", 10);
  expect_failure(m.data, m.n, TB_E_FORMAT, "key 'a?b?[31mkkkk");
  make_free(&m);
}

/* ------------------------------------------------------------------------------------------- truncation and damage */

/* The first n bytes, placed so that the byte behind them cannot be read. */
static enum tb_status open_guarded(const unsigned char *data, size_t n, struct tb_error *err) {
  unsigned char *p = tb_guard_new(n, 1);
  memcpy(p, data, n);
  struct tb_gguf *g;
  enum tb_status s = open_bytes(&g, p, n, err);
  if (!s) gguf_walk(g);
  if (!s) tb_gguf_free(g);
  tb_guard_free(p);
  return s;
}

static void test_every_truncation(void **state) {
  (void)state;
  struct gguf_make m = make_sample();
  for (size_t n = 0; n < m.n; n++) {
    struct tb_error err = {0};
    enum tb_status s = open_guarded(m.data, n, &err);
    if (s != TB_E_FORMAT || err.text[0] == '\0') fail_msg("%zu of %zu bytes: status %d '%s'", n, m.n, s, err.text);
  }
  assert_int_equal(open_guarded(m.data, m.n, NULL), TB_OK);
  make_free(&m);
}

/* Every value of every byte of the header: a typed answer, and whatever is accepted can be walked. */
static void test_every_damaged_byte(void **state) {
  (void)state;
  struct gguf_make m = make_sample();
  size_t accepted = 0, refused = 0;
  unsigned char *p = tb_guard_new(m.n, 1);
  memcpy(p, m.data, m.n);
  for (size_t i = 0; i < m.header_end; i++) {
    for (unsigned v = 0; v < 256; v += tb_check_short() ? 51 : 1) {
      if (v == m.data[i]) continue;
      p[i] = (unsigned char)v;
      struct tb_gguf *g;
      struct tb_error err = {0};
      enum tb_status s = open_bytes(&g, p, m.n, &err);
      if (s) {
        refused++;
        if (s != TB_E_FORMAT && s != TB_E_UNSUPPORTED) fail_msg("byte %zu = %u: status %d '%s'", i, v, s, err.text);
        assert_true(err.text[0] != '\0');
      } else {
        accepted++;
        gguf_walk(g);
        tb_gguf_free(g);
      }
    }
    p[i] = m.data[i];
  }
  print_message("%zu damaged headers refused, %zu accepted\n", refused, accepted);
  assert_true(refused > accepted);
  tb_guard_free(p);
  make_free(&m);
}

/* -------------------------------------------------------------------------------------------------- memory and time */

/* Opens with the counting allocator and holds the peak against 4 bytes per byte of header and 1 MiB. */
static enum tb_status open_counted(const struct gguf_make *m, size_t header, struct tb_error *err) {
  struct count_alloc c;
  count_alloc_init(&c);
  struct tb_gguf *g;
  enum tb_status s = tb_gguf_open_memory(&g, m->data, m->n, &c.hooks, err);
  if (!s) tb_gguf_free(g);
  assert_int_equal(c.blocks, 0);
  if (c.peak > 4 * header + (1 << 20)) fail_msg("%zu bytes for a header of %zu", c.peak, header);
  return s;
}

static void test_memory_of_many_keys(void **state) {
  (void)state;
  enum { N = 200000 };
  struct gguf_make m;
  make_begin(&m, 3, 0, N);
  for (unsigned i = 0; i < N; i++) { /* the shortest keys there are, one byte of value */
    char key[4] = {(char)(1 + i % 63), (char)(1 + i / 63 % 63), (char)(1 + i / 3969), 0};
    unsigned char value = 1;
    make_kv(&m, key, TB_GGUF_U8, &value, 1);
  }
  struct tb_error err = {0};
  if (open_counted(&m, m.n, &err)) fail_msg("%s", err.text);
  make_free(&m);
}

static void test_memory_of_many_tensors(void **state) {
  (void)state;
  enum { N = 50000 };
  for (int order = 0; order < 2; order++) {
    struct gguf_make m;
    make_begin(&m, 3, N, 0);
    for (unsigned i = 0; i < N; i++) {
      char name[4] = {(char)(1 + i % 63), (char)(1 + i / 63 % 63), (char)(1 + i / 3969), 0};
      make_tensor(&m, name, 1, (const uint64_t[]){1}, 0, 32 * (uint64_t)(order ? N - 1 - i : i));
    }
    make_data(&m, 32, 32 * N);
    struct tb_error err = {0};
    if (open_counted(&m, m.header_end, &err)) fail_msg("%s", err.text);
    make_free(&m);
  }
}

/* Counts that the file cannot hold cost nothing, however much data follows the header. */
static void test_memory_of_false_counts(void **state) {
  (void)state;
  static const enum make_kind kinds[] = {MAKE_N_KVS, MAKE_N_TENSORS};
  for (size_t i = 0; i < 2; i++) {
    struct gguf_make m = make_sample();
    for (int k = 0; k < 64; k++) make_data(&m, 32, 65536);
    make_set(&m, make_find(&m, kinds[i], "", 0), m.n / 64);
    struct tb_error err = {0};
    assert_int_equal(open_counted(&m, 4096, &err), TB_E_FORMAT);
    make_free(&m);
  }
}

/* As hash() of gguf_index.c: when that changes, this test no longer finds names that collide, and fails. */
static uint32_t index_hash(const char *s) {
  uint64_t h = 0xcbf29ce484222325u;
  for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
  h ^= h >> 32;
  h *= 0x9e3779b97f4a7c15u;
  return (uint32_t)(h >> 32);
}

static void test_colliding_names(void **state) {
  (void)state;
  enum { N = 400, SLOTS = N + N / 2 + 1 };
  struct gguf_make m;
  make_begin(&m, 3, 0, N);
  unsigned found = 0;
  for (unsigned i = 0; found < N; i++) {
    char key[24];
    snprintf(key, sizeof key, "k%u", i);
    if ((uint64_t)index_hash(key) * SLOTS >> 32 != 7) continue;
    make_kv_u32(&m, key, i);
    found++;
  }
  expect_failure(m.data, m.n, TB_E_LIMIT, "the names of the keys were made to collide");
  make_free(&m);
}

/* Each allocation fails once, then for ever: typed error, nothing leaks. */
static void test_out_of_memory(void **state) {
  (void)state;
  struct gguf_make m = make_sample();
  make_set(&m, make_find(&m, MAKE_OFFSET, "one", 0), 192); /* out of order: the sort needs memory as well */
  make_set(&m, make_find(&m, MAKE_OFFSET, "three", 0), 0);
  for (int ever = 0; ever < 2; ever++) {
    for (size_t at = 1;; at++) {
      struct count_alloc c;
      count_alloc_init(&c);
      c.fail_at = at;
      c.fail_after = ever;
      struct tb_gguf *g;
      struct tb_error err = {0};
      enum tb_status s = tb_gguf_open_memory(&g, m.data, m.n, &c.hooks, &err);
      if (!s) tb_gguf_free(g);
      assert_int_equal(c.blocks, 0);
      if (!s) {
        assert_true(at > 6); /* object, parts, keys, index, tensors, order, index */
        break;
      }
      assert_int_equal(s, TB_E_NOMEM);
      assert_true(err.text[0] != '\0');
    }
  }
  make_free(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_contents),
      cmocka_unit_test(test_version_2),
      cmocka_unit_test(test_getters),
      cmocka_unit_test(test_float_must_be_finite),
      cmocka_unit_test(test_largest_integer),
      cmocka_unit_test(test_type_names),
      cmocka_unit_test(test_messages),
      cmocka_unit_test(test_not_gguf),
      cmocka_unit_test(test_alignment),
      cmocka_unit_test(test_any_order),
      cmocka_unit_test(test_split_in_memory),
      cmocka_unit_test(test_hostile_names),
      cmocka_unit_test(test_every_truncation),
      cmocka_unit_test(test_every_damaged_byte),
      cmocka_unit_test(test_memory_of_many_keys),
      cmocka_unit_test(test_memory_of_many_tensors),
      cmocka_unit_test(test_memory_of_false_counts),
      cmocka_unit_test(test_colliding_names),
      cmocka_unit_test(test_out_of_memory),
  };
  return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
