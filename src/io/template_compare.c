/* Truth, equality, order and membership, as Python defines them. Nested values are compared with a stack of their own. */
#include "io/template_run.h"

#include <string.h>

bool tb_tpl_truth(struct tb_val v) {
  switch ((enum tb_tpl_kind)v.kind) {
  case TB_VAL_UNDEFINED:
  case TB_VAL_NONE: return false;
  case TB_VAL_BOOL: return v.u.b;
  case TB_VAL_INT: return v.u.i != 0;
  case TB_VAL_FLOAT: return v.u.f != 0;
  case TB_VAL_STR: return tb_tpl_str_of(v).n != 0;
  case TB_VAL_LIST:
  case TB_VAL_TUPLE: return tb_tpl_list_of(v)->n != 0;
  case TB_VAL_DICT: return tb_tpl_dict_of(v)->n != 0;
  case TB_VAL_RANGE: return ((const struct tb_tpl_range *)v.u.p)->n != 0;
  case TB_VAL_VIEW: return ((const struct tb_tpl_view *)v.u.p)->dict->n != 0;
  default: return true;
  }
}

/* ------------------------------------------------------------------------------------------------------------ equality */

/* Pairs still to be compared. */
struct pairs {
  struct pair {
    struct tb_val a, b;
    size_t at; /* next item of two containers */
  } * at;
  size_t n, cap;
};

static bool push_pair(struct tb_tpl_vm *vm, struct pairs *p, struct tb_val a, struct tb_val b) {
  if (p->n == TB_TPL_NESTING) return tb_tpl_fail(vm, TB_E_LIMIT, "values nested too deep to compare");
  if (p->n == p->cap) {
    size_t cap = p->cap ? p->cap * 2 : 8;
    struct pair *grown = tb_tpl_alloc(&vm->arena, cap, sizeof *grown);
    if (!grown) return tb_tpl_no_room(vm);
    if (p->n) memcpy(grown, p->at, p->n * sizeof *grown);
    p->at = grown;
    p->cap = cap;
  }
  p->at[p->n++] = (struct pair){.a = a, .b = b};
  return true;
}

static bool is_list(struct tb_val v) { return tb_tpl_is(v, TB_VAL_LIST) || tb_tpl_is(v, TB_VAL_TUPLE); }

static int compare_doubles(double x, double y) { return (x > y) - (x < y); }

/* Of the numbers themselves: as a double, 2^53 + 1 would equal 2^53. */
static int compare_int_float(int64_t i, double f) {
  if (!(f < 0x1p63 && f >= -0x1p63)) return f > 0 ? -1 : 1;
  const int64_t whole = (int64_t)f;
  return i == whole ? compare_doubles((double)whole, f) : (i > whole) - (i < whole);
}

/* Of two numbers, neither of them NaN. */
static int compare_numbers(struct tb_val a, struct tb_val b) {
  if (tb_tpl_is_int(a) && tb_tpl_is_int(b))
    return (tb_tpl_int_of(a) > tb_tpl_int_of(b)) - (tb_tpl_int_of(a) < tb_tpl_int_of(b));
  if (tb_tpl_is_int(a)) return compare_int_float(tb_tpl_int_of(a), tb_tpl_float_of(b));
  if (tb_tpl_is_int(b)) return -compare_int_float(tb_tpl_int_of(b), tb_tpl_float_of(a));
  return compare_doubles(tb_tpl_float_of(a), tb_tpl_float_of(b));
}

static bool is_nan(struct tb_val v) { return tb_tpl_is(v, TB_VAL_FLOAT) && v.u.f != v.u.f; }

/* Equality of what holds no other values, and of containers' kinds and sizes; *inside: their items decide. */
static bool shallow_equal(struct tb_val a, struct tb_val b, bool *inside) {
  *inside = false;
  if (tb_tpl_is_number(a) && tb_tpl_is_number(b)) return !is_nan(a) && !is_nan(b) && compare_numbers(a, b) == 0;
  if (a.kind != b.kind) return false;
  switch ((enum tb_tpl_kind)a.kind) {
  case TB_VAL_UNDEFINED:
  case TB_VAL_NONE: return true;
  case TB_VAL_STR: return tb_tpl_str_eq(tb_tpl_str_of(a), tb_tpl_str_of(b));
  case TB_VAL_FUNCTION: return a.u.i == b.u.i;
  case TB_VAL_LIST:
  case TB_VAL_TUPLE: *inside = a.u.p != b.u.p; return tb_tpl_list_of(a)->n == tb_tpl_list_of(b)->n;
  case TB_VAL_DICT: *inside = a.u.p != b.u.p; return tb_tpl_dict_of(a)->n == tb_tpl_dict_of(b)->n;
  case TB_VAL_RANGE: {
    const struct tb_tpl_range *x = a.u.p, *y = b.u.p;
    return x->n == y->n && (!x->n || (x->start == y->start && (x->n == 1 || x->step == y->step)));
  }
  default: return a.u.p == b.u.p;
  }
}

/* The next pair of items of the containers on top; *more is false when all were taken. False with *equal = false: a key
 * is missing. */
static bool next_pair(struct pair *top, struct tb_val *a, struct tb_val *b) {
  size_t i = top->at++;
  if (is_list(top->a)) {
    *a = tb_tpl_list_of(top->a)->at[i];
    *b = tb_tpl_list_of(top->b)->at[i];
    return true;
  }
  *a = tb_tpl_dict_of(top->a)->vals[i];
  const struct tb_val *other = tb_tpl_dict_get(tb_tpl_dict_of(top->b), tb_tpl_dict_of(top->a)->keys[i]);
  if (other) *b = *other;
  return other != NULL;
}

static size_t size_of(struct tb_val v) { return is_list(v) ? tb_tpl_list_of(v)->n : tb_tpl_dict_of(v)->n; }

bool tb_tpl_equal(struct tb_tpl_vm *vm, struct tb_val a, struct tb_val b, bool *out) {
  struct pairs todo = {0};
  bool inside;
  *out = shallow_equal(a, b, &inside);
  if (!*out || !inside) return tb_tpl_pay(vm, tb_tpl_is(a, TB_VAL_STR) ? tb_tpl_str_of(a).n : 0);
  if (!push_pair(vm, &todo, a, b)) return false;
  while (todo.n) {
    struct pair *top = &todo.at[todo.n - 1];
    if (top->at == size_of(top->a)) {
      todo.n--;
      continue;
    }
    if (!tb_tpl_pay(vm, 0)) return false;
    if (!next_pair(top, &a, &b) || !shallow_equal(a, b, &inside)) return *out = false, true;
    if (inside && !push_pair(vm, &todo, a, b)) return false;
  }
  return true;
}

/* --------------------------------------------------------------------------------------------------------------- order */

static int compare_text(struct tb_tpl_str a, struct tb_tpl_str b) {
  size_t n = a.n < b.n ? a.n : b.n;
  int c = n ? memcmp(a.s, b.s, n) : 0; /* UTF-8 bytes order as code points do */
  return c ? c : (a.n > b.n) - (a.n < b.n);
}

static const char *const op_names[] = {"==", "!=", "<", "<=", ">", ">=", "in", "not in"};

/* Order of two values that are not containers; *nan: they have none. */
static bool order(struct tb_tpl_vm *vm, enum tb_tpl_compare op, struct tb_val a, struct tb_val b, int *out, bool *nan) {
  *nan = false;
  if (tb_tpl_is(a, TB_VAL_UNDEFINED)) return tb_tpl_fail_undefined(vm, a);
  if (tb_tpl_is(b, TB_VAL_UNDEFINED)) return tb_tpl_fail_undefined(vm, b);
  if (tb_tpl_is(a, TB_VAL_STR) && tb_tpl_is(b, TB_VAL_STR)) {
    *out = compare_text(tb_tpl_str_of(a), tb_tpl_str_of(b));
  } else if (tb_tpl_is_number(a) && tb_tpl_is_number(b)) {
    *nan = is_nan(a) || is_nan(b);
    *out = compare_numbers(a, b);
  } else {
    return tb_tpl_fail(vm, TB_E_FORMAT, "'%s' not supported between instances of '%s' and '%s'", op_names[op],
                       tb_tpl_type(a), tb_tpl_type(b));
  }
  return true;
}

static bool verdict(enum tb_tpl_compare op, int c) {
  return op == TB_CMP_LT ? c < 0 : op == TB_CMP_LE ? c <= 0 : op == TB_CMP_GT ? c > 0 : c >= 0;
}

/* Lists are ordered by their first items that differ, which may be lists again. */
static bool ordered(struct tb_tpl_vm *vm, enum tb_tpl_compare op, struct tb_val a, struct tb_val b, bool *out) {
  for (int depth = 0; is_list(a) && a.kind == b.kind; depth++) {
    const struct tb_tpl_list *x = tb_tpl_list_of(a), *y = tb_tpl_list_of(b);
    size_t i = 0;
    bool same = true;
    for (; i < x->n && i < y->n; i++) {
      if (!tb_tpl_equal(vm, x->at[i], y->at[i], &same)) return false;
      if (!same) break;
    }
    if (i == x->n || i == y->n) return *out = verdict(op, (x->n > y->n) - (x->n < y->n)), true;
    if (depth == TB_TPL_NESTING) return tb_tpl_fail(vm, TB_E_LIMIT, "values nested too deep to compare");
    a = x->at[i];
    b = y->at[i];
  }
  int c = 0;
  bool nan;
  if (!order(vm, op, a, b, &c, &nan)) return false;
  *out = !nan && verdict(op, c);
  return true;
}

/* ---------------------------------------------------------------------------------------------------------- membership */

bool tb_tpl_contains(struct tb_tpl_vm *vm, struct tb_val in, struct tb_val what, bool *out) {
  *out = false;
  if (tb_tpl_is(in, TB_VAL_STR)) {
    if (tb_tpl_is(what, TB_VAL_UNDEFINED) || !tb_tpl_is(what, TB_VAL_STR))
      return tb_tpl_fail(vm, TB_E_FORMAT, "'in <string>' requires string as left operand, not %s", tb_tpl_type(what));
    *out = tb_tpl_find(tb_tpl_str_of(in), tb_tpl_str_of(what), 0) != SIZE_MAX;
    return tb_tpl_pay(vm, tb_tpl_str_of(in).n);
  }
  if (tb_tpl_is(in, TB_VAL_DICT)) {
    if (!tb_tpl_hashable(what) && !tb_tpl_is(what, TB_VAL_UNDEFINED))
      return tb_tpl_fail(vm, TB_E_FORMAT, "unhashable type: '%s'", tb_tpl_type(what));
    *out = tb_tpl_hashable(what) && tb_tpl_dict_get(tb_tpl_dict_of(in), what);
    return tb_tpl_pay(vm, 0);
  }
  if (!tb_tpl_iterable(in))
    return tb_tpl_fail(vm, TB_E_FORMAT, "argument of type '%s' is not iterable", tb_tpl_type(in));
  struct tb_tpl_walk w;
  struct tb_val item;
  bool more = true;
  if (!tb_tpl_walk(vm, in, &w)) return false;
  while (!*out) {
    if (!tb_tpl_walk_next(vm, &w, &item, &more)) return false;
    if (!more) return true;
    if (!tb_tpl_equal(vm, item, what, out)) return false;
  }
  return true;
}

bool tb_tpl_compare(struct tb_tpl_vm *vm, enum tb_tpl_compare op, struct tb_val a, struct tb_val b, bool *out) {
  switch (op) {
  case TB_CMP_EQ: return tb_tpl_equal(vm, a, b, out);
  case TB_CMP_NE:
    if (!tb_tpl_equal(vm, a, b, out)) return false;
    *out = !*out;
    return true;
  case TB_CMP_IN: return tb_tpl_contains(vm, b, a, out);
  case TB_CMP_NOT_IN:
    if (!tb_tpl_contains(vm, b, a, out)) return false;
    *out = !*out;
    return true;
  default: return ordered(vm, op, a, b, out);
  }
}

/* ------------------------------------------------------------------------------------------------------------- sorting */

/* Merges the sorted runs [lo, mid) and [mid, hi) of `order` through `space`. */
static bool merge(struct tb_tpl_vm *vm, const struct tb_val *keys, bool reverse, size_t *order_, size_t *space,
                  size_t lo, size_t mid, size_t hi) {
  size_t i = lo, j = mid;
  for (size_t k = lo; k < hi; k++) {
    bool right_first = false;
    if (i < mid && j < hi) {
      struct tb_val x = keys[order_[j]], y = keys[order_[i]];
      if (!(reverse ? ordered(vm, TB_CMP_LT, y, x, &right_first) : ordered(vm, TB_CMP_LT, x, y, &right_first))) return false;
      if (!tb_tpl_pay(vm, 0)) return false;
    } else {
      right_first = i == mid;
    }
    space[k] = right_first ? order_[j++] : order_[i++];
  }
  memcpy(order_ + lo, space + lo, (hi - lo) * sizeof *order_);
  return true;
}

bool tb_tpl_sort(struct tb_tpl_vm *vm, struct tb_val *items, struct tb_val *keys, size_t n, bool reverse) {
  size_t *at = tb_tpl_alloc(&vm->arena, n, sizeof *at), *space = tb_tpl_alloc(&vm->arena, n, sizeof *space);
  struct tb_val *copy = tb_tpl_alloc(&vm->arena, n, sizeof *copy);
  if (!at || !space || !copy) return tb_tpl_no_room(vm);
  for (size_t i = 0; i < n; i++) at[i] = i;
  for (size_t run = 1; run < n; run *= 2)
    for (size_t lo = 0; lo + run < n; lo += 2 * run)
      if (!merge(vm, keys, reverse, at, space, lo, lo + run, lo + 2 * run < n ? lo + 2 * run : n)) return false;
  for (int pass = 0; pass < 2; pass++) {
    struct tb_val *v = pass ? keys : items;
    if (n) memcpy(copy, v, n * sizeof *v);
    for (size_t i = 0; i < n; i++) v[i] = copy[at[i]];
  }
  return true;
}
