/* Methods of dicts, lists, tuples, numbers and the environment's objects; which names each type has. */
#include "io/template_run.h"

#include <string.h>

/* Public attributes of Python's types that are methods. Those that only their name is known of fail when called: an
 * attribute that Python has must not be mistaken for a missing one. */
static const char str_names[] =
    " capitalize casefold center count encode endswith expandtabs find format format_map index isalnum isalpha isascii "
    "isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip maketrans "
    "partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith "
    "strip swapcase title translate upper zfill ";
static const char markup_names[] = " escape striptags unescape ";
static const char list_names[] = " copy count index pop clear ";
static const char list_unsafe[] = " append reverse insert sort extend remove ";
static const char tuple_names[] = " count index ";
static const char dict_names[] = " copy fromkeys get items keys values ";
static const char dict_unsafe[] = " clear pop popitem setdefault update ";
static const char int_names[] = " as_integer_ratio bit_count bit_length conjugate from_bytes to_bytes ";
static const char float_names[] = " as_integer_ratio conjugate fromhex hex is_integer ";
static const char iter_names[] = " close gi_frame gi_running gi_code gi_yieldfrom gi_suspended send throw ";

/* Whether `name` is a word of a list with blanks around each. */
static bool listed(const char *list, struct tb_tpl_str name) {
  if (!name.n || memchr(name.s, ' ', name.n) || memchr(name.s, '\0', name.n)) return false;
  for (const char *p = list; (p = strchr(p, name.s[0])); p++)
    if (p > list && p[-1] == ' ' && strncmp(p, name.s, name.n) == 0 && p[name.n] == ' ') return true;
  return false;
}

bool tb_tpl_has_method(struct tb_val v, struct tb_tpl_str name, bool *unsafe) {
  *unsafe = false;
  switch ((enum tb_tpl_kind)v.kind) {
  case TB_VAL_STR: return listed(str_names, name) || (v.flags & TB_VAL_MARKUP && listed(markup_names, name));
  case TB_VAL_LIST: return listed(list_names, name) || (*unsafe = listed(list_unsafe, name));
  case TB_VAL_TUPLE: return listed(tuple_names, name);
  case TB_VAL_DICT: return listed(dict_names, name) || (*unsafe = listed(dict_unsafe, name));
  case TB_VAL_BOOL:
  case TB_VAL_INT: return listed(int_names, name);
  case TB_VAL_FLOAT: return listed(float_names, name);
  case TB_VAL_RANGE: return listed(tuple_names, name);
  case TB_VAL_VIEW: return listed(" isdisjoint mapping ", name);
  case TB_VAL_ITER: return listed(iter_names, name);
  case TB_VAL_LOOP: return listed(" cycle changed ", name);
  case TB_VAL_CYCLER: return listed(" next reset ", name);
  default: return false;
  }
}

/* ------------------------------------------------------------------------------------------------------------- methods */

static bool view(struct tb_tpl_vm *vm, const struct tb_tpl_dict *d, enum tb_tpl_view_kind kind,
                 const struct tb_tpl_args *args, struct tb_val *out) {
  struct tb_tpl_view *v = tb_tpl_alloc(&vm->arena, 1, sizeof *v);
  if (!v) return tb_tpl_no_room(vm);
  *v = (struct tb_tpl_view){.dict = d, .kind = kind};
  *out = tb_tpl_ref(TB_VAL_VIEW, v);
  return tb_tpl_bind(vm, "this dict method", args, "", 0, NULL);
}

static bool dict_copy(struct tb_tpl_vm *vm, const struct tb_tpl_dict *d, struct tb_val *out) {
  struct tb_tpl_dict *copy = tb_tpl_dict_new(&vm->arena, d->n);
  for (size_t i = 0; copy && i < d->n; i++)
    if (!tb_tpl_dict_put(&vm->arena, copy, d->keys[i], d->vals[i])) return tb_tpl_no_room(vm);
  *out = tb_tpl_ref(TB_VAL_DICT, copy);
  return copy ? tb_tpl_pay(vm, d->n * sizeof *d->keys) : tb_tpl_no_room(vm);
}

static bool dict_get(struct tb_tpl_vm *vm, const struct tb_tpl_dict *d, const struct tb_tpl_args *args,
                     struct tb_val *out) {
  struct tb_val a[2] = {tb_tpl_missing(), tb_tpl_none()};
  if (args->n_kw) return tb_tpl_fail(vm, TB_E_FORMAT, "dict.get() takes no keyword arguments");
  if (!tb_tpl_bind(vm, "get", args, "key,default", 1, a)) return false;
  *out = a[1];
  if (tb_tpl_is(a[0], TB_VAL_UNDEFINED)) return true;
  if (!tb_tpl_hashable(a[0])) return tb_tpl_fail(vm, TB_E_FORMAT, "unhashable type: '%s'", tb_tpl_type(a[0]));
  const struct tb_val *v = tb_tpl_dict_get(d, a[0]);
  if (v) *out = *v;
  return true;
}

static bool dict_method(struct tb_tpl_vm *vm, const struct tb_tpl_method *m, const struct tb_tpl_args *args,
                        struct tb_val *out, bool *known) {
  const struct tb_tpl_dict *d = tb_tpl_dict_of(m->self);
  if (tb_tpl_str_is(m->name, "get")) return dict_get(vm, d, args, out);
  if (tb_tpl_str_is(m->name, "items")) return view(vm, d, TB_VIEW_ITEMS, args, out);
  if (tb_tpl_str_is(m->name, "keys")) return view(vm, d, TB_VIEW_KEYS, args, out);
  if (tb_tpl_str_is(m->name, "values")) return view(vm, d, TB_VIEW_VALUES, args, out);
  if (tb_tpl_str_is(m->name, "copy")) return tb_tpl_bind(vm, "copy", args, "", 0, NULL) && dict_copy(vm, d, out);
  *known = false;
  return true;
}

/* count and index of a list, tuple or range. */
static bool list_method(struct tb_tpl_vm *vm, const struct tb_tpl_method *m, const struct tb_tpl_args *args,
                        struct tb_val *out, bool *known) {
  bool index = tb_tpl_str_is(m->name, "index"), copy = tb_tpl_str_is(m->name, "copy");
  struct tb_tpl_list *l;
  struct tb_val what = tb_tpl_missing();
  if (copy) {
    if (!tb_tpl_bind(vm, "copy", args, "", 0, NULL) || !tb_tpl_to_list(vm, m->self, &l)) return false;
    *out = tb_tpl_ref(TB_VAL_LIST, l);
    return true;
  }
  *known = index || tb_tpl_str_is(m->name, "count");
  if (!*known) return true;
  if (!tb_tpl_bind(vm, index ? "index" : "count", args, "value", 1, &what) || !tb_tpl_to_list(vm, m->self, &l)) return false;
  int64_t n = 0;
  for (size_t i = 0; i < l->n; i++) {
    bool same;
    if (!tb_tpl_equal(vm, l->at[i], what, &same)) return false;
    if (same && index) return *out = tb_tpl_int((int64_t)i), true;
    n += same;
  }
  if (index) return tb_tpl_fail(vm, TB_E_FORMAT, "value is not in %s", tb_tpl_type(m->self));
  *out = tb_tpl_int(n);
  return true;
}

static bool cycler_method(struct tb_tpl_vm *vm, const struct tb_tpl_method *m, const struct tb_tpl_args *args,
                          struct tb_val *out) {
  union {
    const void *in;
    struct tb_tpl_cycler *out;
  } c = {.in = m->self.u.p}; /* a cycler is made to be advanced */
  bool next = tb_tpl_str_is(m->name, "next");
  *out = next ? c.out->items[c.out->at] : tb_tpl_none();
  c.out->at = next ? (c.out->at + 1) % c.out->n : 0;
  return tb_tpl_bind(vm, "this cycler method", args, "", 0, NULL);
}

static bool is_integer(struct tb_tpl_vm *vm, const struct tb_tpl_method *m, const struct tb_tpl_args *args,
                       struct tb_val *out, bool *known) {
  *known = tb_tpl_is(m->self, TB_VAL_FLOAT) && tb_tpl_str_is(m->name, "is_integer");
  if (!*known) return true;
  double f = m->self.u.f;
  *out = tb_tpl_bool(f - f == 0 && (f > 1e18 || f < -1e18 || f == (double)(int64_t)f));
  return tb_tpl_bind(vm, "is_integer", args, "", 0, NULL);
}

bool tb_tpl_call_method(struct tb_tpl_vm *vm, const struct tb_tpl_method *m, const struct tb_tpl_args *args,
                        struct tb_val *out) {
  union {
    const void *in;
    struct tb_tpl_loop *loop;
  } self = {.in = m->self.u.p};
  bool known = true, ok = true;
  switch ((enum tb_tpl_kind)m->self.kind) {
  case TB_VAL_STR: ok = tb_tpl_str_method(vm, m->self, m->name, args, out, &known); break;
  case TB_VAL_DICT: ok = dict_method(vm, m, args, out, &known); break;
  case TB_VAL_LIST:
  case TB_VAL_TUPLE:
  case TB_VAL_RANGE: ok = list_method(vm, m, args, out, &known); break;
  case TB_VAL_LOOP: return tb_tpl_loop_method(vm, self.loop, m->name, args, out);
  case TB_VAL_CYCLER: return cycler_method(vm, m, args, out);
  default: ok = is_integer(vm, m, args, out, &known); break;
  }
  if (ok && !known)
    return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "method '%.*s' of '%s' is not supported", (int)m->name.n, m->name.s,
                       tb_tpl_type(m->self));
  return ok;
}
