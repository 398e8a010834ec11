/* Every construct of the template language (tests/tools/template_cases.txt) with failing allocations, ever smaller limits,
 * and cut off after each byte: a typed error or an output, nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "io/template.h"
#include "tests/check/check.h"
#include "tests/support/count_alloc.h"

enum { MAX_CASES = 800 };

static char *cases[MAX_CASES];
static size_t n_cases;

/* The list's form: one template per line, or one per block that begins with ">>>"; blocks end with "----". */
static int set_up(void **state) {
  static char line[1 << 14], block[1 << 16];
  bool in_block = false;
  (void)state;
  FILE *f = fopen(TB_SOURCE_DIR "/tests/tools/template_cases.txt", "rb");
  assert_non_null(f);
  block[0] = '\0';
  while (fgets(line, sizeof line, f)) {
    const bool end = strcmp(line, "----\n") == 0;
    if (strncmp(line, "//", 2) == 0) continue;
    if (!in_block && strcmp(line, ">>>\n") == 0) {
      in_block = true;
    } else if (in_block && !end) {
      snprintf(block + strlen(block), sizeof block - strlen(block), "%s", line);
    } else if (in_block || (!end && line[0] != '\n')) {
      assert_true(n_cases < MAX_CASES);
      cases[n_cases] = strdup(in_block ? block : line);
      assert_non_null(cases[n_cases++]);
      block[0] = '\0';
      in_block = false;
    }
  }
  fclose(f);
  assert_true(n_cases > 200);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  for (size_t i = 0; i < n_cases; i++) free(cases[i]);
  return 0;
}

/* ------------------------------------------------------------------------------------------------------------- values */

static void put(struct tb_vals *pool, struct tb_val dict, const char *key, struct tb_val v) {
  tb_val_put(pool, dict, key, strlen(key), v);
}
static struct tb_val text(struct tb_vals *pool, const char *s) { return tb_val_text(pool, s, strlen(s)); }

static struct tb_val list(struct tb_vals *pool, size_t n, const struct tb_val *items) {
  struct tb_val l = tb_val_list(pool);
  for (size_t i = 0; i < n; i++) tb_val_push(pool, l, items[i]);
  return l;
}

static struct tb_val user(struct tb_vals *pool, const char *name, int age, bool on) {
  struct tb_val v = tb_val_dict(pool);
  put(pool, v, "name", text(pool, name));
  put(pool, v, "age", tb_val_int(age));
  put(pool, v, "on", tb_val_bool(on));
  return v;
}

/* What the cases use (template_cases.py: language). */
static struct tb_val make_context(struct tb_vals *p) {
  struct tb_val c = tb_val_dict(p), d = tb_val_dict(p), z = tb_val_dict(p), y = tb_val_dict(p), nested = tb_val_dict(p);
  static const struct {
    const char *key, *value;
  } texts[] = {{"s", "Hello World"}, {"t", "a,b,,c"}, {"html", "<a href='x'>&\""}, {"ws", " \t\n x y "}, {"lines", "a\nb\r\nc\n\nd"},
               {"uni", "\xc3\xa9\xc3\x9f\xc4\xb0\xc7\x86 \xce\xa3\xce\xa3 \xef\xac\x81x"}, {"key", "a"}, {"q", "it's"}};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) put(p, c, texts[i].key, text(p, texts[i].value));
  put(p, c, "ctl", tb_val_text(p, "\0\x1f\x7f\xe2\x80\x8b", 6));
  put(p, c, "n", tb_val_int(7));
  put(p, c, "neg", tb_val_int(-3));
  put(p, c, "f", tb_val_float(2.5));
  put(p, c, "yes", tb_val_bool(true));
  put(p, c, "no", tb_val_bool(false));
  put(p, c, "nil", tb_val_none());
  put(p, c, "l", list(p, 3, (struct tb_val[]){tb_val_int(3), tb_val_int(1), tb_val_int(2)}));
  put(p, c, "items", list(p, 1, (struct tb_val[]){tb_val_int(1)}));
  put(p, c, "words", list(p, 3, (struct tb_val[]){text(p, "banana"), text(p, "Apple"), text(p, "cherry")}));
  put(p, c, "e", tb_val_list(p));
  put(p, d, "b", tb_val_int(1));
  put(p, d, "a", tb_val_int(2));
  put(p, d, "C", tb_val_int(3));
  put(p, c, "d", d);
  put(p, z, "z", text(p, "deep"));
  put(p, y, "y", list(p, 2, (struct tb_val[]){tb_val_int(1), z}));
  put(p, nested, "x", y);
  put(p, c, "nested", nested);
  put(p, c, "users", list(p, 3, (struct tb_val[]){user(p, "Bob", 30, true), user(p, "ann", 25, false), user(p, "Cyd", 30, true)}));
  return c;
}

/* -------------------------------------------------------------------------------------------------------------- a run */

static void check_error(enum tb_status s, const struct tb_error *err, const char *source) {
  if (s < TB_E_ARG || s > TB_E_LIMIT || s == TB_E_IO) fail_msg("status %d for %s", s, source);
  if (err->status != s || !err->text[0] || strchr(err->text, '\n')) fail_msg("text '%s' for %s", err->text, source);
}

static enum tb_status run(struct count_alloc *c, const char *source, size_t n, struct tb_template_limits limits) {
  struct tb_template *t = NULL;
  struct tb_vals *pool = NULL;
  struct tb_template_output o = {0};
  struct tb_error err = {0};
  enum tb_status s = tb_template_compile(&t, source, n, &c->hooks, &err);
  if (!s) s = tb_vals_create(&pool, &c->hooks, &err);
  if (!s) {
    struct tb_template_input in = {.pool = pool, .now = {2026, 8, 9, 7, 5, 3, 0}, .limits = limits};
    in.context = make_context(pool);
    s = tb_template_render(t, &in, &o, &err);
  }
  if (s) check_error(s, &err, source);
  tb_template_output_free(&o, &c->hooks);
  tb_vals_free(pool);
  tb_template_free(t);
  if (c->blocks) fail_msg("%zu blocks leak: %s", c->blocks, source);
  return s;
}

static void failing_allocations(void **state) {
  (void)state;
  const struct tb_template_limits none = {0};
  size_t runs = 0;
  for (size_t i = 0; i < n_cases; i += tb_check_short() ? 17 : 1)
    for (int for_ever = 0; for_ever < 2; for_ever++) {
      struct count_alloc c;
      count_alloc_init(&c);
      const enum tb_status base = run(&c, cases[i], strlen(cases[i]), none);
      const size_t total = c.calls;
      for (size_t at = 1; at <= total; at++, runs++) {
        count_alloc_init(&c);
        c.fail_at = at;
        c.fail_after = for_ever;
        enum tb_status s = run(&c, cases[i], strlen(cases[i]), none);
        if (s != TB_E_NOMEM && s != base) fail_msg("allocation %zu of %zu: status %d: %s", at, total, s, cases[i]);
      }
    }
  print_message("%zu templates, %zu allocations failed\n", n_cases, runs);
}

static void small_limits(void **state) {
  (void)state;
  size_t over = 0, points = 0;
  for (size_t i = 0; i < n_cases; i += tb_check_short() ? 17 : 1)
    for (unsigned bits = 0; bits < 12; bits++) {
      const struct tb_template_limits limits[] = {
          {.steps = 1u << bits}, {.steps = 3u << bits}, {.output = 1u << bits}, {.memory = (size_t)1 << (bits + 6)}};
      for (int k = 0; k < 4; k++) {
        struct count_alloc c;
        count_alloc_init(&c);
        over += run(&c, cases[i], strlen(cases[i]), limits[k]) == TB_E_LIMIT;
      }
    }
  /* Memory runs out at every point of a rendering. */
  for (size_t i = 0; i < n_cases; i += tb_check_short() ? 17 : 1)
    for (size_t memory = 512; memory < 64 << 10; memory += 16) {
      struct count_alloc c;
      count_alloc_init(&c);
      const struct tb_template_limits limits = {.memory = memory};
      if (run(&c, cases[i], strlen(cases[i]), limits) != TB_E_LIMIT) break;
      over++, points++;
    }
  assert_true(over > n_cases / 20);
  print_message("%zu times over a limit, %zu of them at another point of a rendering\n", over, points);
  assert_true(points > 5 * (over - points) / 100);
}

static void cut_off(void **state) {
  (void)state;
  const struct tb_template_limits none = {0};
  size_t refused = 0, cuts = 0;
  for (size_t i = 0; i < n_cases; i += tb_check_short() ? 17 : 1)
    for (size_t n = 0, whole = strlen(cases[i]); n < whole; n++, cuts++) {
      struct count_alloc c;
      count_alloc_init(&c);
      refused += run(&c, cases[i], n, none) != TB_OK;
    }
  print_message("%zu cuts, %zu refused\n", cuts, refused);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(failing_allocations), cmocka_unit_test(small_limits), cmocka_unit_test(cut_off)};
  return cmocka_run_group_tests_name("template torture", tests, set_up, tear_down);
}
