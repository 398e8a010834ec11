/* Types, undefined values, and how x.name, x[key] and x[a:b] find what they name. */
#include "io/template_run.h"
#include "io/unicode_case.h"

#include <string.h>

/* --------------------------------------------------------------------------------------------------------------- types */

const char *tb_tpl_type(struct tb_val v) {
  static const char *const views[] = {"dict_keys", "dict_values", "dict_items"};
  static const char *const names[] = {
      [TB_VAL_UNDEFINED] = "Undefined", [TB_VAL_NONE] = "NoneType", [TB_VAL_BOOL] = "bool",
      [TB_VAL_INT] = "int",             [TB_VAL_FLOAT] = "float",   [TB_VAL_STR] = "str",
      [TB_VAL_LIST] = "list",           [TB_VAL_TUPLE] = "tuple",   [TB_VAL_DICT] = "dict",
      [TB_VAL_NAMESPACE] = "Namespace", [TB_VAL_RANGE] = "range",   [TB_VAL_VIEW] = "dict_items",
      [TB_VAL_ITER] = "generator",      [TB_VAL_MACRO] = "Macro",   [TB_VAL_FUNCTION] = "function",
      [TB_VAL_METHOD] = "method",       [TB_VAL_LOOP] = "LoopContext", [TB_VAL_JOINER] = "Joiner",
      [TB_VAL_CYCLER] = "Cycler"};
  if (tb_tpl_is(v, TB_VAL_STR) && v.flags & TB_VAL_MARKUP) return "Markup";
  if (tb_tpl_is(v, TB_VAL_VIEW)) return views[((const struct tb_tpl_view *)v.u.p)->kind];
  return v.kind < sizeof names / sizeof names[0] ? names[v.kind] : "object";
}

/* How an undefined value's message names the object it is missing from. */
static const char *module_of(struct tb_val v) {
  switch ((enum tb_tpl_kind)v.kind) {
  case TB_VAL_STR: return v.flags & TB_VAL_MARKUP ? "markupsafe." : "";
  case TB_VAL_UNDEFINED:
  case TB_VAL_MACRO:
  case TB_VAL_LOOP: return "jinja2.runtime.";
  case TB_VAL_NAMESPACE:
  case TB_VAL_JOINER:
  case TB_VAL_CYCLER: return "jinja2.utils.";
  default: return "";
  }
}

/* ----------------------------------------------------------------------------------------------------------- undefined */

static struct tb_val undefined(struct tb_tpl_vm *vm, struct tb_tpl_undef u) {
  struct tb_tpl_undef *p = tb_tpl_alloc(&vm->arena, 1, sizeof *p);
  if (p) *p = u;
  return tb_tpl_ref(TB_VAL_UNDEFINED, p);
}

struct tb_val tb_tpl_undefined_hint(struct tb_tpl_vm *vm, const char *hint) {
  return undefined(vm, (struct tb_tpl_undef){.why = TB_UNDEF_HINT, .hint = hint});
}

struct tb_val tb_tpl_undefined_name(struct tb_tpl_vm *vm, struct tb_tpl_str name) {
  return undefined(vm, (struct tb_tpl_undef){.why = TB_UNDEF_NAME, .key = tb_tpl_of_str(&vm->arena, name, 0)});
}

bool tb_tpl_fail_undefined(struct tb_tpl_vm *vm, struct tb_val v) {
  const struct tb_tpl_undef *u = v.u.p;
  struct tb_tpl_text t;
  if (vm->arena.failed) return tb_tpl_no_room(vm);
  if (!u) return tb_tpl_fail(vm, TB_E_FORMAT, "undefined value");
  if (u->why == TB_UNDEF_HINT) return tb_tpl_fail(vm, TB_E_FORMAT, "%s", u->hint);
  tb_tpl_text_init(&t, &vm->arena);
  if (!tb_tpl_put_repr(vm, &t, u->key)) return false;
  int n = t.n < 200 ? (int)t.n : 200;
  if (u->why == TB_UNDEF_NAME) return tb_tpl_fail(vm, TB_E_FORMAT, "%.*s is undefined", n, t.data);
  const char *type = tb_tpl_is(u->of, TB_VAL_NONE) ? "None" : tb_tpl_type(u->of);
  if (u->why == TB_UNDEF_UNSAFE)
    return tb_tpl_fail(vm, TB_E_FORMAT, "access to attribute %.*s of '%s' object is unsafe.", n, t.data, tb_tpl_type(u->of));
  const char *object = tb_tpl_is(u->of, TB_VAL_NONE) ? "" : " object";
  if (!tb_tpl_is(u->key, TB_VAL_STR))
    return tb_tpl_fail(vm, TB_E_FORMAT, "%s%s%s has no element %.*s", module_of(u->of), type, object, n, t.data);
  return tb_tpl_fail(vm, TB_E_FORMAT, "'%s%s%s' has no attribute %.*s", module_of(u->of), type, object, n, t.data);
}

/* ---------------------------------------------------------------------------------------------------------- attributes */

static bool method(struct tb_tpl_vm *vm, struct tb_val self, struct tb_tpl_str name, struct tb_val *out) {
  struct tb_tpl_method *m = tb_tpl_alloc(&vm->arena, 1, sizeof *m);
  if (!m) return tb_tpl_no_room(vm);
  *m = (struct tb_tpl_method){.self = self, .name = name};
  *out = tb_tpl_ref(TB_VAL_METHOD, m);
  return true;
}

static struct tb_val macro_attr(struct tb_tpl_vm *vm, const struct tb_tpl_macro *m, struct tb_tpl_str name) {
  const struct tb_tpl_macro_code *c = m->code;
  if (tb_tpl_str_is(name, "catch_kwargs")) return tb_tpl_bool(c->kwargs);
  if (tb_tpl_str_is(name, "catch_varargs")) return tb_tpl_bool(c->varargs);
  if (tb_tpl_str_is(name, "caller")) return tb_tpl_bool(c->caller);
  if (tb_tpl_str_is(name, "explicit_caller")) return tb_tpl_bool(c->caller_param);
  if (tb_tpl_str_is(name, "name"))
    return c->name == TB_TPL_ANONYMOUS ? tb_tpl_none() : tb_tpl_of_str(&vm->arena, vm->t->names[c->name], 0);
  if (!tb_tpl_str_is(name, "arguments")) return tb_tpl_missing();
  struct tb_tpl_list *l = tb_tpl_list_new(&vm->arena, c->n_params);
  for (uint32_t i = 0; l && i < c->n_params; i++)
    tb_tpl_list_push(&vm->arena, l, tb_tpl_of_str(&vm->arena, vm->t->names[vm->t->keywords[c->params + i]], 0));
  return l ? tb_tpl_ref(TB_VAL_TUPLE, l) : tb_tpl_missing();
}

/* Attributes that are plain values; missing when there is none. */
static bool value_attr(struct tb_tpl_vm *vm, struct tb_val object, struct tb_tpl_str name, struct tb_val *out,
                       bool *again) {
  union {
    const void *in;
    struct tb_tpl_loop *loop;
  } p = {.in = object.u.p};
  const struct tb_val *v;
  *out = tb_tpl_missing();
  switch ((enum tb_tpl_kind)object.kind) {
  case TB_VAL_NAMESPACE:
    if ((v = tb_tpl_dict_find(tb_tpl_dict_of(object), name))) *out = *v;
    return true;
  case TB_VAL_LOOP: return tb_tpl_loop_attr(vm, p.loop, name, out, again);
  case TB_VAL_TUPLE:
    if (!(object.flags & TB_VAL_GROUP)) return true;
    if (tb_tpl_str_is(name, "grouper")) *out = tb_tpl_list_of(object)->at[0];
    if (tb_tpl_str_is(name, "list")) *out = tb_tpl_list_of(object)->at[1];
    return true;
  case TB_VAL_MACRO: *out = macro_attr(vm, object.u.p, name); return !vm->arena.failed || tb_tpl_no_room(vm);
  case TB_VAL_RANGE: {
    const struct tb_tpl_range *r = object.u.p;
    if (tb_tpl_str_is(name, "start")) *out = tb_tpl_int(r->start);
    else if (tb_tpl_str_is(name, "stop")) *out = tb_tpl_int(r->stop);
    else if (tb_tpl_str_is(name, "step")) *out = tb_tpl_int(r->step);
    return true;
  }
  case TB_VAL_CYCLER: {
    const struct tb_tpl_cycler *c = object.u.p;
    if (tb_tpl_str_is(name, "current")) *out = c->items[c->at];
    return true;
  }
  case TB_VAL_JOINER: {
    const struct tb_tpl_joiner *j = object.u.p;
    if (tb_tpl_str_is(name, "used")) *out = tb_tpl_bool(j->used);
    return !tb_tpl_str_is(name, "sep") || tb_tpl_result_str(vm, j->sep, 0, out);
  }
  case TB_VAL_FLOAT:
    if (tb_tpl_str_is(name, "real") || tb_tpl_str_is(name, "imag")) *out = object;
    if (tb_tpl_str_is(name, "imag")) out->u.f = 0;
    return true;
  case TB_VAL_BOOL:
  case TB_VAL_INT:
    if (tb_tpl_str_is(name, "real") || tb_tpl_str_is(name, "numerator")) *out = tb_tpl_int(tb_tpl_int_of(object));
    else if (tb_tpl_str_is(name, "imag")) *out = tb_tpl_int(0);
    else if (tb_tpl_str_is(name, "denominator")) *out = tb_tpl_int(1);
    out->flags = object.flags;
    return true;
  default: return true;
  }
}

/* getattr: an attribute, or missing. */
static bool get_attr(struct tb_tpl_vm *vm, struct tb_val object, struct tb_tpl_str name, struct tb_val *out,
                     bool *again) {
  bool unsafe = false;
  if (tb_tpl_is(object, TB_VAL_UNDEFINED)) return tb_tpl_fail_undefined(vm, object);
  if (!value_attr(vm, object, name, out, again)) return false;
  if (*again || !tb_tpl_is(*out, TB_VAL_MISSING)) return true;
  bool special = name.n > 4 && memcmp(name.s, "__", 2) == 0 && memcmp(name.s + name.n - 2, "__", 2) == 0;
  if (!special && !tb_tpl_has_method(object, name, &unsafe)) return true;
  if (!special && !unsafe) return method(vm, object, name, out);
  struct tb_tpl_undef u = {.why = TB_UNDEF_UNSAFE, .of = object, .key = tb_tpl_of_str(&vm->arena, name, 0)};
  *out = undefined(vm, u);
  return !vm->arena.failed || tb_tpl_no_room(vm);
}

/* --------------------------------------------------------------------------------------------------------------- items */

static bool char_item(struct tb_tpl_vm *vm, struct tb_val object, int64_t i, struct tb_val *out) {
  struct tb_tpl_str s = tb_tpl_str_of(object);
  size_t n = tb_tpl_chars(s), used;
  if (!tb_tpl_pay(vm, s.n)) return false;
  if (i < 0) i += (int64_t)n;
  if (i < 0 || (uint64_t)i >= n) return true;
  size_t at = tb_tpl_char_at(s, (size_t)i);
  tb_ch_decode(s.s + at, s.n - at, &used);
  return tb_tpl_result_str(vm, tb_tpl_sub(s, at, at + used), object.flags, out);
}

/* object[key] without fallbacks; missing when there is none. */
static bool get_item(struct tb_tpl_vm *vm, struct tb_val object, struct tb_val key, struct tb_val *out) {
  *out = tb_tpl_missing();
  if (tb_tpl_is(object, TB_VAL_UNDEFINED)) return tb_tpl_fail_undefined(vm, object);
  if (tb_tpl_is(object, TB_VAL_DICT)) {
    const struct tb_val *v = tb_tpl_hashable(key) ? tb_tpl_dict_get(tb_tpl_dict_of(object), key) : NULL;
    if (v) *out = *v;
    return tb_tpl_pay(vm, tb_tpl_is(key, TB_VAL_STR) ? tb_tpl_str_of(key).n : 0);
  }
  if (!tb_tpl_is_int(key)) return true;
  int64_t i = tb_tpl_int_of(key);
  if (tb_tpl_is(object, TB_VAL_STR)) return char_item(vm, object, i, out);
  if (tb_tpl_is(object, TB_VAL_LIST) || tb_tpl_is(object, TB_VAL_TUPLE)) {
    const struct tb_tpl_list *l = tb_tpl_list_of(object);
    if (i < 0) i += (int64_t)l->n;
    if (i >= 0 && (uint64_t)i < l->n) *out = l->at[i];
  } else if (tb_tpl_is(object, TB_VAL_RANGE)) {
    const struct tb_tpl_range *r = object.u.p;
    if (i < 0) i += (int64_t)r->n;
    if (i >= 0 && (uint64_t)i < r->n) *out = tb_tpl_range_at(r, (size_t)i);
  }
  return true;
}

static bool not_found(struct tb_tpl_vm *vm, struct tb_val object, struct tb_val key, struct tb_val *out) {
  *out = undefined(vm, (struct tb_tpl_undef){.why = TB_UNDEF_ATTR, .of = object, .key = key});
  return !vm->arena.failed || tb_tpl_no_room(vm);
}

bool tb_tpl_attr(struct tb_tpl_vm *vm, struct tb_val object, struct tb_val name, struct tb_val *out, bool *again) {
  *again = false;
  if (!get_attr(vm, object, tb_tpl_str_of(name), out, again)) return false;
  if (*again || !tb_tpl_is(*out, TB_VAL_MISSING)) return true;
  if (!get_item(vm, object, name, out)) return false;
  return !tb_tpl_is(*out, TB_VAL_MISSING) || not_found(vm, object, name, out);
}

bool tb_tpl_attr_only(struct tb_tpl_vm *vm, struct tb_val object, struct tb_val name, struct tb_val *out) {
  bool again = false;
  if (!get_attr(vm, object, tb_tpl_str_of(name), out, &again)) return false;
  if (again) return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "'loop' as the subject of a filter is not supported");
  return !tb_tpl_is(*out, TB_VAL_MISSING) || not_found(vm, object, name, out);
}

bool tb_tpl_item(struct tb_tpl_vm *vm, struct tb_val object, struct tb_val key, struct tb_val *out, bool *again) {
  *again = false;
  if (!get_item(vm, object, key, out)) return false;
  if (tb_tpl_is(*out, TB_VAL_MISSING) && tb_tpl_is(key, TB_VAL_STR) &&
      !get_attr(vm, object, tb_tpl_str_of(key), out, again))
    return false;
  return *again || !tb_tpl_is(*out, TB_VAL_MISSING) || not_found(vm, object, key, out);
}

static bool path_part(struct tb_tpl_vm *vm, struct tb_val *v, struct tb_val key, const struct tb_val *fallback) {
  struct tb_val out;
  bool again;
  if (!tb_tpl_item(vm, *v, key, &out, &again)) return false;
  if (again) return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "'loop' as the subject of a filter is not supported");
  *v = fallback && tb_tpl_is(out, TB_VAL_UNDEFINED) ? *fallback : out;
  return true;
}

/* "7" is the index 7, as str.isdigit decides. */
static struct tb_val path_key(struct tb_tpl_vm *vm, struct tb_tpl_str part) {
  int64_t v = 0;
  bool number = part.n > 0 && part.n < 18;
  for (size_t i = 0; i < part.n; i++) {
    number &= part.s[i] >= '0' && part.s[i] <= '9';
    if (number) v = v * 10 + (part.s[i] - '0');
  }
  return number ? tb_tpl_int(v) : tb_tpl_of_str(&vm->arena, part, 0);
}

bool tb_tpl_path(struct tb_tpl_vm *vm, struct tb_val object, struct tb_val path, const struct tb_val *fallback,
                 struct tb_val *out) {
  *out = object;
  if (tb_tpl_is(path, TB_VAL_NONE) || tb_tpl_is(path, TB_VAL_MISSING)) return true;
  if (!tb_tpl_is(path, TB_VAL_STR)) return path_part(vm, out, path, fallback);
  struct tb_tpl_str s = tb_tpl_str_of(path);
  for (size_t from = 0, i = 0; i <= s.n; i++) {
    if (i < s.n && s.s[i] != '.') continue;
    struct tb_val key = path_key(vm, tb_tpl_sub(s, from, i));
    if (vm->arena.failed) return tb_tpl_no_room(vm);
    if (!path_part(vm, out, key, fallback)) return false;
    from = i + 1;
  }
  return true;
}

/* -------------------------------------------------------------------------------------------------------------- slices */

/* object[a:b:c] over n items, as Python resolves it. */
struct span {
  int64_t start, stop, step, count;
};

static bool resolve(struct tb_tpl_vm *vm, const struct tb_val part[3], size_t length, struct span *out) {
  int64_t n = (int64_t)length;
  int64_t v[3] = {0, 0, 1};
  for (int i = 0; i < 3; i++) {
    if (tb_tpl_is(part[i], TB_VAL_NONE)) continue;
    if (!tb_tpl_is_int(part[i]))
      return tb_tpl_fail(vm, TB_E_FORMAT, "slice indices must be integers or None or have an __index__ method");
    v[i] = tb_tpl_int_of(part[i]);
  }
  if (v[2] == 0) return tb_tpl_fail(vm, TB_E_FORMAT, "slice step cannot be zero");
  if (v[2] < -n - 1) v[2] = -n - 1; /* keeps the sums below from overflowing */
  if (v[2] > n + 1) v[2] = n + 1;
  bool down = v[2] < 0;
  int64_t low = down ? -1 : 0, high = down ? n - 1 : n;
  for (int i = 0; i < 2; i++) {
    if (tb_tpl_is(part[i], TB_VAL_NONE)) {
      v[i] = (i == 0) == down ? high : low;
      continue;
    }
    if (v[i] < 0) v[i] = v[i] < -n ? low : v[i] + n;
    if (v[i] < low) v[i] = low;
    if (v[i] > high) v[i] = high;
  }
  int64_t span = down ? v[0] - v[1] : v[1] - v[0], by = down ? -v[2] : v[2];
  *out = (struct span){.start = v[0], .stop = v[1], .step = v[2], .count = span > 0 ? (span + by - 1) / by : 0};
  return true;
}

/* Moves a byte offset by `step` characters. */
static size_t step_by(struct tb_tpl_str s, size_t at, int64_t step) {
  size_t used;
  for (; step > 0 && at < s.n; step--) {
    tb_ch_decode(s.s + at, s.n - at, &used);
    at += used;
  }
  for (; step < 0 && at > 0; step++) {
    size_t back = 1;
    while (back < 4 && back < at && ((unsigned char)s.s[at - back] & 0xc0) == 0x80) back++;
    tb_ch_decode(s.s + at - back, s.n - (at - back), &used);
    at -= used == back ? back : 1;
  }
  return at;
}

static bool slice_text(struct tb_tpl_vm *vm, struct tb_val object, const struct tb_val part[3], struct tb_val *out) {
  struct tb_tpl_str s = tb_tpl_str_of(object);
  struct span r;
  if (!tb_tpl_pay(vm, s.n) || !resolve(vm, part, tb_tpl_chars(s), &r)) return false;
  if (!r.count) return tb_tpl_result_str(vm, tb_tpl_sub(s, 0, 0), object.flags, out);
  size_t at = tb_tpl_char_at(s, (size_t)r.start), used;
  if (r.step == 1)
    return tb_tpl_result_str(vm, tb_tpl_sub(s, at, tb_tpl_char_at(s, (size_t)r.stop)), object.flags, out);
  struct tb_tpl_text t;
  tb_tpl_text_init(&t, &vm->arena);
  for (int64_t i = 0; i < r.count; i++) {
    tb_ch_decode(s.s + at, s.n - at, &used);
    if (!tb_tpl_text_put_str(&t, tb_tpl_sub(s, at, at + used))) return tb_tpl_no_room(vm);
    if (i + 1 < r.count) at = step_by(s, at, r.step);
  }
  return tb_tpl_result(vm, &t, object.flags, out);
}

static bool slice_list(struct tb_tpl_vm *vm, struct tb_val object, const struct tb_val part[3], struct tb_val *out) {
  const struct tb_tpl_list *l = tb_tpl_list_of(object);
  struct span s;
  if (!resolve(vm, part, l->n, &s) || !tb_tpl_pay(vm, (size_t)s.count * sizeof *l->at)) return false;
  struct tb_tpl_list *r = tb_tpl_list_new(&vm->arena, (size_t)s.count);
  if (!r) return tb_tpl_no_room(vm);
  for (int64_t i = 0; i < s.count; i++) r->at[i] = l->at[s.start + i * s.step];
  r->n = (size_t)s.count;
  *out = tb_tpl_ref((enum tb_tpl_kind)object.kind, r);
  return true;
}

static bool slice_range(struct tb_tpl_vm *vm, const struct tb_tpl_range *r, const struct tb_val part[3],
                        struct tb_val *out) {
  struct span s;
  int64_t from, to, step;
  if (!resolve(vm, part, r->n, &s)) return false;
  if (__builtin_mul_overflow(s.start, r->step, &from) || __builtin_add_overflow(from, r->start, &from) ||
      __builtin_mul_overflow(s.stop, r->step, &to) || __builtin_add_overflow(to, r->start, &to) ||
      __builtin_mul_overflow(s.step, r->step, &step))
    return tb_tpl_fail(vm, TB_E_LIMIT, "range does not fit in 64 bits");
  struct tb_tpl_range *n = tb_tpl_alloc(&vm->arena, 1, sizeof *n);
  if (!n) return tb_tpl_no_room(vm);
  *n = (struct tb_tpl_range){.start = from, .stop = to, .step = step, .n = (size_t)s.count};
  *out = tb_tpl_ref(TB_VAL_RANGE, n);
  return true;
}

bool tb_tpl_slice(struct tb_tpl_vm *vm, struct tb_val object, const struct tb_val part[3], struct tb_val *out) {
  switch ((enum tb_tpl_kind)object.kind) {
  case TB_VAL_UNDEFINED: return tb_tpl_fail_undefined(vm, object);
  case TB_VAL_STR: return slice_text(vm, object, part, out);
  case TB_VAL_LIST:
  case TB_VAL_TUPLE: return slice_list(vm, object, part, out);
  case TB_VAL_RANGE: return slice_range(vm, object.u.p, part, out);
  case TB_VAL_DICT: return tb_tpl_fail(vm, TB_E_FORMAT, "unhashable type: 'slice'");
  default: return tb_tpl_fail(vm, TB_E_FORMAT, "'%s' object is not subscriptable", tb_tpl_type(object));
  }
}
