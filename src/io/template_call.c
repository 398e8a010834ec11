/* Calls: macros, functions of the environment, methods, and how arguments meet parameters. */
#include "io/template_run.h"

#include <string.h>

enum { RANGE_MAX = 100000, ARGS_MAX = 4096 };

/* ----------------------------------------------------------------------------------------------------------- arguments */

/* The values of "*list", as positional arguments behind the others. */
static bool spread_list(struct tb_tpl_vm *vm, struct tb_tpl_args *args, struct tb_val star) {
  struct tb_tpl_list *more, *all;
  if (!tb_tpl_iterable(star))
    return tb_tpl_fail(vm, TB_E_FORMAT, "argument after * must be an iterable, not %s", tb_tpl_type(star));
  if (!tb_tpl_to_list(vm, star, &more)) return false;
  if (!(all = tb_tpl_list_new(&vm->arena, args->n + more->n))) return tb_tpl_no_room(vm);
  if (args->n) memcpy(all->at, args->pos, args->n * sizeof *all->at);
  if (more->n) memcpy(all->at + args->n, more->at, more->n * sizeof *all->at);
  args->pos = all->at;
  args->n += more->n;
  return true;
}

/* Keyword values lie on the stack from `from` on, then "**dict" if there is one. */
static bool take_keywords(struct tb_tpl_vm *vm, const struct tb_tpl_shape *shape, const struct tb_val *from,
                          struct tb_tpl_args *args) {
  const struct tb_tpl_dict *d = NULL;
  if (shape->star2) {
    if (!tb_tpl_is(from[shape->n_kw], TB_VAL_DICT))
      return tb_tpl_fail(vm, TB_E_FORMAT, "argument after ** must be a mapping, not %s", tb_tpl_type(from[shape->n_kw]));
    d = tb_tpl_dict_of(from[shape->n_kw]);
  }
  size_t n = shape->n_kw + (d ? d->n : 0);
  if (!n) return true;
  struct tb_tpl_kw *kw = tb_tpl_alloc(&vm->arena, n, sizeof *kw);
  if (!kw) return tb_tpl_no_room(vm);
  for (uint32_t i = 0; i < shape->n_kw; i++)
    kw[i] = (struct tb_tpl_kw){.name = vm->t->names[vm->t->keywords[shape->kw + i]], .v = from[i]};
  for (size_t i = 0; d && i < d->n; i++) {
    if (!tb_tpl_is(d->keys[i], TB_VAL_STR)) return tb_tpl_fail(vm, TB_E_FORMAT, "keywords must be strings");
    kw[shape->n_kw + i] = (struct tb_tpl_kw){.name = tb_tpl_str_of(d->keys[i]), .v = d->vals[i]};
  }
  args->kw = kw;
  args->n_kw = n;
  return true;
}

bool tb_tpl_take_args(struct tb_tpl_vm *vm, const struct tb_tpl_shape *shape, struct tb_tpl_args *args) {
  size_t on_stack = shape->n_pos + (size_t)shape->star + shape->n_kw + (size_t)shape->star2;
  const struct tb_val *base = vm->stack + vm->n_stack - on_stack;
  *args = (struct tb_tpl_args){.pos = base, .n = shape->n_pos};
  vm->n_stack -= on_stack; /* the values stay readable until something is pushed */
  if (shape->star && !spread_list(vm, args, base[shape->n_pos])) return false;
  if (!take_keywords(vm, shape, base + shape->n_pos + shape->star, args)) return false;
  if (args->n > ARGS_MAX || args->n_kw > ARGS_MAX)
    return tb_tpl_fail(vm, TB_E_LIMIT, "a call with more than %d arguments", ARGS_MAX);
  return true;
}

/* Position of `name` in "a,b,c", or -1. */
static int parameter(const char *params, struct tb_tpl_str name) {
  int i = 0;
  for (const char *p = params; *p; i++) {
    size_t n = strcspn(p, ",");
    if (n == name.n && memcmp(p, name.s, n) == 0) return i;
    p += n + (p[n] == ',');
  }
  return -1;
}

static size_t count_params(const char *params) {
  size_t n = *params != '\0';
  for (; *params; params++) n += *params == ',';
  return n;
}

bool tb_tpl_bind(struct tb_tpl_vm *vm, const char *what, const struct tb_tpl_args *args, const char *params,
                 size_t required, struct tb_val *out) {
  size_t n = count_params(params);
  uint32_t given = 0; /* a bit per parameter: none of ours has 32 */
  if (args->n > n)
    return tb_tpl_fail(vm, TB_E_FORMAT, "%s takes at most %zu arguments (%zu given)", what, n, args->n);
  for (size_t i = 0; i < args->n; i++) out[i] = args->pos[i], given |= 1u << i;
  for (size_t i = 0; i < args->n_kw; i++) {
    int at = parameter(params, args->kw[i].name);
    if (at < 0 || given >> at & 1)
      return tb_tpl_fail(vm, TB_E_FORMAT, "%s got %s argument '%.*s'", what,
                         at < 0 ? "an unexpected keyword" : "multiple values for", (int)args->kw[i].name.n, args->kw[i].name.s);
    out[at] = args->kw[i].v;
    given |= 1u << at;
  }
  for (size_t i = 0; i < required; i++)
    if (!(given >> i & 1)) return tb_tpl_fail(vm, TB_E_FORMAT, "%s misses a required argument", what);
  return true;
}

bool tb_tpl_arg_int(struct tb_tpl_vm *vm, const char *what, struct tb_val v, int64_t *out) {
  if (tb_tpl_is(v, TB_VAL_MISSING)) return true;
  if (tb_tpl_is(v, TB_VAL_UNDEFINED)) return tb_tpl_fail_undefined(vm, v);
  if (!tb_tpl_is_int(v)) return tb_tpl_fail(vm, TB_E_FORMAT, "%s must be an integer, not '%s'", what, tb_tpl_type(v));
  *out = tb_tpl_int_of(v);
  return true;
}

bool tb_tpl_arg_str(struct tb_tpl_vm *vm, const char *what, struct tb_val v, struct tb_tpl_str *out) {
  if (tb_tpl_is(v, TB_VAL_MISSING)) return true;
  if (!tb_tpl_is(v, TB_VAL_STR)) return tb_tpl_fail(vm, TB_E_FORMAT, "%s must be str, not %s", what, tb_tpl_type(v));
  *out = tb_tpl_str_of(v);
  return true;
}

/* ----------------------------------------------------------------------------------------------------------- functions */

static bool no_keywords(struct tb_tpl_vm *vm, const char *what, const struct tb_tpl_args *args) {
  return !args->n_kw || tb_tpl_fail(vm, TB_E_FORMAT, "%s takes no keyword arguments", what);
}

static bool range(struct tb_tpl_vm *vm, const struct tb_tpl_args *args, struct tb_val *out) {
  struct tb_val a[3] = {tb_tpl_missing(), tb_tpl_missing(), tb_tpl_missing()};
  int64_t v[3] = {0, 0, 1};
  if (!no_keywords(vm, "range()", args) || !tb_tpl_bind(vm, "range", args, "start,stop,step", 1, a)) return false;
  for (int i = 0; i < 3; i++)
    if (!tb_tpl_arg_int(vm, "range() argument", a[i], &v[i])) return false;
  if (args->n == 1) v[1] = v[0], v[0] = 0;
  if (v[2] == 0) return tb_tpl_fail(vm, TB_E_FORMAT, "range() arg 3 must not be zero");
  bool up = v[2] > 0;
  uint64_t by = up ? (uint64_t)v[2] : 0 - (uint64_t)v[2], n = 0;
  if (up ? v[0] < v[1] : v[0] > v[1])
    n = ((up ? (uint64_t)v[1] - (uint64_t)v[0] : (uint64_t)v[0] - (uint64_t)v[1]) - 1) / by + 1;
  if (n > RANGE_MAX)
    return tb_tpl_fail(vm, TB_E_LIMIT, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", RANGE_MAX);
  struct tb_tpl_range *r = tb_tpl_alloc(&vm->arena, 1, sizeof *r);
  if (!r) return tb_tpl_no_room(vm);
  *r = (struct tb_tpl_range){.start = v[0], .stop = v[1], .step = v[2], .n = (size_t)n};
  *out = tb_tpl_ref(TB_VAL_RANGE, r);
  return true;
}

/* Adds what dict(x) takes from x: a mapping, or pairs. */
static bool dict_from(struct tb_tpl_vm *vm, struct tb_tpl_dict *d, struct tb_val from) {
  struct tb_tpl_list *items, *pair;
  if (tb_tpl_is(from, TB_VAL_DICT)) {
    const struct tb_tpl_dict *x = tb_tpl_dict_of(from);
    for (size_t i = 0; i < x->n; i++)
      if (!tb_tpl_dict_put(&vm->arena, d, x->keys[i], x->vals[i])) return tb_tpl_no_room(vm);
    return tb_tpl_pay(vm, x->n * sizeof *x->keys);
  }
  if (!tb_tpl_to_list(vm, from, &items)) return false;
  for (size_t i = 0; i < items->n; i++) {
    if (!tb_tpl_to_list(vm, items->at[i], &pair)) return false;
    if (pair->n != 2)
      return tb_tpl_fail(vm, TB_E_FORMAT, "dictionary update sequence element #%zu has length %zu; 2 is required", i, pair->n);
    if (!tb_tpl_hashable(pair->at[0]))
      return tb_tpl_fail(vm, TB_E_FORMAT, "unhashable type: '%s'", tb_tpl_type(pair->at[0]));
    if (!tb_tpl_dict_put(&vm->arena, d, pair->at[0], pair->at[1])) return tb_tpl_no_room(vm);
  }
  return true;
}

/* dict(…) and namespace(…). */
static bool make_dict(struct tb_tpl_vm *vm, enum tb_tpl_kind kind, const struct tb_tpl_args *args, struct tb_val *out) {
  struct tb_tpl_dict *d = tb_tpl_dict_new(&vm->arena, args->n_kw);
  if (!d) return tb_tpl_no_room(vm);
  if (args->n > 1) return tb_tpl_fail(vm, TB_E_FORMAT, "dict expected at most 1 argument, got %zu", args->n);
  if (args->n && !dict_from(vm, d, args->pos[0])) return false;
  for (size_t i = 0; i < args->n_kw; i++) {
    struct tb_val key = tb_tpl_of_str(&vm->arena, args->kw[i].name, 0);
    if (vm->arena.failed || !tb_tpl_dict_put(&vm->arena, d, key, args->kw[i].v)) return tb_tpl_no_room(vm);
  }
  *out = tb_tpl_ref(kind, d);
  return true;
}

static bool joiner(struct tb_tpl_vm *vm, const struct tb_tpl_args *args, struct tb_val *out) {
  struct tb_val a[1] = {tb_tpl_missing()};
  struct tb_tpl_joiner *j = tb_tpl_alloc(&vm->arena, 1, sizeof *j);
  if (!j) return tb_tpl_no_room(vm);
  j->sep = tb_tpl_literal(", ");
  *out = tb_tpl_ref(TB_VAL_JOINER, j);
  return tb_tpl_bind(vm, "joiner", args, "sep", 0, a) && tb_tpl_arg_str(vm, "joiner's sep", a[0], &j->sep);
}

static bool cycler(struct tb_tpl_vm *vm, const struct tb_tpl_args *args, struct tb_val *out) {
  if (!no_keywords(vm, "cycler()", args)) return false;
  if (!args->n) return tb_tpl_fail(vm, TB_E_FORMAT, "at least one item has to be provided");
  struct tb_tpl_cycler *c = tb_tpl_alloc(&vm->arena, 1, sizeof *c);
  struct tb_val *items = tb_tpl_alloc(&vm->arena, args->n, sizeof *items);
  if (!c || !items) return tb_tpl_no_room(vm);
  memcpy(items, args->pos, args->n * sizeof *items);
  *c = (struct tb_tpl_cycler){.items = items, .n = args->n};
  *out = tb_tpl_ref(TB_VAL_CYCLER, c);
  return true;
}

static bool raise(struct tb_tpl_vm *vm, const struct tb_tpl_args *args) {
  struct tb_val a[1] = {tb_tpl_missing()};
  struct tb_tpl_str message;
  if (!tb_tpl_bind(vm, "raise_exception", args, "message", 1, a) || !tb_tpl_str(vm, a[0], &message)) return false;
  return tb_tpl_fail(vm, TB_E_ARG, "%.*s", message.n < 1000 ? (int)message.n : 1000, message.s);
}

static bool strftime_now(struct tb_tpl_vm *vm, const struct tb_tpl_args *args, struct tb_val *out) {
  struct tb_val a[1] = {tb_tpl_missing()};
  struct tb_tpl_str format;
  struct tb_tpl_text t;
  tb_tpl_text_init(&t, &vm->arena);
  return tb_tpl_bind(vm, "strftime_now", args, "format", 1, a) && tb_tpl_arg_str(vm, "strftime_now's format", a[0], &format) &&
         tb_tpl_strftime(vm, format, &t) && tb_tpl_result(vm, &t, 0, out);
}

static bool call_function(struct tb_tpl_vm *vm, enum tb_tpl_function f, const struct tb_tpl_args *args,
                          struct tb_val *out) {
  switch (f) {
  case TB_FUN_RANGE: return range(vm, args, out);
  case TB_FUN_DICT: return make_dict(vm, TB_VAL_DICT, args, out);
  case TB_FUN_NAMESPACE: return make_dict(vm, TB_VAL_NAMESPACE, args, out);
  case TB_FUN_JOINER: return joiner(vm, args, out);
  case TB_FUN_CYCLER: return cycler(vm, args, out);
  case TB_FUN_RAISE: return raise(vm, args);
  case TB_FUN_STRFTIME: return strftime_now(vm, args, out);
  default: return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "function 'lipsum' is not supported");
  }
}

/* -------------------------------------------------------------------------------------------------------------- macros */

/* A macro's parameter of this name, or n_params. */
static uint32_t macro_param(struct tb_tpl_vm *vm, const struct tb_tpl_macro_code *c, struct tb_tpl_str name) {
  uint32_t i = 0;
  while (i < c->n_params && !tb_tpl_str_eq(vm->t->names[vm->t->keywords[c->params + i]], name)) i++;
  return i;
}

static bool extra_keyword(struct tb_tpl_vm *vm, const struct tb_tpl_macro_code *c, struct tb_tpl_str name) {
  struct tb_tpl_str m = c->name == TB_TPL_ANONYMOUS ? tb_tpl_literal("caller") : vm->t->names[c->name];
  return tb_tpl_fail(vm, TB_E_FORMAT, "macro '%.*s' takes no keyword argument '%.*s'", (int)m.n, m.s, (int)name.n, name.s);
}

/* Keyword arguments: parameters, then caller, then what kwargs collects. */
static bool bind_keywords(struct tb_tpl_vm *vm, const struct tb_tpl_macro_code *c, struct tb_tpl_scope *scope,
                          const struct tb_tpl_args *args, struct tb_tpl_dict *rest) {
  for (size_t i = 0; i < args->n_kw; i++) {
    const struct tb_tpl_kw *kw = &args->kw[i];
    uint32_t p = macro_param(vm, c, kw->name);
    if (p < c->n_params && p >= args->n) {
      if (!tb_tpl_set(vm, scope, vm->t->keywords[c->params + p], kw->v)) return false;
    } else if (c->caller && !c->caller_param && tb_tpl_str_is(kw->name, "caller")) {
      if (!tb_tpl_set(vm, scope, TB_NAME_CALLER, kw->v)) return false;
    } else if (c->kwargs) {
      struct tb_val key = tb_tpl_of_str(&vm->arena, kw->name, 0);
      if (vm->arena.failed || !tb_tpl_dict_put(&vm->arena, rest, key, kw->v)) return tb_tpl_no_room(vm);
    } else {
      return extra_keyword(vm, c, kw->name);
    }
  }
  return true;
}

/* What the body may ask for beyond its parameters. */
static bool bind_extras(struct tb_tpl_vm *vm, const struct tb_tpl_macro_code *c, struct tb_tpl_scope *scope,
                        const struct tb_tpl_args *args, struct tb_tpl_dict *rest) {
  if (c->kwargs && !tb_tpl_set(vm, scope, TB_NAME_KWARGS, tb_tpl_ref(TB_VAL_DICT, rest))) return false;
  if (c->caller && !c->caller_param && !tb_tpl_get(scope, TB_NAME_CALLER) &&
      !tb_tpl_set(vm, scope, TB_NAME_CALLER, tb_tpl_undefined_hint(vm, "No caller defined")))
    return false;
  if (!c->varargs) return true;
  size_t extra = args->n > c->n_params ? args->n - c->n_params : 0;
  struct tb_tpl_list *l = tb_tpl_list_new(&vm->arena, extra);
  if (!l) return tb_tpl_no_room(vm);
  if (extra) memcpy(l->at, args->pos + c->n_params, extra * sizeof *l->at);
  l->n = extra;
  return tb_tpl_set(vm, scope, TB_NAME_VARARGS, tb_tpl_ref(TB_VAL_TUPLE, l));
}

static bool call_macro(struct tb_tpl_vm *vm, const struct tb_tpl_macro *m, const struct tb_tpl_args *args) {
  const struct tb_tpl_macro_code *c = m->code;
  if (args->n > c->n_params && !c->varargs)
    return tb_tpl_fail(vm, TB_E_FORMAT, "macro takes not more than %u argument(s)", c->n_params);
  struct tb_tpl_scope *scope = tb_tpl_scope_new(vm, m->scope);
  struct tb_tpl_dict *rest = tb_tpl_dict_new(&vm->arena, 0);
  if (!scope) return false;
  if (!rest) return tb_tpl_no_room(vm);
  for (uint32_t i = 0; i < c->n_params && i < args->n; i++)
    if (!tb_tpl_set(vm, scope, vm->t->keywords[c->params + i], args->pos[i])) return false;
  return bind_keywords(vm, c, scope, args, rest) && bind_extras(vm, c, scope, args, rest) &&
         tb_tpl_enter_call(vm, c->entry, scope);
}

/* loop(items) inside a recursive loop. */
static bool call_loop(struct tb_tpl_vm *vm, const struct tb_tpl_loop *loop, const struct tb_tpl_args *args) {
  struct tb_val over = tb_tpl_missing();
  if (!loop->recursive)
    return tb_tpl_fail(vm, TB_E_FORMAT, "The loop must have the 'recursive' marker to be called recursively.");
  if (!tb_tpl_bind(vm, "loop()", args, "iterable", 1, &over)) return false;
  vm->loop_depth = loop->depth0 + 1;
  return tb_tpl_enter_call(vm, loop->entry, loop->scope->outer) && tb_tpl_push(vm, over);
}

static bool call_joiner(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, struct tb_val *out) {
  union {
    const void *in;
    struct tb_tpl_joiner *out;
  } j = {.in = v.u.p}; /* a joiner is made to be used up */
  struct tb_tpl_str s = j.out->used ? j.out->sep : tb_tpl_literal("");
  j.out->used = true;
  return tb_tpl_bind(vm, "a joiner", args, "", 0, NULL) && tb_tpl_result_str(vm, s, 0, out);
}

bool tb_tpl_do_call(struct tb_tpl_vm *vm, const struct tb_tpl_shape *shape) {
  struct tb_tpl_args args;
  if (!tb_tpl_take_args(vm, shape, &args)) return false;
  struct tb_val callee = vm->stack[--vm->n_stack], out = tb_tpl_none();
  bool ok;
  switch ((enum tb_tpl_kind)callee.kind) {
  case TB_VAL_MACRO: return call_macro(vm, callee.u.p, &args);
  case TB_VAL_LOOP: return call_loop(vm, callee.u.p, &args);
  case TB_VAL_FUNCTION: ok = call_function(vm, (enum tb_tpl_function)callee.u.i, &args, &out); break;
  case TB_VAL_METHOD: ok = tb_tpl_call_method(vm, callee.u.p, &args, &out); break;
  case TB_VAL_JOINER: ok = call_joiner(vm, callee, &args, &out); break;
  case TB_VAL_UNDEFINED: return tb_tpl_fail_undefined(vm, callee);
  default: return tb_tpl_fail(vm, TB_E_FORMAT, "'%s' object is not callable", tb_tpl_type(callee));
  }
  vm->pc++;
  return ok && tb_tpl_push(vm, out);
}
