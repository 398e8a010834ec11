/* The tests behind "is". */
#include "io/template_run.h"
#include "io/unicode_case.h"

typedef bool (*test_fn)(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_val *arg, bool *out);

#define TEST(name)                                                                                                     \
  static bool test_##name(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_val *arg, bool *out)
#define UNUSED (void)vm, (void)arg, (void)v

TEST(defined) { return UNUSED, *out = !tb_tpl_is(v, TB_VAL_UNDEFINED), true; }
TEST(undefined) { return UNUSED, *out = tb_tpl_is(v, TB_VAL_UNDEFINED), true; }
TEST(none) { return UNUSED, *out = tb_tpl_is(v, TB_VAL_NONE), true; }
TEST(boolean) { return UNUSED, *out = tb_tpl_is(v, TB_VAL_BOOL), true; }
TEST(true) { return UNUSED, *out = tb_tpl_is(v, TB_VAL_BOOL) && v.u.b, true; }
TEST(false) { return UNUSED, *out = tb_tpl_is(v, TB_VAL_BOOL) && !v.u.b, true; }
TEST(integer) { return UNUSED, *out = tb_tpl_is(v, TB_VAL_INT), true; }
TEST(float) { return UNUSED, *out = tb_tpl_is(v, TB_VAL_FLOAT), true; }
TEST(number) { return UNUSED, *out = tb_tpl_is_number(v), true; }
TEST(string) { return UNUSED, *out = tb_tpl_is(v, TB_VAL_STR), true; }
TEST(mapping) { return UNUSED, *out = tb_tpl_is(v, TB_VAL_DICT), true; }
TEST(iterable) { return UNUSED, *out = tb_tpl_iterable(v), true; }
TEST(escaped) { return UNUSED, *out = tb_tpl_is(v, TB_VAL_STR) && v.flags & TB_VAL_MARKUP, true; }

/* Has a length and items by index or key. */
TEST(sequence) { return UNUSED, *out = tb_tpl_has_length(v) && !tb_tpl_is(v, TB_VAL_VIEW), true; }

TEST(callable) {
  UNUSED;
  switch ((enum tb_tpl_kind)v.kind) {
  case TB_VAL_UNDEFINED:
  case TB_VAL_MACRO:
  case TB_VAL_FUNCTION:
  case TB_VAL_METHOD:
  case TB_VAL_LOOP:
  case TB_VAL_JOINER: *out = true; break;
  default: *out = false;
  }
  return true;
}

/* Identity. Equal small values are one object in Python; of text that cannot be known. */
TEST(sameas) {
  if (v.kind != arg->kind) return *out = false, true;
  if (tb_tpl_is(v, TB_VAL_STR) && v.u.p != arg->u.p)
    return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "test 'sameas' on text is not supported");
  if (v.kind <= TB_VAL_FLOAT && v.kind != TB_VAL_UNDEFINED) return tb_tpl_equal(vm, v, *arg, out);
  return *out = v.u.p == arg->u.p, true;
}

static bool remainder_is(struct tb_tpl_vm *vm, struct tb_val v, struct tb_val by, int64_t want, bool *out) {
  struct tb_val rest;
  if (tb_tpl_is(v, TB_VAL_STR))
    return tb_tpl_fail(vm, TB_E_FORMAT, "not all arguments converted during string formatting");
  return tb_tpl_binary(vm, TB_BIN_MOD, v, by, &rest) && tb_tpl_equal(vm, rest, tb_tpl_int(want), out);
}

TEST(odd) { return (void)arg, remainder_is(vm, v, tb_tpl_int(2), 1, out); }
TEST(even) { return (void)arg, remainder_is(vm, v, tb_tpl_int(2), 0, out); }
TEST(divisibleby) { return remainder_is(vm, v, *arg, 0, out); }

static bool cased(struct tb_tpl_vm *vm, struct tb_val v, unsigned want, unsigned other, bool *out) {
  struct tb_tpl_str s;
  bool any = false;
  if (!tb_tpl_str(vm, v, &s) || !tb_tpl_pay(vm, s.n)) return false;
  for (size_t i = 0, used; i < s.n; i += used) {
    unsigned c = tb_ch_class(tb_ch_decode(s.s + i, s.n - i, &used));
    if (c & (other | TB_CH_TITLE)) return *out = false, true;
    any |= (c & want) != 0;
  }
  return *out = any, true;
}

TEST(lower) { return (void)arg, cased(vm, v, TB_CH_LOWER, TB_CH_UPPER, out); }
TEST(upper) { return (void)arg, cased(vm, v, TB_CH_UPPER, TB_CH_LOWER, out); }

TEST(filter) {
  uint32_t id;
  bool known;
  UNUSED;
  return *out = tb_tpl_is(v, TB_VAL_STR) && tb_tpl_filter_id(tb_tpl_str_of(v), &id, &known), true;
}

TEST(test) {
  uint32_t id;
  bool known;
  UNUSED;
  return *out = tb_tpl_is(v, TB_VAL_STR) && tb_tpl_test_id(tb_tpl_str_of(v), &id, &known), true;
}

TEST(eq) { return tb_tpl_compare(vm, TB_CMP_EQ, v, *arg, out); }
TEST(ne) { return tb_tpl_compare(vm, TB_CMP_NE, v, *arg, out); }
TEST(lt) { return tb_tpl_compare(vm, TB_CMP_LT, v, *arg, out); }
TEST(le) { return tb_tpl_compare(vm, TB_CMP_LE, v, *arg, out); }
TEST(gt) { return tb_tpl_compare(vm, TB_CMP_GT, v, *arg, out); }
TEST(ge) { return tb_tpl_compare(vm, TB_CMP_GE, v, *arg, out); }
TEST(in) { return tb_tpl_contains(vm, *arg, v, out); }

static const struct {
  const char *name;
  test_fn run;
  const char *param; /* of the one argument, or NULL */
} tests[] = {
    {"odd", test_odd, NULL},           {"even", test_even, NULL},         {"divisibleby", test_divisibleby, "num"},
    {"defined", test_defined, NULL},   {"undefined", test_undefined, NULL}, {"filter", test_filter, NULL},
    {"test", test_test, NULL},         {"none", test_none, NULL},         {"boolean", test_boolean, NULL},
    {"false", test_false, NULL},       {"true", test_true, NULL},         {"integer", test_integer, NULL},
    {"float", test_float, NULL},       {"lower", test_lower, NULL},       {"upper", test_upper, NULL},
    {"string", test_string, NULL},     {"mapping", test_mapping, NULL},   {"number", test_number, NULL},
    {"sequence", test_sequence, NULL}, {"iterable", test_iterable, NULL}, {"callable", test_callable, NULL},
    {"sameas", test_sameas, "other"},  {"escaped", test_escaped, NULL},   {"in", test_in, "seq"},
    {"==", test_eq, "other"},          {"eq", test_eq, "other"},          {"equalto", test_eq, "other"},
    {"!=", test_ne, "other"},          {"ne", test_ne, "other"},          {">", test_gt, "other"},
    {"gt", test_gt, "other"},          {"greaterthan", test_gt, "other"}, {"ge", test_ge, "other"},
    {">=", test_ge, "other"},          {"<", test_lt, "other"},           {"lt", test_lt, "other"},
    {"lessthan", test_lt, "other"},    {"<=", test_le, "other"},          {"le", test_le, "other"},
};

bool tb_tpl_test_id(struct tb_tpl_str name, uint32_t *id, bool *known) {
  for (*id = 0; *id < sizeof tests / sizeof tests[0]; ++*id)
    if (tb_tpl_str_is(name, tests[*id].name)) return *known = true;
  return *known = false;
}

bool tb_tpl_test(struct tb_tpl_vm *vm, uint32_t id, struct tb_val v, const struct tb_tpl_args *args, bool *out) {
  struct tb_val arg = tb_tpl_missing();
  const char *param = tests[id].param ? tests[id].param : "";
  return tb_tpl_bind(vm, tests[id].name, args, param, tests[id].param != NULL, &arg) && tests[id].run(vm, v, &arg, out);
}
