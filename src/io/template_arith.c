/* Arithmetic, and what + * % mean for text and lists. Integers have 64 bits: a result that does not fit is an error. */
#include "io/template_run.h"

#include <math.h>
#include <string.h>

static const char *const op_names[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};

static bool unsupported(struct tb_tpl_vm *vm, enum tb_tpl_binary op, struct tb_val a, struct tb_val b) {
  return tb_tpl_fail(vm, TB_E_FORMAT, "unsupported operand type(s) for %s: '%s' and '%s'", op_names[op], tb_tpl_type(a),
                     tb_tpl_type(b));
}

static bool overflow(struct tb_tpl_vm *vm) { return tb_tpl_fail(vm, TB_E_LIMIT, "integer does not fit in 64 bits"); }

/* Provenance of a number computed from two. */
static unsigned both(struct tb_val a, struct tb_val b) { return a.flags & b.flags & TB_VAL_TRUSTED; }

static struct tb_val make_float(double f, unsigned flags) {
  return (struct tb_val){.kind = TB_VAL_FLOAT, .flags = (uint8_t)flags, .u.f = f};
}
static struct tb_val make_int(int64_t i, unsigned flags) {
  return (struct tb_val){.kind = TB_VAL_INT, .flags = (uint8_t)flags, .u.i = i};
}

/* ------------------------------------------------------------------------------------------------------------- numbers */

static bool power_int(struct tb_tpl_vm *vm, int64_t base, int64_t exponent, int64_t *out) {
  *out = 1;
  for (; exponent; exponent >>= 1) {
    if (exponent & 1 && __builtin_mul_overflow(*out, base, out)) return overflow(vm);
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return overflow(vm);
  }
  return true;
}

/* Division rounds towards minus infinity, the remainder has the divisor's sign. */
static bool divide_int(struct tb_tpl_vm *vm, int64_t x, int64_t y, bool remainder, int64_t *out) {
  if (y == 0) return tb_tpl_fail(vm, TB_E_FORMAT, "integer division or modulo by zero");
  if (y == -1) return remainder ? (*out = 0, true) : !__builtin_sub_overflow(0, x, out) || overflow(vm);
  int64_t q = x / y, r = x % y;
  if (r && (r < 0) != (y < 0)) q--, r += y;
  *out = remainder ? r : q;
  return true;
}

static bool ints(struct tb_tpl_vm *vm, enum tb_tpl_binary op, int64_t x, int64_t y, int64_t *out) {
  switch (op) {
  case TB_BIN_ADD: return !__builtin_add_overflow(x, y, out) || overflow(vm);
  case TB_BIN_SUB: return !__builtin_sub_overflow(x, y, out) || overflow(vm);
  case TB_BIN_MUL: return !__builtin_mul_overflow(x, y, out) || overflow(vm);
  case TB_BIN_FLOORDIV:
  case TB_BIN_MOD: return divide_int(vm, x, y, op == TB_BIN_MOD, out);
  default: return power_int(vm, x, y, out);
  }
}

static bool power_float(struct tb_tpl_vm *vm, double x, double y, double *out) {
  if (x == 0 && y < 0) return tb_tpl_fail(vm, TB_E_FORMAT, "0.0 cannot be raised to a negative power");
  if (x < 0 && isfinite(x) && isfinite(y) && y != floor(y))
    return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "complex numbers are not supported");
  *out = pow(x, y);
  if (isinf(*out) && isfinite(x) && isfinite(y)) return tb_tpl_fail(vm, TB_E_FORMAT, "float result out of range");
  return true;
}

static bool divide_float(struct tb_tpl_vm *vm, enum tb_tpl_binary op, double x, double y, double *out) {
  static const char *const messages[] = {
      [TB_BIN_DIV] = "float division by zero", [TB_BIN_FLOORDIV] = "float floor division by zero", [TB_BIN_MOD] = "float modulo"};
  if (y == 0) return tb_tpl_fail(vm, TB_E_FORMAT, "%s", messages[op]);
  if (op == TB_BIN_DIV) return *out = x / y, true;
  double mod = fmod(x, y), div = (x - mod) / y;
  if (mod != 0 && (y < 0) != (mod < 0)) mod += y, div -= 1;
  if (mod == 0) mod = copysign(0, y);
  if (div != 0) {
    double down = floor(div);
    div = div - down > 0.5 ? down + 1 : down;
  } else {
    div = copysign(0, x / y);
  }
  *out = op == TB_BIN_MOD ? mod : div;
  return true;
}

static bool floats(struct tb_tpl_vm *vm, enum tb_tpl_binary op, double x, double y, double *out) {
  switch (op) {
  case TB_BIN_ADD: *out = x + y; return true;
  case TB_BIN_SUB: *out = x - y; return true;
  case TB_BIN_MUL: *out = x * y; return true;
  case TB_BIN_POW: return power_float(vm, x, y, out);
  default: return divide_float(vm, op, x, y, out);
  }
}

static bool numbers(struct tb_tpl_vm *vm, enum tb_tpl_binary op, struct tb_val a, struct tb_val b, struct tb_val *out) {
  bool whole = tb_tpl_is_int(a) && tb_tpl_is_int(b) && op != TB_BIN_DIV;
  if (whole && op == TB_BIN_POW && tb_tpl_int_of(b) < 0) whole = false;
  if (whole) {
    *out = make_int(0, both(a, b));
    return ints(vm, op, tb_tpl_int_of(a), tb_tpl_int_of(b), &out->u.i);
  }
  *out = make_float(0, both(a, b));
  if (op == TB_BIN_DIV && tb_tpl_is_int(a) && tb_tpl_is_int(b) && tb_tpl_int_of(b) == 0)
    return tb_tpl_fail(vm, TB_E_FORMAT, "division by zero");
  return floats(vm, op, tb_tpl_float_of(a), tb_tpl_float_of(b), &out->u.f);
}

/* ------------------------------------------------------------------------------------------------------ text and lists */

static bool add_text(struct tb_tpl_vm *vm, struct tb_val a, struct tb_val b, struct tb_val *out) {
  struct tb_tpl_str x = tb_tpl_str_of(a), y = tb_tpl_str_of(b), sum;
  unsigned flags = (a.flags | b.flags) & TB_VAL_MARKUP;
  if (flags && (!tb_tpl_escaped(vm, a, &x) || !tb_tpl_escaped(vm, b, &y))) return false;
  if (!tb_tpl_pay(vm, y.n)) return false;
  if (!tb_tpl_concat(&vm->arena, x, y, &sum)) return tb_tpl_no_room(vm);
  return tb_tpl_result_str(vm, sum, flags, out);
}

static bool add_lists(struct tb_tpl_vm *vm, struct tb_val a, struct tb_val b, struct tb_val *out) {
  const struct tb_tpl_list *x = tb_tpl_list_of(a), *y = tb_tpl_list_of(b);
  struct tb_tpl_list *l = tb_tpl_list_new(&vm->arena, x->n + y->n);
  if (!l) return tb_tpl_no_room(vm);
  if (x->n) memcpy(l->at, x->at, x->n * sizeof *l->at);
  if (y->n) memcpy(l->at + x->n, y->at, y->n * sizeof *l->at);
  l->n = x->n + y->n;
  *out = tb_tpl_ref((enum tb_tpl_kind)a.kind, l);
  return tb_tpl_pay(vm, l->n * sizeof *l->at);
}

static bool add(struct tb_tpl_vm *vm, struct tb_val a, struct tb_val b, struct tb_val *out) {
  bool list = tb_tpl_is(a, TB_VAL_LIST) || tb_tpl_is(a, TB_VAL_TUPLE);
  if (tb_tpl_is(a, TB_VAL_STR) && tb_tpl_is(b, TB_VAL_STR)) return add_text(vm, a, b, out);
  if (list && a.kind == b.kind) return add_lists(vm, a, b, out);
  if (list || tb_tpl_is(a, TB_VAL_STR))
    return tb_tpl_fail(vm, TB_E_FORMAT, "can only concatenate %s (not \"%s\") to %s", tb_tpl_type(a), tb_tpl_type(b),
                       tb_tpl_type(a));
  return unsupported(vm, TB_BIN_ADD, a, b);
}

static bool repeat_text(struct tb_tpl_vm *vm, struct tb_val v, size_t n, struct tb_val *out) {
  struct tb_tpl_str s = tb_tpl_str_of(v);
  struct tb_tpl_text t;
  size_t bytes;
  tb_tpl_text_init(&t, &vm->arena);
  if (!s.n) n = 0;
  if (!tb_mul(s.n, n, &bytes) || bytes > vm->arena.limit) return tb_tpl_fail(vm, TB_E_LIMIT, "repeated text is too long");
  if (!tb_tpl_pay(vm, bytes) || !tb_tpl_pay(vm, n)) return false;
  if (!tb_tpl_text_reserve(&t, bytes)) return tb_tpl_no_room(vm);
  while (n--)
    if (!tb_tpl_text_put_str(&t, s)) return tb_tpl_no_room(vm);
  return tb_tpl_result(vm, &t, v.flags, out);
}

static bool repeat_list(struct tb_tpl_vm *vm, struct tb_val v, size_t n, struct tb_val *out) {
  const struct tb_tpl_list *l = tb_tpl_list_of(v);
  size_t items;
  if (!tb_mul(l->n, n, &items) || items > vm->arena.limit / sizeof *l->at)
    return tb_tpl_fail(vm, TB_E_LIMIT, "repeated list is too long");
  struct tb_tpl_list *r = tb_tpl_list_new(&vm->arena, items);
  if (!r) return tb_tpl_no_room(vm);
  if (!tb_tpl_pay(vm, items * sizeof *l->at)) return false;
  for (; r->n < items; r->n++) r->at[r->n] = l->at[r->n % l->n];
  *out = tb_tpl_ref((enum tb_tpl_kind)v.kind, r);
  return true;
}

static bool is_sequence(struct tb_val v) { return v.kind >= TB_VAL_STR && v.kind <= TB_VAL_TUPLE; }

static bool repeat(struct tb_tpl_vm *vm, struct tb_val a, struct tb_val b, struct tb_val *out) {
  struct tb_val v = is_sequence(a) ? a : b, times = is_sequence(a) ? b : a;
  if (!tb_tpl_is_int(times))
    return tb_tpl_fail(vm, TB_E_FORMAT, "can't multiply sequence by non-int of type '%s'", tb_tpl_type(times));
  int64_t n = tb_tpl_int_of(times);
  return tb_tpl_is(v, TB_VAL_STR) ? repeat_text(vm, v, n > 0 ? (size_t)n : 0, out)
                                  : repeat_list(vm, v, n > 0 ? (size_t)n : 0, out);
}

static bool format(struct tb_tpl_vm *vm, struct tb_val a, struct tb_val b, struct tb_val *out) {
  struct tb_tpl_text t;
  if (a.flags & TB_VAL_MARKUP) return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "'%%' on safe text is not supported");
  tb_tpl_text_init(&t, &vm->arena);
  return tb_tpl_percent(vm, tb_tpl_str_of(a), b, &t) && tb_tpl_result(vm, &t, 0, out);
}

bool tb_tpl_binary(struct tb_tpl_vm *vm, enum tb_tpl_binary op, struct tb_val a, struct tb_val b, struct tb_val *out) {
  if (tb_tpl_is_number(a) && tb_tpl_is_number(b)) return numbers(vm, op, a, b, out);
  if (op == TB_BIN_MOD && tb_tpl_is(a, TB_VAL_STR)) return format(vm, a, b, out);
  if (tb_tpl_is(a, TB_VAL_UNDEFINED)) return tb_tpl_fail_undefined(vm, a);
  if (op == TB_BIN_ADD && is_sequence(a) && !tb_tpl_is(b, TB_VAL_UNDEFINED)) return add(vm, a, b, out);
  if (tb_tpl_is(b, TB_VAL_UNDEFINED)) return tb_tpl_fail_undefined(vm, b);
  if (op == TB_BIN_MUL && (is_sequence(a) || is_sequence(b))) return repeat(vm, a, b, out);
  return unsupported(vm, op, a, b);
}

bool tb_tpl_unary(struct tb_tpl_vm *vm, bool negate, struct tb_val v, struct tb_val *out) {
  if (tb_tpl_is(v, TB_VAL_UNDEFINED)) return tb_tpl_fail_undefined(vm, v);
  if (!tb_tpl_is_number(v))
    return tb_tpl_fail(vm, TB_E_FORMAT, "bad operand type for unary %s: '%s'", negate ? "-" : "+", tb_tpl_type(v));
  if (tb_tpl_is(v, TB_VAL_FLOAT)) return *out = make_float(negate ? -v.u.f : v.u.f, v.flags), true;
  *out = make_int(tb_tpl_int_of(v), v.flags);
  return !negate || !__builtin_sub_overflow(0, out->u.i, &out->u.i) || overflow(vm);
}
