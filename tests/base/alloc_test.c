/* Allocation through hooks: overflow, failure, alignment, growth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"

/* Hooks that count, fail on demand, and fill blocks so that missing zeroing shows. */
struct counter {
  size_t calls, live;
  bool fail;
};

static void *counted_alloc(void *user, size_t bytes) {
  struct counter *c = user;
  c->calls++;
  void *p = c->fail ? NULL : tb_system_allocator.alloc(NULL, bytes);
  if (!p) return NULL;
  c->live++;
  memset(p, 0xa5, bytes);
  return p;
}

static void counted_free(void *user, void *p) {
  ((struct counter *)user)->live--;
  tb_system_allocator.free(NULL, p);
}

/* A large block comes from memory that was in use a moment ago as a rule. */
static void large_blocks_are_zero(void **state) {
  (void)state;
  for (size_t bytes = (1 << 20) - 1; bytes < (4 << 20); bytes += (1 << 19) + 13) {
    char *p = tb_alloc(&tb_system_allocator, bytes, 1);
    assert_non_null(p);
    memset(p, 0xa5, bytes);
    tb_free(&tb_system_allocator, p);
    p = tb_calloc(&tb_system_allocator, bytes, 1);
    assert_non_null(p);
    for (size_t i = 0; i < bytes; i++) assert_int_equal(p[i], 0);
    tb_free(&tb_system_allocator, p);
  }
}

static void overflow_is_refused_before_the_hook(void **state) {
  (void)state;
  struct counter c = {0};
  const struct tb_allocator a = {counted_alloc, counted_free, &c};
  assert_null(tb_alloc(&a, SIZE_MAX, 2));
  assert_null(tb_alloc(&a, SIZE_MAX / 2 + 1, 2));
  assert_null(tb_alloc(&a, (size_t)PTRDIFF_MAX + 1, 1));
  assert_null(tb_calloc(&a, SIZE_MAX / 8 + 1, 8));
  assert_null(tb_strndup(&a, "x", SIZE_MAX));
  void *p = NULL;
  size_t cap = 0;
  assert_false(tb_grow(&a, &p, &cap, SIZE_MAX / 4, 8));
  assert_null(p);
  assert_int_equal(cap, 0);
  assert_int_equal(c.calls, 0);
}

static void blocks_are_aligned_and_zeroed(void **state) {
  (void)state;
  struct counter c = {0};
  const struct tb_allocator a = {counted_alloc, counted_free, &c};
  for (size_t n = 0; n < 200; n += 7) {
    unsigned char *p = tb_calloc(&a, n, 1), *q = tb_alloc(&a, n, 3);
    assert_non_null(p);
    assert_non_null(q);
    assert_int_equal((uintptr_t)p % TB_ALIGN, 0);
    assert_int_equal((uintptr_t)q % TB_ALIGN, 0);
    for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
    tb_free(&a, p);
    tb_free(&a, q);
  }
  tb_free(&a, NULL);
  assert_int_equal(c.live, 0);
}

static void growth_keeps_content_and_survives_failure(void **state) {
  (void)state;
  struct counter c = {0};
  const struct tb_allocator a = {counted_alloc, counted_free, &c};
  void *p = NULL;
  size_t cap = 0;
  for (uint32_t n = 0; n < 5000; n++) {
    assert_true(tb_grow(&a, &p, &cap, n + 1, sizeof n));
    assert_true(cap > n);
    ((uint32_t *)p)[n] = n;
  }
  for (uint32_t n = 0; n < 5000; n++) assert_int_equal(((uint32_t *)p)[n], n);
  assert_true(c.calls < 40); /* geometric: 16 · 1.5^k reaches 5000 at k = 15 */
  assert_int_equal(c.live, 1);

  size_t before = cap;
  void *block = p;
  c.fail = true;
  assert_false(tb_grow(&a, &p, &cap, cap + 1, sizeof(uint32_t)));
  assert_ptr_equal(p, block);
  assert_int_equal(cap, before);
  assert_int_equal(((uint32_t *)p)[4999], 4999);
  assert_true(tb_grow(&a, &p, &cap, cap, sizeof(uint32_t))); /* nothing to do: no allocation */
  tb_free(&a, p);
  assert_int_equal(c.live, 0);
}

static void copies_of_text(void **state) {
  (void)state;
  const char bytes[] = {'a', 0, 'b', 'c'};
  char *s = tb_strndup(&tb_system_allocator, bytes, 3);
  assert_memory_equal(s, "a\0b\0", 4);
  tb_free(&tb_system_allocator, s);
  s = tb_strndup(&tb_system_allocator, "", 0);
  assert_string_equal(s, "");
  tb_free(&tb_system_allocator, s);
}

static void checked_arithmetic(void **state) {
  (void)state;
  size_t r = 0;
  assert_true(tb_add(SIZE_MAX - 1, 1, &r));
  assert_true(r == SIZE_MAX);
  assert_false(tb_add(SIZE_MAX, 1, &r));
  assert_true(tb_mul(SIZE_MAX / 3, 3, &r));
  assert_false(tb_mul(SIZE_MAX / 3 + 1, 3, &r));
  assert_true(tb_mul(0, SIZE_MAX, &r) && r == 0);
  assert_int_equal(tb_round_up(0, 64), 0);
  assert_int_equal(tb_round_up(1, 64), 64);
  assert_int_equal(tb_round_up(64, 64), 64);
  assert_int_equal(tb_round_up(65, 32), 96);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(large_blocks_are_zero),
      cmocka_unit_test(overflow_is_refused_before_the_hook),
      cmocka_unit_test(blocks_are_aligned_and_zeroed),
      cmocka_unit_test(growth_keeps_content_and_survives_failure),
      cmocka_unit_test(copies_of_text),
      cmocka_unit_test(checked_arithmetic),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
