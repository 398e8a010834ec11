/* Filters on numbers. */
#include "io/template_filters.h"
#include "io/template_number.h"

#include <math.h>

static struct tb_val number(enum tb_tpl_kind kind, bool trusted) {
  return (struct tb_val){.kind = (uint8_t)kind, .flags = trusted ? TB_VAL_TRUSTED : 0};
}

TB_FILTER(abs) {
  if (!tb_tpl_bind(vm, "abs", args, "", 0, NULL)) return false;
  if (!tb_tpl_is_number(v)) {
    if (tb_tpl_is(v, TB_VAL_UNDEFINED)) return tb_tpl_fail(vm, TB_E_FORMAT, "bad operand type for abs(): 'Undefined'");
    return tb_tpl_fail(vm, TB_E_FORMAT, "bad operand type for abs(): '%s'", tb_tpl_type(v));
  }
  bool negative = tb_tpl_is(v, TB_VAL_FLOAT) ? v.u.f < 0 : tb_tpl_int_of(v) < 0;
  return tb_tpl_unary(vm, negative, v, out);
}

/* int() of a float; *ok is false for what has no integer (nan). */
static bool whole(struct tb_tpl_vm *vm, double f, int64_t *out, bool *ok) {
  *ok = !isnan(f);
  if (!*ok) return true;
  if (isinf(f)) return tb_tpl_fail(vm, TB_E_FORMAT, "cannot convert float infinity to integer");
  if (!(fabs(f) < 9.2e18)) return tb_tpl_fail(vm, TB_E_LIMIT, "integer does not fit in 64 bits");
  *out = (int64_t)f;
  return true;
}

/* "12", "0x1f" (base 16) and, as Jinja2 has it, "42.7". */
static bool int_of_text(struct tb_tpl_vm *vm, struct tb_tpl_str s, int base, int64_t *out, bool *ok) {
  double f;
  *ok = tb_num_parse_int(s.s, s.n, base, out);
  if (*ok || !tb_num_parse_float(s.s, s.n, &f)) return true;
  return whole(vm, f, out, ok);
}

TB_FILTER(int) {
  struct tb_val a[2] = {tb_tpl_int(0), tb_tpl_int(10)};
  int64_t base = 10, i = 0;
  bool ok = true, trusted = v.flags & TB_VAL_TRUSTED;
  if (!tb_tpl_bind(vm, "int", args, "default,base", 0, a) || !tb_tpl_arg_int(vm, "int's base", a[1], &base)) return false;
  if (base != 0 && (base < 2 || base > 36)) return tb_tpl_fail(vm, TB_E_FORMAT, "int() base must be >= 2 and <= 36, or 0");
  if (tb_tpl_is(v, TB_VAL_UNDEFINED)) return tb_tpl_fail_undefined(vm, v);
  if (tb_tpl_is(v, TB_VAL_STR)) {
    trusted = tb_tpl_all_trusted(tb_tpl_str_of(v));
    if (!tb_tpl_pay(vm, tb_tpl_str_of(v).n) || !int_of_text(vm, tb_tpl_str_of(v), (int)base, &i, &ok)) return false;
  } else if (tb_tpl_is(v, TB_VAL_FLOAT)) {
    if (!whole(vm, v.u.f, &i, &ok)) return false;
  } else if (tb_tpl_is_int(v)) {
    i = tb_tpl_int_of(v);
  } else {
    ok = false;
  }
  *out = ok ? number(TB_VAL_INT, trusted) : a[0];
  if (ok) out->u.i = i;
  return true;
}

TB_FILTER(float) {
  struct tb_val a[1] = {number(TB_VAL_FLOAT, true)};
  double f = 0;
  bool ok = tb_tpl_is_number(v), trusted = v.flags & TB_VAL_TRUSTED;
  if (!tb_tpl_bind(vm, "float", args, "default", 0, a)) return false;
  if (tb_tpl_is(v, TB_VAL_UNDEFINED)) return tb_tpl_fail_undefined(vm, v);
  if (ok) f = tb_tpl_float_of(v);
  if (tb_tpl_is(v, TB_VAL_STR)) {
    trusted = tb_tpl_all_trusted(tb_tpl_str_of(v));
    ok = tb_num_parse_float(tb_tpl_str_of(v).s, tb_tpl_str_of(v).n, &f);
  }
  *out = ok ? number(TB_VAL_FLOAT, trusted) : a[0];
  if (ok) out->u.f = f;
  return true;
}

/* An integer rounded to tens, hundreds, …: ties go to the even digit. */
static bool round_int(struct tb_tpl_vm *vm, int64_t i, int64_t precision, int64_t *out) {
  int64_t scale = 1;
  for (; precision < 0; precision++)
    if (__builtin_mul_overflow(scale, 10, &scale)) return *out = 0, true;
  int64_t rest = i % scale, down = i - rest;
  if (rest < 0) {
    rest += scale;
    if (__builtin_sub_overflow(down, scale, &down)) return tb_tpl_fail(vm, TB_E_LIMIT, "integer does not fit in 64 bits");
  }
  bool up = rest > scale - rest || (rest == scale - rest && (down / scale) % 2 != 0);
  if (__builtin_add_overflow(down, up ? scale : 0, out)) return tb_tpl_fail(vm, TB_E_LIMIT, "integer does not fit in 64 bits");
  return true;
}

TB_FILTER(round) {
  struct tb_val a[2] = {tb_tpl_int(0), tb_tpl_missing()};
  struct tb_tpl_str method = tb_tpl_literal("common");
  int64_t precision = 0;
  if (!tb_tpl_bind(vm, "round", args, "precision,method", 0, a) || !tb_tpl_arg_int(vm, "round's precision", a[0], &precision) ||
      !tb_tpl_arg_str(vm, "round's method", a[1], &method))
    return false;
  bool ceiling = tb_tpl_str_is(method, "ceil"), flooring = tb_tpl_str_is(method, "floor");
  if (!ceiling && !flooring && !tb_tpl_str_is(method, "common"))
    return tb_tpl_fail(vm, TB_E_FORMAT, "method must be common, ceil or floor");
  if (!tb_tpl_is_number(v))
    return tb_tpl_fail(vm, TB_E_FORMAT, "type %s doesn't define __round__ method", tb_tpl_type(v));
  if (precision > 400 || precision < -400) return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "rounding to this precision is not supported");
  if (ceiling || flooring) {
    double scale = pow(10, (double)precision), scaled = tb_tpl_float_of(v) * scale;
    if (!isfinite(scaled) || scale == 0) return tb_tpl_fail(vm, TB_E_FORMAT, "cannot round this number");
    *out = number(TB_VAL_FLOAT, v.flags & TB_VAL_TRUSTED);
    out->u.f = (ceiling ? ceil(scaled) : floor(scaled)) / scale;
    return true;
  }
  *out = number(tb_tpl_is_int(v) ? TB_VAL_INT : TB_VAL_FLOAT, v.flags & TB_VAL_TRUSTED);
  if (tb_tpl_is_int(v)) return round_int(vm, tb_tpl_int_of(v), precision, &out->u.i);
  out->u.f = tb_num_round(v.u.f, (int)precision);
  return true;
}
