/* Filters that order, group or pick items by a key. Keys are compared without regard to case unless asked otherwise. */
#include "io/template_filters.h"

#include <string.h>

/* The key of an item: an attribute path, in lower case when `fold` is set and it is text. */
static bool key_of(struct tb_tpl_vm *vm, struct tb_val item, struct tb_val path, bool fold, const struct tb_val *fallback,
                   struct tb_val *key) {
  struct tb_tpl_text t;
  if (!tb_tpl_path(vm, item, path, fallback, key)) return false;
  if (!fold || !tb_tpl_is(*key, TB_VAL_STR)) return true;
  tb_tpl_text_init(&t, &vm->arena);
  return tb_tpl_case(vm, tb_tpl_str_of(*key), TB_CASE_LOWER, &t) && tb_tpl_result(vm, &t, 0, key);
}

/* "a,b.c" gives a list of two keys, anything else a list of one. */
static bool keys_of(struct tb_tpl_vm *vm, struct tb_val item, struct tb_val paths, bool fold, struct tb_val *key) {
  struct tb_tpl_list *l = tb_tpl_list_new(&vm->arena, 1);
  struct tb_val k, path = paths;
  if (!l) return tb_tpl_no_room(vm);
  *key = tb_tpl_ref(TB_VAL_LIST, l);
  bool text = tb_tpl_is(paths, TB_VAL_STR);
  struct tb_tpl_str s = text ? tb_tpl_str_of(paths) : tb_tpl_literal("");
  for (size_t from = 0, i = 0; i <= s.n; i++) {
    if (i < s.n && s.s[i] != ',') continue;
    if (text && !tb_tpl_result_str(vm, tb_tpl_sub(s, from, i), 0, &path)) return false;
    if (!key_of(vm, item, path, fold, NULL, &k)) return false;
    if (!tb_tpl_list_push(&vm->arena, l, k)) return tb_tpl_no_room(vm);
    from = i + 1;
  }
  return true;
}

static struct tb_val *new_keys(struct tb_tpl_vm *vm, size_t n) {
  struct tb_val *keys = tb_tpl_alloc(&vm->arena, n, sizeof *keys);
  if (!keys) tb_tpl_no_room(vm);
  return keys;
}

TB_FILTER(sort) {
  struct tb_val a[3] = {tb_tpl_bool(false), tb_tpl_bool(false), tb_tpl_none()}, *keys;
  struct tb_tpl_list *l;
  if (!tb_tpl_bind(vm, "sort", args, "reverse,case_sensitive,attribute", 0, a) || !tb_tpl_to_list(vm, v, &l)) return false;
  if (!(keys = new_keys(vm, l->n))) return false;
  for (size_t i = 0; i < l->n; i++)
    if (!keys_of(vm, l->at[i], a[2], !tb_tpl_truth(a[1]), &keys[i])) return false;
  *out = tb_tpl_ref(TB_VAL_LIST, l);
  return tb_tpl_sort(vm, l->at, keys, l->n, tb_tpl_truth(a[0]));
}

TB_FILTER(dictsort) {
  struct tb_val a[3] = {tb_tpl_bool(false), tb_tpl_missing(), tb_tpl_bool(false)}, *keys;
  struct tb_tpl_str by = tb_tpl_literal("key");
  struct tb_tpl_list *l;
  if (!tb_tpl_bind(vm, "dictsort", args, "case_sensitive,by,reverse", 0, a) ||
      !tb_tpl_arg_str(vm, "dictsort's by", a[1], &by))
    return false;
  bool value = tb_tpl_str_is(by, "value");
  if (!value && !tb_tpl_str_is(by, "key"))
    return tb_tpl_fail(vm, TB_E_FORMAT, "You can only sort by either \"key\" or \"value\"");
  if (tb_tpl_is(v, TB_VAL_UNDEFINED)) return tb_tpl_fail_undefined(vm, v);
  if (!tb_tpl_is(v, TB_VAL_DICT))
    return tb_tpl_fail(vm, TB_E_FORMAT, "'%s' object has no attribute 'items'", tb_tpl_type(v));
  struct tb_tpl_view view = {.dict = v.u.p, .kind = TB_VIEW_ITEMS};
  if (!tb_tpl_to_list(vm, tb_tpl_ref(TB_VAL_VIEW, &view), &l) || !(keys = new_keys(vm, l->n))) return false;
  for (size_t i = 0; i < l->n; i++)
    if (!key_of(vm, tb_tpl_list_of(l->at[i])->at[value], tb_tpl_none(), !tb_tpl_truth(a[0]), NULL, &keys[i])) return false;
  *out = tb_tpl_ref(TB_VAL_LIST, l);
  return tb_tpl_sort(vm, l->at, keys, l->n, tb_tpl_truth(a[2]));
}

static bool extreme(struct tb_tpl_vm *vm, struct tb_val v, const struct tb_tpl_args *args, enum tb_tpl_compare op,
                    struct tb_val *out) {
  struct tb_val a[2] = {tb_tpl_bool(false), tb_tpl_none()}, key, best = tb_tpl_none();
  struct tb_tpl_list *l;
  bool better;
  if (!tb_tpl_bind(vm, op == TB_CMP_LT ? "min" : "max", args, "case_sensitive,attribute", 0, a) || !tb_tpl_to_list(vm, v, &l))
    return false;
  *out = tb_tpl_undefined_hint(vm, "No aggregated item, sequence was empty.");
  for (size_t i = 0; i < l->n; i++) {
    if (!key_of(vm, l->at[i], a[1], !tb_tpl_truth(a[0]), NULL, &key)) return false;
    better = i == 0;
    if (!better && !tb_tpl_compare(vm, op, key, best, &better)) return false;
    if (better) best = key, *out = l->at[i];
  }
  return true;
}

TB_FILTER(min) { return extreme(vm, v, args, TB_CMP_LT, out); }
TB_FILTER(max) { return extreme(vm, v, args, TB_CMP_GT, out); }

TB_FILTER(unique) {
  struct tb_val a[2] = {tb_tpl_bool(false), tb_tpl_none()}, key;
  struct tb_tpl_list *l, *kept = tb_tpl_list_new(&vm->arena, 0);
  struct tb_tpl_dict *seen = tb_tpl_dict_new(&vm->arena, 0);
  if (!kept || !seen) return tb_tpl_no_room(vm);
  if (!tb_tpl_bind(vm, "unique", args, "case_sensitive,attribute", 0, a) || !tb_tpl_to_list(vm, v, &l)) return false;
  for (size_t i = 0; i < l->n; i++) {
    if (!key_of(vm, l->at[i], a[1], !tb_tpl_truth(a[0]), NULL, &key)) return false;
    if (!tb_tpl_hashable(key)) return tb_tpl_fail(vm, TB_E_FORMAT, "unhashable type: '%s'", tb_tpl_type(key));
    if (tb_tpl_dict_get(seen, key)) continue;
    if (!tb_tpl_dict_put(&vm->arena, seen, key, key) || !tb_tpl_list_push(&vm->arena, kept, l->at[i])) return tb_tpl_no_room(vm);
  }
  *out = tb_tpl_iter_of(vm, kept);
  return !vm->arena.failed || tb_tpl_no_room(vm);
}

/* A (grouper, list) tuple, whose parts also have these names. */
static bool push_group(struct tb_tpl_vm *vm, struct tb_tpl_list *groups, struct tb_val grouper, const struct tb_val *items,
                       size_t n) {
  struct tb_tpl_list *pair = tb_tpl_list_new(&vm->arena, 2), *l = tb_tpl_list_new(&vm->arena, n);
  if (!pair || !l) return tb_tpl_no_room(vm);
  memcpy(l->at, items, n * sizeof *items);
  l->n = n;
  pair->at[0] = grouper;
  pair->at[1] = tb_tpl_ref(TB_VAL_LIST, l);
  pair->n = 2;
  struct tb_val group = tb_tpl_ref(TB_VAL_TUPLE, pair);
  group.flags = TB_VAL_GROUP;
  return tb_tpl_list_push(&vm->arena, groups, group) || tb_tpl_no_room(vm);
}

TB_FILTER(groupby) {
  struct tb_val a[3] = {tb_tpl_missing(), tb_tpl_none(), tb_tpl_bool(false)}, *keys, grouper;
  struct tb_tpl_list *l, *groups = tb_tpl_list_new(&vm->arena, 0);
  if (!groups) return tb_tpl_no_room(vm);
  if (!tb_tpl_bind(vm, "groupby", args, "attribute,default,case_sensitive", 1, a) || !tb_tpl_to_list(vm, v, &l)) return false;
  if (!(keys = new_keys(vm, l->n))) return false;
  const struct tb_val *fallback = tb_tpl_is(a[1], TB_VAL_NONE) ? NULL : &a[1];
  bool fold = !tb_tpl_truth(a[2]);
  for (size_t i = 0; i < l->n; i++)
    if (!key_of(vm, l->at[i], a[0], fold, fallback, &keys[i])) return false;
  if (!tb_tpl_sort(vm, l->at, keys, l->n, false)) return false;
  for (size_t from = 0, to; from < l->n; from = to) {
    bool same = true;
    for (to = from + 1; to < l->n; to++) {
      if (!tb_tpl_equal(vm, keys[from], keys[to], &same)) return false;
      if (!same) break;
    }
    if (!key_of(vm, l->at[from], a[0], false, fallback, &grouper)) return false;
    if (!push_group(vm, groups, grouper, l->at + from, to - from)) return false;
  }
  *out = tb_tpl_ref(TB_VAL_LIST, groups);
  return true;
}
