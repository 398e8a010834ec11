/* Iteration and lengths, as Python's iter() and len() see the interpreter's values. */
#include "io/template_run.h"
#include "io/unicode_case.h"

bool tb_tpl_iterable(struct tb_val v) {
  switch ((enum tb_tpl_kind)v.kind) {
  case TB_VAL_UNDEFINED:
  case TB_VAL_STR:
  case TB_VAL_LIST:
  case TB_VAL_TUPLE:
  case TB_VAL_DICT:
  case TB_VAL_RANGE:
  case TB_VAL_VIEW:
  case TB_VAL_ITER:
  case TB_VAL_LOOP: return true;
  default: return false;
  }
}

bool tb_tpl_walk(struct tb_tpl_vm *vm, struct tb_val v, struct tb_tpl_walk *w) {
  *w = (struct tb_tpl_walk){.of = v};
  if (tb_tpl_is(v, TB_VAL_LOOP)) return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "iterating over 'loop' is not supported");
  return tb_tpl_iterable(v) || tb_tpl_fail(vm, TB_E_FORMAT, "'%s' object is not iterable", tb_tpl_type(v));
}

struct tb_val tb_tpl_range_at(const struct tb_tpl_range *r, size_t i) {
  return tb_tpl_int(r->start + (int64_t)i * r->step); /* inside [start, stop): no overflow */
}

static bool next_char(struct tb_tpl_vm *vm, struct tb_tpl_walk *w, struct tb_val *item, bool *more) {
  struct tb_tpl_str s = tb_tpl_str_of(w->of);
  size_t used;
  if (!(*more = w->at < s.n)) return true;
  tb_ch_decode(s.s + w->at, s.n - w->at, &used);
  w->at += used;
  return tb_tpl_result_str(vm, tb_tpl_sub(s, w->at - used, w->at), 0, item);
}

static bool next_view(struct tb_tpl_vm *vm, struct tb_tpl_walk *w, struct tb_val *item, bool *more) {
  const struct tb_tpl_view *view = w->of.u.p;
  if (!(*more = w->at < view->dict->n)) return true;
  size_t i = w->at++;
  *item = view->kind == TB_VIEW_KEYS ? view->dict->keys[i] : view->dict->vals[i];
  if (view->kind != TB_VIEW_ITEMS) return true;
  struct tb_tpl_list *pair = tb_tpl_list_new(&vm->arena, 2);
  if (!pair) return tb_tpl_no_room(vm);
  pair->at[0] = view->dict->keys[i];
  pair->at[1] = view->dict->vals[i];
  pair->n = 2;
  *item = tb_tpl_ref(TB_VAL_TUPLE, pair);
  return true;
}

static bool next_iter(struct tb_tpl_walk *w, struct tb_val *item, bool *more) {
  union {
    const void *in;
    struct tb_tpl_iter *out;
  } iter = {.in = w->of.u.p}; /* walking is what uses a one-pass sequence up */
  if ((*more = iter.out->at < iter.out->list->n)) *item = iter.out->list->at[iter.out->at++];
  return true;
}

bool tb_tpl_walk_next(struct tb_tpl_vm *vm, struct tb_tpl_walk *w, struct tb_val *item, bool *more) {
  *more = false;
  if (!tb_tpl_pay(vm, 0)) return false;
  switch ((enum tb_tpl_kind)w->of.kind) {
  case TB_VAL_STR: return next_char(vm, w, item, more);
  case TB_VAL_VIEW: return next_view(vm, w, item, more);
  case TB_VAL_ITER: return next_iter(w, item, more);
  case TB_VAL_LIST:
  case TB_VAL_TUPLE:
    if ((*more = w->at < tb_tpl_list_of(w->of)->n)) *item = tb_tpl_list_of(w->of)->at[w->at++];
    return true;
  case TB_VAL_DICT:
    if ((*more = w->at < tb_tpl_dict_of(w->of)->n)) *item = tb_tpl_dict_of(w->of)->keys[w->at++];
    return true;
  case TB_VAL_RANGE:
    if ((*more = w->at < ((const struct tb_tpl_range *)w->of.u.p)->n)) *item = tb_tpl_range_at(w->of.u.p, w->at++);
    return true;
  default: return true; /* undefined: nothing */
  }
}

bool tb_tpl_to_list(struct tb_tpl_vm *vm, struct tb_val v, struct tb_tpl_list **out) {
  struct tb_tpl_walk w;
  if (!tb_tpl_walk(vm, v, &w)) return false;
  if (!(*out = tb_tpl_list_new(&vm->arena, 0))) return tb_tpl_no_room(vm);
  for (struct tb_val item;;) {
    bool more;
    if (!tb_tpl_walk_next(vm, &w, &item, &more)) return false;
    if (!more) return true;
    if (!tb_tpl_list_push(&vm->arena, *out, item)) return tb_tpl_no_room(vm);
  }
}

struct tb_val tb_tpl_iter_of(struct tb_tpl_vm *vm, const struct tb_tpl_list *l) {
  struct tb_tpl_iter *it = tb_tpl_alloc(&vm->arena, 1, sizeof *it);
  if (!it) return (struct tb_val){.kind = TB_VAL_UNDEFINED};
  it->list = l;
  return tb_tpl_ref(TB_VAL_ITER, it);
}

bool tb_tpl_has_length(struct tb_val v) {
  return tb_tpl_iterable(v) && !tb_tpl_is(v, TB_VAL_ITER) && !tb_tpl_is(v, TB_VAL_LOOP);
}

bool tb_tpl_length(struct tb_tpl_vm *vm, struct tb_val v, size_t *n) {
  *n = 0;
  bool again = false;
  switch ((enum tb_tpl_kind)v.kind) {
  case TB_VAL_UNDEFINED: return true;
  case TB_VAL_STR: *n = tb_tpl_chars(tb_tpl_str_of(v)); return tb_tpl_pay(vm, tb_tpl_str_of(v).n);
  case TB_VAL_LIST:
  case TB_VAL_TUPLE: *n = tb_tpl_list_of(v)->n; return true;
  case TB_VAL_DICT: *n = tb_tpl_dict_of(v)->n; return true;
  case TB_VAL_RANGE: *n = ((const struct tb_tpl_range *)v.u.p)->n; return true;
  case TB_VAL_VIEW: *n = ((const struct tb_tpl_view *)v.u.p)->dict->n; return true;
  case TB_VAL_LOOP: {
    union {
      const void *in;
      struct tb_tpl_loop *out;
    } loop = {.in = v.u.p};
    if (loop.out->filtered) break;
    return tb_tpl_loop_length(vm, loop.out, n, &again);
  }
  default: return tb_tpl_fail(vm, TB_E_FORMAT, "object of type '%s' has no len()", tb_tpl_type(v));
  }
  return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "the length of 'loop' with a condition (use loop.length) is not supported");
}
