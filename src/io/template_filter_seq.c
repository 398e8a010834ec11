/* Filters on sequences. */
#include "io/template_filters.h"

TB_FILTER(list) {
  struct tb_tpl_list *l;
  if (!tb_tpl_bind(vm, "list", args, "", 0, NULL) || !tb_tpl_to_list(vm, v, &l)) return false;
  *out = tb_tpl_ref(TB_VAL_LIST, l);
  return true;
}

TB_FILTER(first) {
  struct tb_tpl_walk w;
  bool more;
  if (!tb_tpl_bind(vm, "first", args, "", 0, NULL) || !tb_tpl_walk(vm, v, &w) || !tb_tpl_walk_next(vm, &w, out, &more))
    return false;
  if (!more) *out = tb_tpl_undefined_hint(vm, "No first item, sequence was empty.");
  return true;
}

TB_FILTER(last) {
  struct tb_tpl_list *l;
  if (!tb_tpl_bind(vm, "last", args, "", 0, NULL)) return false;
  if (!tb_tpl_has_length(v)) return tb_tpl_fail(vm, TB_E_FORMAT, "'%s' object is not reversible", tb_tpl_type(v));
  if (!tb_tpl_to_list(vm, v, &l)) return false;
  *out = l->n ? l->at[l->n - 1] : tb_tpl_undefined_hint(vm, "No last item, sequence was empty.");
  return true;
}

/* Text is reversed; of anything else the items in reverse order, once. */
TB_FILTER(reverse) {
  struct tb_val part[3] = {tb_tpl_none(), tb_tpl_none(), tb_tpl_int(-1)};
  struct tb_tpl_list *l;
  if (!tb_tpl_bind(vm, "reverse", args, "", 0, NULL)) return false;
  if (tb_tpl_is(v, TB_VAL_STR)) return tb_tpl_slice(vm, v, part, out);
  if (!tb_tpl_iterable(v)) return tb_tpl_fail(vm, TB_E_FORMAT, "argument must be iterable");
  if (!tb_tpl_to_list(vm, v, &l)) return false;
  for (size_t i = 0; i < l->n / 2; i++) {
    struct tb_val x = l->at[i];
    l->at[i] = l->at[l->n - 1 - i];
    l->at[l->n - 1 - i] = x;
  }
  *out = tb_tpl_is(v, TB_VAL_ITER) ? tb_tpl_ref(TB_VAL_LIST, l) : tb_tpl_iter_of(vm, l);
  return !vm->arena.failed || tb_tpl_no_room(vm);
}

TB_FILTER(items) {
  struct tb_tpl_list *l;
  if (!tb_tpl_bind(vm, "items", args, "", 0, NULL)) return false;
  if (!tb_tpl_is(v, TB_VAL_DICT) && !tb_tpl_is(v, TB_VAL_UNDEFINED))
    return tb_tpl_fail(vm, TB_E_FORMAT, "Can only get item pairs from a mapping.");
  struct tb_tpl_view view = {.dict = v.u.p, .kind = TB_VIEW_ITEMS};
  struct tb_val pairs = tb_tpl_is(v, TB_VAL_DICT) ? tb_tpl_ref(TB_VAL_VIEW, &view) : v;
  if (!tb_tpl_to_list(vm, pairs, &l)) return false;
  *out = tb_tpl_iter_of(vm, l);
  return !vm->arena.failed || tb_tpl_no_room(vm);
}

TB_FILTER(join) {
  struct tb_val a[2] = {tb_tpl_missing(), tb_tpl_none()}, item;
  struct tb_tpl_str sep = tb_tpl_literal(""), s;
  struct tb_tpl_walk w;
  struct tb_tpl_text t;
  bool more;
  tb_tpl_text_init(&t, &vm->arena);
  if (!tb_tpl_bind(vm, "join", args, "d,attribute", 0, a)) return false;
  if (!tb_tpl_is(a[0], TB_VAL_MISSING) && !tb_tpl_str(vm, a[0], &sep)) return false;
  if (!tb_tpl_walk(vm, v, &w)) return false;
  for (size_t i = 0;; i++) {
    if (!tb_tpl_walk_next(vm, &w, &item, &more)) return false;
    if (!more) break;
    if (!tb_tpl_path(vm, item, a[1], NULL, &item) || !tb_tpl_str(vm, item, &s)) return false;
    if ((i && !tb_tpl_text_put_str(&t, sep)) || !tb_tpl_text_put_str(&t, s)) return tb_tpl_no_room(vm);
  }
  return tb_tpl_result(vm, &t, 0, out) && tb_tpl_pay(vm, t.n);
}

TB_FILTER(sum) {
  struct tb_val a[2] = {tb_tpl_none(), tb_tpl_int(0)}, item;
  struct tb_tpl_walk w;
  bool more;
  if (!tb_tpl_bind(vm, "sum", args, "attribute,start", 0, a) || !tb_tpl_walk(vm, v, &w)) return false;
  if (tb_tpl_is(a[1], TB_VAL_STR)) return tb_tpl_fail(vm, TB_E_FORMAT, "sum() can't sum strings [use ''.join(seq) instead]");
  for (*out = a[1];;) {
    if (!tb_tpl_walk_next(vm, &w, &item, &more)) return false;
    if (!more) return true;
    if (!tb_tpl_path(vm, item, a[0], NULL, &item) || !tb_tpl_binary(vm, TB_BIN_ADD, *out, item, out)) return false;
  }
}

/* A list of items [from, to) of l, filled up with `fill` (unless none) to `want`. */
static bool push_group(struct tb_tpl_vm *vm, struct tb_tpl_list *groups, const struct tb_tpl_list *l, size_t from, size_t to,
                       struct tb_val fill, size_t want) {
  size_t extra = tb_tpl_is(fill, TB_VAL_NONE) || want < to - from ? 0 : want - (to - from);
  struct tb_tpl_list *g = tb_tpl_list_new(&vm->arena, to - from + extra);
  if (!g) return tb_tpl_no_room(vm);
  for (; from < to; from++) g->at[g->n++] = l->at[from];
  while (extra--) g->at[g->n++] = fill;
  return tb_tpl_list_push(&vm->arena, groups, tb_tpl_ref(TB_VAL_LIST, g)) || tb_tpl_no_room(vm);
}

TB_FILTER(batch) {
  struct tb_val a[2] = {tb_tpl_missing(), tb_tpl_none()};
  struct tb_tpl_list *l, *groups = tb_tpl_list_new(&vm->arena, 0);
  int64_t size = 0;
  if (!groups) return tb_tpl_no_room(vm);
  if (!tb_tpl_bind(vm, "batch", args, "linecount,fill_with", 1, a) || !tb_tpl_arg_int(vm, "batch's linecount", a[0], &size) ||
      !tb_tpl_to_list(vm, v, &l))
    return false;
  if (size < 1 || size > 1000000) return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "batches of this size are not supported");
  for (size_t i = 0; i < l->n; i += (size_t)size)
    if (!push_group(vm, groups, l, i, l->n - i < (size_t)size ? l->n : i + (size_t)size, a[1], (size_t)size)) return false;
  *out = tb_tpl_iter_of(vm, groups);
  return !vm->arena.failed || tb_tpl_no_room(vm);
}

TB_FILTER(slice) {
  struct tb_val a[2] = {tb_tpl_missing(), tb_tpl_none()};
  struct tb_tpl_list *l, *groups = tb_tpl_list_new(&vm->arena, 0);
  int64_t slices = 0;
  if (!groups) return tb_tpl_no_room(vm);
  if (!tb_tpl_bind(vm, "slice", args, "slices,fill_with", 1, a) || !tb_tpl_arg_int(vm, "slice's slices", a[0], &slices) ||
      !tb_tpl_to_list(vm, v, &l))
    return false;
  if (slices < 1 || slices > 100000) return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "this number of slices is not supported");
  size_t each = l->n / (size_t)slices, longer = l->n % (size_t)slices;
  for (size_t i = 0, from = 0; i < (size_t)slices; i++) {
    size_t to = from + each + (i < longer);
    if (!tb_tpl_pay(vm, 0) || !push_group(vm, groups, l, from, to, i < longer ? tb_tpl_none() : a[1], each + 1)) return false;
    from = to;
  }
  *out = tb_tpl_iter_of(vm, groups);
  return !vm->arena.failed || tb_tpl_no_room(vm);
}
