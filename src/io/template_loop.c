/* For loops while they run, and the variable `loop`. A loop with a condition finds its items lazily, as Jinja2's
 * generator does: the condition may depend on what the body changed in a namespace. */
#include "io/template_run.h"

#include <string.h>

bool tb_tpl_loop_begin(struct tb_tpl_vm *vm, struct tb_val over, unsigned bits) {
  struct tb_tpl_loop *loop = tb_tpl_alloc(&vm->arena, 1, sizeof *loop);
  if (!loop) return tb_tpl_no_room(vm);
  if (!tb_tpl_walk(vm, over, &loop->source)) return false;
  if (!(loop->scope = tb_tpl_scope_new(vm, vm->scope))) return false;
  loop->source_from = tb_tpl_is(over, TB_VAL_ITER) ? ((const struct tb_tpl_iter *)over.u.p)->at : 0;
  loop->outer = vm->loop;
  loop->index0 = -1;
  loop->filtered = bits & TB_FOR_FILTER;
  loop->recursive = bits & TB_FOR_RECURSIVE;
  loop->entry = vm->pc;
  loop->filter_pc = vm->pc + 2;
  if (loop->filtered && !(loop->filter_scope = tb_tpl_scope_new(vm, vm->scope))) return false;
  loop->depth0 = loop->recursive ? vm->loop_depth : 0;
  vm->loop = loop;
  vm->scope = loop->scope;
  return true;
}

/* ------------------------------------------------------------------------------------------------------ looking ahead */

static size_t ready(const struct tb_tpl_loop *loop) { return loop->ready.n - loop->ready_at; }

static bool keep(struct tb_tpl_vm *vm, struct tb_tpl_loop *loop, struct tb_val item) {
  if (loop->ready_at == loop->ready.n) loop->ready_at = loop->ready.n = 0;
  return tb_tpl_list_push(&vm->arena, &loop->ready, item) || tb_tpl_no_room(vm);
}

/* Makes `want` items ready unless the source ends before. *again: the filter has been entered for that. */
static bool look_ahead(struct tb_tpl_vm *vm, struct tb_tpl_loop *loop, size_t want, bool *again) {
  *again = false;
  if (loop->done || ready(loop) >= want) return true;
  if (loop->filtered) {
    loop->want = want;
    *again = true;
    return tb_tpl_enter_filter(vm, loop);
  }
  while (!loop->done && ready(loop) < want) {
    struct tb_val item;
    bool more;
    if (!tb_tpl_walk_next(vm, &loop->source, &item, &more)) return false;
    if (!more) loop->done = true;
    else if (!keep(vm, loop, item)) return false;
  }
  return true;
}

bool tb_tpl_loop_source(struct tb_tpl_vm *vm) {
  struct tb_tpl_loop *loop = vm->calls[vm->n_calls - 1].filtering;
  bool more;
  if (!tb_tpl_walk_next(vm, &loop->source, &loop->candidate, &more)) return false;
  if (!more) {
    loop->done = true;
    tb_tpl_leave(vm);
    return true;
  }
  vm->pc++;
  return tb_tpl_push(vm, loop->candidate);
}

bool tb_tpl_loop_accept(struct tb_tpl_vm *vm, struct tb_val verdict, int32_t back) {
  struct tb_tpl_loop *loop = vm->calls[vm->n_calls - 1].filtering;
  if (tb_tpl_truth(verdict) && !keep(vm, loop, loop->candidate)) return false;
  if (ready(loop) >= loop->want) tb_tpl_leave(vm);
  else vm->pc = (size_t)((int64_t)vm->pc + back);
  return true;
}

bool tb_tpl_loop_next(struct tb_tpl_vm *vm, struct tb_val *item, bool *more, bool *again) {
  struct tb_tpl_loop *loop = vm->loop;
  *more = false;
  if (!look_ahead(vm, loop, 1, again)) return false;
  if (*again || !ready(loop)) return true;
  *item = loop->ready.at[loop->ready_at++];
  *more = true;
  loop->before = loop->current;
  loop->current = *item;
  loop->index0++;
  loop->scope->n = 0; /* every pass starts from the outer values */
  return tb_tpl_set(vm, loop->scope, TB_NAME_LOOP, tb_tpl_ref(TB_VAL_LOOP, loop));
}

/* --------------------------------------------------------------------------------------------------- the variable loop */

bool tb_tpl_loop_length(struct tb_tpl_vm *vm, struct tb_tpl_loop *loop, size_t *n, bool *again) {
  *again = false;
  if (!loop->filtered && tb_tpl_has_length(loop->source.of)) return tb_tpl_length(vm, loop->source.of, n);
  if (!look_ahead(vm, loop, SIZE_MAX, again)) return false;
  *n = (size_t)(loop->index0 + 1) + ready(loop);
  return true;
}

static bool neighbour(struct tb_tpl_vm *vm, struct tb_tpl_loop *loop, bool next, struct tb_val *out, bool *again) {
  *again = false;
  if (next) {
    if (!look_ahead(vm, loop, 1, again) || *again) return !vm->status;
    *out = ready(loop) ? loop->ready.at[loop->ready_at] : tb_tpl_undefined_hint(vm, "there is no next item");
  } else {
    *out = loop->index0 > 0 ? loop->before : tb_tpl_undefined_hint(vm, "there is no previous item");
  }
  return true;
}

bool tb_tpl_loop_attr(struct tb_tpl_vm *vm, struct tb_tpl_loop *loop, struct tb_tpl_str name, struct tb_val *out,
                      bool *again) {
  size_t n;
  *again = false;
  *out = tb_tpl_missing();
  if (tb_tpl_str_is(name, "index")) *out = tb_tpl_int(loop->index0 + 1);
  else if (tb_tpl_str_is(name, "index0")) *out = tb_tpl_int(loop->index0);
  else if (tb_tpl_str_is(name, "first")) *out = tb_tpl_bool(loop->index0 == 0);
  else if (tb_tpl_str_is(name, "depth")) *out = tb_tpl_int((int64_t)loop->depth0 + 1);
  else if (tb_tpl_str_is(name, "depth0")) *out = tb_tpl_int(loop->depth0);
  else if (tb_tpl_str_is(name, "previtem")) return neighbour(vm, loop, false, out, again);
  else if (tb_tpl_str_is(name, "nextitem")) return neighbour(vm, loop, true, out, again);
  if (tb_tpl_str_is(name, "last")) {
    if (!look_ahead(vm, loop, 1, again)) return false;
    *out = tb_tpl_bool(!ready(loop));
  }
  bool length = tb_tpl_str_is(name, "length"), rev = tb_tpl_str_is(name, "revindex");
  if (!length && !rev && !tb_tpl_str_is(name, "revindex0")) return true;
  if (!tb_tpl_loop_length(vm, loop, &n, again)) return false;
  *out = tb_tpl_int((int64_t)n - (length ? 0 : rev ? loop->index0 : loop->index0 + 1));
  return true;
}

static bool changed(struct tb_tpl_vm *vm, struct tb_tpl_loop *loop, const struct tb_tpl_args *args, struct tb_val *out) {
  bool same = loop->has_changed && loop->n_changed == args->n;
  for (size_t i = 0; same && i < args->n; i++)
    if (!tb_tpl_equal(vm, loop->changed[i], args->pos[i], &same)) return false;
  *out = tb_tpl_bool(!same);
  if (same) return true;
  if (!(loop->changed = tb_tpl_alloc(&vm->arena, args->n, sizeof *loop->changed))) return tb_tpl_no_room(vm);
  if (args->n) memcpy(loop->changed, args->pos, args->n * sizeof *loop->changed);
  loop->n_changed = args->n;
  return loop->has_changed = true;
}

bool tb_tpl_loop_method(struct tb_tpl_vm *vm, struct tb_tpl_loop *loop, struct tb_tpl_str name,
                        const struct tb_tpl_args *args, struct tb_val *out) {
  if (args->n_kw) return tb_tpl_fail(vm, TB_E_FORMAT, "loop.%.*s() takes no keyword arguments", (int)name.n, name.s);
  if (tb_tpl_str_is(name, "changed")) return changed(vm, loop, args, out);
  if (!args->n) return tb_tpl_fail(vm, TB_E_FORMAT, "no items for cycling given");
  *out = args->pos[(size_t)loop->index0 % args->n];
  return true;
}
