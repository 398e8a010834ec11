/* The table of filters, and those that apply other filters and tests by name. */
#include "io/template_filters.h"

#include <string.h>

static bool filter_attr(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, struct tb_val *out) {
  struct tb_val a[1] = {tb_tpl_missing()};
  if (!tb_tpl_bind(vm, "attr", args, "name", 1, a)) return false;
  if (!tb_tpl_is(a[0], TB_VAL_STR)) return tb_tpl_fail(vm, TB_E_FORMAT, "attr needs a name");
  return tb_tpl_attr_only(vm, v, a[0], out);
}

static bool filter_default(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, struct tb_val *out) {
  struct tb_val a[2] = {tb_tpl_missing(), tb_tpl_bool(false)};
  if (!tb_tpl_bind(vm, "default", args, "default_value,boolean", 0, a)) return false;
  if (tb_tpl_is(a[0], TB_VAL_MISSING) && !tb_tpl_result_str(vm, tb_tpl_literal(""), 0, &a[0])) return false;
  *out = tb_tpl_is(v, TB_VAL_UNDEFINED) || (tb_tpl_truth(a[1]) && !tb_tpl_truth(v)) ? a[0] : v;
  return true;
}

static bool filter_length(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, struct tb_val *out) {
  size_t n;
  if (!tb_tpl_bind(vm, "length", args, "", 0, NULL) || !tb_tpl_length(vm, v, &n)) return false;
  *out = tb_tpl_int((int64_t)n);
  return true;
}

static bool filter_tojson(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, struct tb_val *out) {
  return tb_tpl_json(vm, v, args, out);
}

/* ------------------------------------------------------------------------------------------- map, select and their like */

static tb_tpl_filter_fn function_of(uint32_t id);
static bool by_name(tb_tpl_filter_fn f);

/* One of these filters while it runs. */
struct each {
  struct tb_tpl_vm *vm;
  struct tb_tpl_args rest;   /* arguments of the filter or test that is applied */
  tb_tpl_filter_fn filter;   /* map */
  struct tb_val path;        /* attribute, or missing */
  const struct tb_val *fallback;
  bool has_test, keep;       /* select: a test (else truth), and which verdict keeps an item */
  uint32_t test;
};

static bool filter_by_name(struct tb_tpl_vm *vm, struct tb_val name, tb_tpl_filter_fn *f) {
  struct tb_tpl_str s = {0};
  uint32_t id;
  bool known;
  if (!tb_tpl_arg_str(vm, "a filter's name", name, &s)) return false;
  if (!tb_tpl_filter_id(s, &id, &known))
    return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "no filter named '%.*s'", s.n < 100 ? (int)s.n : 100, s.s);
  *f = known ? function_of(id) : NULL;
  /* map of map would recurse as deep as the template says. */
  if (!*f || by_name(*f)) return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "filter '%.*s' (by name) is not supported", (int)s.n, s.s);
  return true;
}

static bool test_by_name(struct tb_tpl_vm *vm, struct tb_val name, uint32_t *id) {
  struct tb_tpl_str s = {0};
  bool known;
  if (!tb_tpl_arg_str(vm, "a test's name", name, &s)) return false;
  if (!tb_tpl_test_id(s, id, &known))
    return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "no test named '%.*s'", s.n < 100 ? (int)s.n : 100, s.s);
  return known || tb_tpl_fail(vm, TB_E_UNSUPPORTED, "test '%.*s' is not supported", (int)s.n, s.s);
}

static bool map_item(struct each *e, struct tb_val item, struct tb_val *out, bool *keep) {
  *keep = true;
  if (e->filter) return e->filter(e->vm, item, &e->rest, out);
  return tb_tpl_path(e->vm, item, e->path, e->fallback, out);
}

static bool select_item(struct each *e, struct tb_val item, struct tb_val *out, bool *keep) {
  struct tb_val subject;
  bool verdict;
  *out = item;
  if (!tb_tpl_path(e->vm, item, e->path, NULL, &subject)) return false;
  verdict = tb_tpl_truth(subject);
  if (e->has_test && !tb_tpl_test(e->vm, e->test, subject, &e->rest, &verdict)) return false;
  *keep = verdict == e->keep;
  return true;
}

static bool run_each(struct each *e, struct tb_val v, bool (*one)(struct each *, struct tb_val, struct tb_val *, bool *),
                     struct tb_val *out) {
  struct tb_tpl_vm *vm = e->vm;
  struct tb_tpl_walk w;
  struct tb_tpl_list *l = tb_tpl_list_new(&vm->arena, 0);
  if (!l) return tb_tpl_no_room(vm);
  *out = tb_tpl_iter_of(vm, l);
  if (!tb_tpl_walk(vm, v, &w)) return false;
  for (struct tb_val item, result;;) {
    bool more, keep = false;
    if (!tb_tpl_walk_next(vm, &w, &item, &more)) return false;
    if (!more) return !vm->arena.failed || tb_tpl_no_room(vm);
    if (!one(e, item, &result, &keep)) return false;
    if (keep && !tb_tpl_list_push(&vm->arena, l, result)) return tb_tpl_no_room(vm);
  }
}

/* Nothing to apply to: an empty sequence, whatever the arguments are. */
static bool nothing(struct tb_tpl_vm *vm, struct tb_val *out) {
  struct tb_tpl_list *l = tb_tpl_list_new(&vm->arena, 0);
  if (l) *out = tb_tpl_iter_of(vm, l);
  return !vm->arena.failed || tb_tpl_no_room(vm);
}

static bool filter_map(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, struct tb_val *out) {
  struct each e = {.vm = vm, .path = tb_tpl_missing()};
  struct tb_val a[2] = {tb_tpl_missing(), tb_tpl_none()};
  if (!tb_tpl_truth(v)) return nothing(vm, out);
  if (args->n) {
    if (!filter_by_name(vm, args->pos[0], &e.filter)) return false;
    e.rest = (struct tb_tpl_args){.pos = args->pos + 1, .n = args->n - 1, .kw = args->kw, .n_kw = args->n_kw};
  } else {
    if (!args->n_kw) return tb_tpl_fail(vm, TB_E_FORMAT, "map requires a filter argument");
    if (!tb_tpl_bind(vm, "map", args, "attribute,default", 1, a)) return false;
    e.path = a[0];
    e.fallback = tb_tpl_is(a[1], TB_VAL_NONE) ? NULL : &a[1];
  }
  return run_each(&e, v, map_item, out);
}

static bool select_or_reject(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, bool attribute,
                             bool keep, struct tb_val *out) {
  struct each e = {.vm = vm, .path = tb_tpl_missing(), .keep = keep};
  size_t at = attribute;
  if (!tb_tpl_truth(v)) return nothing(vm, out);
  if (args->n < at) return tb_tpl_fail(vm, TB_E_FORMAT, "Missing parameter for attribute name");
  if (attribute) e.path = args->pos[0];
  e.has_test = args->n > at;
  if (e.has_test) {
    if (!test_by_name(vm, args->pos[at], &e.test)) return false;
    e.rest = (struct tb_tpl_args){.pos = args->pos + at + 1, .n = args->n - at - 1, .kw = args->kw, .n_kw = args->n_kw};
  }
  return run_each(&e, v, select_item, out);
}

static bool filter_select(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, struct tb_val *out) {
  return select_or_reject(vm, v, args, false, true, out);
}
static bool filter_reject(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, struct tb_val *out) {
  return select_or_reject(vm, v, args, false, false, out);
}
static bool filter_selectattr(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, struct tb_val *out) {
  return select_or_reject(vm, v, args, true, true, out);
}
static bool filter_rejectattr(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, struct tb_val *out) {
  return select_or_reject(vm, v, args, true, false, out);
}

static bool by_name(tb_tpl_filter_fn f) {
  return f == filter_map || f == filter_select || f == filter_reject || f == filter_selectattr || f == filter_rejectattr;
}

/* --------------------------------------------------------------------------------------------------------------- table */

/* All of Jinja2's filters; NULL: not in this version. */
static const struct {
  const char *name;
  tb_tpl_filter_fn run;
} filters[] = {
    {"abs", tb_tpl_filter_abs},
    {"attr", filter_attr},
    {"batch", tb_tpl_filter_batch},
    {"capitalize", tb_tpl_filter_capitalize},
    {"center", tb_tpl_filter_center},
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", tb_tpl_filter_dictsort},
    {"e", tb_tpl_filter_escape},
    {"escape", tb_tpl_filter_escape},
    {"filesizeformat", NULL},
    {"first", tb_tpl_filter_first},
    {"float", tb_tpl_filter_float},
    {"forceescape", tb_tpl_filter_forceescape},
    {"format", tb_tpl_filter_format},
    {"groupby", tb_tpl_filter_groupby},
    {"indent", tb_tpl_filter_indent},
    {"int", tb_tpl_filter_int},
    {"items", tb_tpl_filter_items},
    {"join", tb_tpl_filter_join},
    {"last", tb_tpl_filter_last},
    {"length", filter_length},
    {"list", tb_tpl_filter_list},
    {"lower", tb_tpl_filter_lower},
    {"map", filter_map},
    {"max", tb_tpl_filter_max},
    {"min", tb_tpl_filter_min},
    {"pprint", NULL},
    {"random", NULL},
    {"reject", filter_reject},
    {"rejectattr", filter_rejectattr},
    {"replace", tb_tpl_filter_replace},
    {"reverse", tb_tpl_filter_reverse},
    {"round", tb_tpl_filter_round},
    {"safe", tb_tpl_filter_safe},
    {"select", filter_select},
    {"selectattr", filter_selectattr},
    {"slice", tb_tpl_filter_slice},
    {"sort", tb_tpl_filter_sort},
    {"string", tb_tpl_filter_string},
    {"striptags", NULL},
    {"sum", tb_tpl_filter_sum},
    {"title", tb_tpl_filter_title},
    {"tojson", filter_tojson},
    {"trim", tb_tpl_filter_trim},
    {"truncate", tb_tpl_filter_truncate},
    {"unique", tb_tpl_filter_unique},
    {"upper", tb_tpl_filter_upper},
    {"urlencode", NULL},
    {"urlize", NULL},
    {"wordcount", tb_tpl_filter_wordcount},
    {"wordwrap", NULL},
    {"xmlattr", NULL},
};

static tb_tpl_filter_fn function_of(uint32_t id) { return filters[id].run; }

bool tb_tpl_filter_id(struct tb_tpl_str name, uint32_t *id, bool *known) {
  for (*id = 0; *id < sizeof filters / sizeof filters[0]; ++*id)
    if (tb_tpl_str_is(name, filters[*id].name)) return *known = filters[*id].run != NULL, true;
  return *known = false;
}

bool tb_tpl_filter(struct tb_tpl_vm *vm, uint32_t id, struct tb_val v, const struct tb_tpl_args *args,
                   struct tb_val *out) {
  return filters[id].run(vm, v, args, out);
}
