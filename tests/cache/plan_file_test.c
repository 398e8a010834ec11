/* Plan files: what is accepted, what is refused and how, and that a written plan reads back as itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "cache/plan/plan_file.h"

enum { LAYERS = 6 };

static const struct tb_plan_layer defaults = {.window = 128, .sinks = 5};

static enum tb_status parse(const char *text, struct tb_plan_layer plan[LAYERS], struct tb_error *err) {
  return tb_plan_parse(text, strlen(text), LAYERS, &defaults, plan, err);
}

static void accepts(void **state) {
  (void)state;
  struct tb_plan_layer plan[LAYERS];
  struct tb_error err;
  const char *text = "# a comment\n\nthimble-plan 1 # the header\r\n0-1\tq8_0  f16\n 2-4 q4_0 q8_0 window=32 sinks=0 # "
                     "more\n5 f32 f32 sinks=7";
  if (parse(text, plan, &err) != TB_OK) fail_msg("%s", err.text);
  assert_string_equal(plan[1].type_k, "q8_0");
  assert_string_equal(plan[1].type_v, "f16");
  assert_int_equal(plan[1].window, 128);
  assert_string_equal(plan[3].type_k, "q4_0");
  assert_int_equal(plan[3].window, 32);
  assert_int_equal(plan[3].sinks, 0);
  assert_int_equal(plan[5].sinks, 7);
}

static void refuses(void **state) {
  (void)state;
  static const struct {
    const char *text, *says;
  } cases[] = {
      {"", "empty"},
      {"0-5 f16 f16\n", "line 1: a plan begins"},
      {"thimble-plan 2\n0-5 f16 f16\n", "line 1: a plan begins"},
      {"thimble-plan 1\n0-4 f16 f16\n", "layer 5 is not planned"},
      {"thimble-plan 1\n0-6 f16 f16\n", "'0-6' is not a layer"},
      {"thimble-plan 1\n3-2 f16 f16\n", "'3-2' is not a layer"},
      {"thimble-plan 1\n-1 f16 f16\n", "'-1' is not a layer"},
      {"thimble-plan 1\n0- f16 f16\n", "'0-' is not a layer"},
      {"thimble-plan 1\n99999999999999999999 f16 f16\n", "is not a layer"},
      {"thimble-plan 1\n0-5 f16 f16\n2 f16 f16\n", "line 3: layer 2 is planned twice"},
      {"thimble-plan 1\n0-5 f17 f16\n", "layer 0: keys: 'f17'"},
      {"thimble-plan 1\n0-5 f16\n", "layer 0: values: ''"},
      {"thimble-plan 1\n4 f16 q9\n", "layer 4: values: 'q9'"},
      {"thimble-plan 1\n0-5 f16 f16 window=x\n", "layer 0: 'window=x' is not window=0.."},
      {"thimble-plan 1\n0-5 f16 f16 window=-1\n", "'window=-1' is not"},
      {"thimble-plan 1\n0-5 f16 f16 sinks=99999999\n", "'sinks=99999999' is not"},
      {"thimble-plan 1\n0-5 f16 f16 depth=3\n", "unknown option 'depth=3'"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct tb_plan_layer plan[LAYERS];
    struct tb_error err;
    if (parse(cases[i].text, plan, &err) == TB_OK) fail_msg("accepted: %s", cases[i].text);
    if (!strstr(err.text, cases[i].says)) fail_msg("'%s' does not say '%s'", err.text, cases[i].says);
  }
}

struct text {
  char data[4096];
  size_t n;
};

static bool append(void *user, const char *text, size_t length) {
  struct text *t = user;
  memcpy(t->data + t->n, text, length);
  t->n += length;
  return true;
}

static void round_trip(void **state) {
  (void)state;
  struct tb_plan_layer plan[LAYERS], again[LAYERS];
  struct tb_error err;
  struct text out = {.n = 0};
  assert_int_equal(parse("thimble-plan 1\n0-1 q8_0 f16\n2-4 q4_0 q8_0 window=32\n5 f32 f32 sinks=7\n", plan, &err),
                   TB_OK);
  assert_true(tb_plan_write(plan, LAYERS, append, &out));
  if (tb_plan_parse(out.data, out.n, LAYERS, &defaults, again, &err) != TB_OK) fail_msg("%s", err.text);
  assert_memory_equal(plan, again, sizeof plan);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(accepts), cmocka_unit_test(refuses),
                                     cmocka_unit_test(round_trip)};
  return cmocka_run_group_tests_name("plan_file", tests, NULL, NULL);
}
