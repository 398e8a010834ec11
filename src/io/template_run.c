/* The stack machine that renders a compiled template. It does not recurse: macros and recursive loops have a stack of
 * their own (vm->calls). */
#include "io/template_run.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { BYTES_PER_STEP = 64 };

/* ------------------------------------------------------------------------------------------------- failing and budgets */

bool tb_tpl_fail(struct tb_tpl_vm *vm, enum tb_status status, const char *fmt, ...) {
  char text[sizeof((struct tb_error *)0)->text];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  vm->status = tb_fail(vm->err, status, "line %u: %s", vm->line, text);
  return false;
}

bool tb_tpl_no_room(struct tb_tpl_vm *vm) {
  if (vm->arena.failed == TB_E_NOMEM) return tb_tpl_fail(vm, TB_E_NOMEM, "no memory to render the template");
  return tb_tpl_fail(vm, TB_E_LIMIT, "rendering needs more than %zu MiB", vm->arena.limit >> 20);
}

bool tb_tpl_pay(struct tb_tpl_vm *vm, size_t bytes) {
  uint64_t steps = 1 + bytes / BYTES_PER_STEP;
  if (vm->steps < steps) return tb_tpl_fail(vm, TB_E_LIMIT, "rendering takes too many steps");
  vm->steps -= steps;
  return true;
}

/* ------------------------------------------------------------------------------------------------------------- stacks */

/* Doubles one of the machine's stacks. */
static bool deepen(struct tb_tpl_vm *vm, void **p, size_t n, size_t *cap, size_t size) {
  if (n < *cap) return true;
  size_t grown = *cap ? *cap * 2 : 16;
  void *q = tb_tpl_alloc(&vm->arena, grown, size);
  if (!q) return tb_tpl_no_room(vm);
  if (n) memcpy(q, *p, n * size);
  *p = q;
  *cap = grown;
  return true;
}

bool tb_tpl_push(struct tb_tpl_vm *vm, struct tb_val v) {
  void *p = vm->stack;
  if (!deepen(vm, &p, vm->n_stack, &vm->cap_stack, sizeof v)) return false;
  vm->stack = p;
  vm->stack[vm->n_stack++] = v;
  return true;
}

static struct tb_val pop(struct tb_tpl_vm *vm) { return vm->stack[--vm->n_stack]; }

bool tb_tpl_buffer_push(struct tb_tpl_vm *vm) {
  void *p = vm->buffers;
  if (!deepen(vm, &p, vm->n_buffers, &vm->cap_buffers, sizeof *vm->buffers)) return false;
  vm->buffers = p;
  struct tb_tpl_text *t = tb_tpl_alloc(&vm->arena, 1, sizeof *t);
  if (!t) return tb_tpl_no_room(vm);
  tb_tpl_text_init(t, &vm->arena);
  vm->buffers[vm->n_buffers++] = t;
  return true;
}

/* The text of the current buffer becomes a value; output goes to the buffer below again. */
static bool buffer_pop(struct tb_tpl_vm *vm) {
  struct tb_tpl_text *t = vm->buffers[--vm->n_buffers];
  struct tb_tpl_str s = tb_tpl_text_str(t);
  s.tail = t->n ? t : NULL;
  struct tb_val v;
  return tb_tpl_result_str(vm, s, 0, &v) && tb_tpl_push(vm, v);
}

static bool push_return(struct tb_tpl_vm *vm, size_t pc, struct tb_tpl_loop *filtering) {
  if (vm->n_calls == TB_TEMPLATE_CALLS)
    return tb_tpl_fail(vm, TB_E_LIMIT, "macro calls nested deeper than %d", TB_TEMPLATE_CALLS);
  void *p = vm->calls;
  if (!deepen(vm, &p, vm->n_calls, &vm->cap_calls, sizeof *vm->calls)) return false;
  vm->calls = p;
  vm->calls[vm->n_calls++] =
      (struct tb_tpl_return){.pc = pc, .scope = vm->scope, .loop = vm->loop, .filtering = filtering};
  return true;
}

bool tb_tpl_enter_call(struct tb_tpl_vm *vm, size_t entry, struct tb_tpl_scope *scope) {
  if (!push_return(vm, vm->pc + 1, NULL) || !tb_tpl_buffer_push(vm)) return false;
  vm->scope = scope;
  vm->loop = NULL;
  vm->pc = entry;
  return true;
}

bool tb_tpl_enter_filter(struct tb_tpl_vm *vm, struct tb_tpl_loop *loop) {
  if (!push_return(vm, vm->pc, loop)) return false;
  vm->scope = loop->filter_scope;
  vm->scope->n = 0;
  vm->pc = loop->filter_pc;
  return true;
}

void tb_tpl_leave(struct tb_tpl_vm *vm) {
  struct tb_tpl_return *r = &vm->calls[--vm->n_calls];
  vm->pc = r->pc;
  vm->scope = r->scope;
  vm->loop = r->loop;
}

/* ----------------------------------------------------------------------------------------------------------- variables */

struct tb_tpl_scope *tb_tpl_scope_new(struct tb_tpl_vm *vm, struct tb_tpl_scope *outer) {
  struct tb_tpl_scope *s = tb_tpl_alloc(&vm->arena, 1, sizeof *s);
  if (!s) return tb_tpl_no_room(vm), NULL;
  s->outer = outer;
  return s;
}

struct tb_val *tb_tpl_get(struct tb_tpl_scope *scope, uint32_t name) {
  for (size_t i = 0; i < scope->n; i++)
    if (scope->vars[i].name == name) return &scope->vars[i].v;
  return NULL;
}

bool tb_tpl_set(struct tb_tpl_vm *vm, struct tb_tpl_scope *scope, uint32_t name, struct tb_val v) {
  struct tb_val *old = tb_tpl_get(scope, name);
  if (old) return *old = v, true;
  void *p = scope->vars;
  if (!deepen(vm, &p, scope->n, &scope->cap, sizeof *scope->vars)) return false;
  scope->vars = p;
  scope->vars[scope->n++] = (struct tb_tpl_var){.name = name, .v = v};
  return true;
}

static bool load(struct tb_tpl_vm *vm, uint32_t name, struct tb_val *out) {
  size_t looked = 0;
  for (struct tb_tpl_scope *s = vm->scope; s; s = s->outer) {
    struct tb_val *v = tb_tpl_get(s, name);
    if (v) return *out = *v, true;
    looked += s->n;
  }
  *out = vm->globals[name];
  if (tb_tpl_is(*out, TB_VAL_MISSING) || vm->t->hidden[name]) *out = tb_tpl_undefined_name(vm, vm->t->names[name]);
  return tb_tpl_pay(vm, looked) && (!vm->arena.failed || tb_tpl_no_room(vm));
}

static bool ns_store(struct tb_tpl_vm *vm, const struct tb_tpl_ins *ins) {
  struct tb_val v = pop(vm), ns;
  if (!load(vm, (uint32_t)ins->arg, &ns)) return false;
  if (!tb_tpl_is(ns, TB_VAL_NAMESPACE))
    return tb_tpl_fail(vm, TB_E_FORMAT, "cannot assign attribute on non-namespace object");
  union {
    const void *in;
    struct tb_tpl_dict *out;
  } dict = {.in = ns.u.p}; /* namespaces are what a template may change */
  return tb_tpl_dict_put(&vm->arena, dict.out, vm->t->consts[ins->b], v) || tb_tpl_no_room(vm);
}

static bool unpack(struct tb_tpl_vm *vm, size_t want) {
  struct tb_tpl_list *l;
  if (!tb_tpl_to_list(vm, pop(vm), &l)) return false;
  if (l->n < want)
    return tb_tpl_fail(vm, TB_E_FORMAT, "not enough values to unpack (expected %zu, got %zu)", want, l->n);
  if (l->n > want) return tb_tpl_fail(vm, TB_E_FORMAT, "too many values to unpack (expected %zu)", want);
  while (want)
    if (!tb_tpl_push(vm, l->at[--want])) return false;
  return true;
}

/* ------------------------------------------------------------------------------------------------------ building values */

static bool build_list(struct tb_tpl_vm *vm, enum tb_tpl_kind kind, size_t n) {
  struct tb_tpl_list *l = tb_tpl_list_new(&vm->arena, n);
  if (!l) return tb_tpl_no_room(vm);
  vm->n_stack -= n;
  if (n) memcpy(l->at, vm->stack + vm->n_stack, n * sizeof *l->at);
  l->n = n;
  return tb_tpl_push(vm, tb_tpl_ref(kind, l));
}

static bool build_dict(struct tb_tpl_vm *vm, size_t n) {
  struct tb_tpl_dict *d = tb_tpl_dict_new(&vm->arena, n);
  if (!d) return tb_tpl_no_room(vm);
  vm->n_stack -= 2 * n;
  for (size_t i = 0; i < n; i++) {
    struct tb_val key = vm->stack[vm->n_stack + 2 * i];
    if (!tb_tpl_hashable(key)) return tb_tpl_fail(vm, TB_E_FORMAT, "unhashable type: '%s'", tb_tpl_type(key));
    if (!tb_tpl_dict_put(&vm->arena, d, key, vm->stack[vm->n_stack + 2 * i + 1])) return tb_tpl_no_room(vm);
  }
  return tb_tpl_push(vm, tb_tpl_ref(TB_VAL_DICT, d));
}

static bool concat(struct tb_tpl_vm *vm, size_t n) {
  struct tb_tpl_str all = tb_tpl_literal(""), part;
  struct tb_val v;
  for (size_t i = vm->n_stack - n; i < vm->n_stack; i++) {
    if (!tb_tpl_str(vm, vm->stack[i], &part) || !tb_tpl_pay(vm, part.n)) return false;
    if (!tb_tpl_concat(&vm->arena, all, part, &all)) return tb_tpl_no_room(vm);
  }
  vm->n_stack -= n;
  return tb_tpl_result_str(vm, all, 0, &v) && tb_tpl_push(vm, v);
}

static bool slice(struct tb_tpl_vm *vm, unsigned mask) {
  struct tb_val part[3] = {tb_tpl_none(), tb_tpl_none(), tb_tpl_none()}, out;
  for (int i = 2; i >= 0; i--)
    if (mask >> i & 1) part[i] = pop(vm);
  return tb_tpl_slice(vm, pop(vm), part, &out) && tb_tpl_push(vm, out);
}

/* -------------------------------------------------------------------------------------------------------------- output */

static bool output_fits(struct tb_tpl_vm *vm, const struct tb_tpl_text *t) {
  if (vm->arena.failed) return tb_tpl_no_room(vm);
  return t->n <= vm->output || tb_tpl_fail(vm, TB_E_LIMIT, "the output is longer than %zu bytes", vm->output);
}

static bool output(struct tb_tpl_vm *vm, struct tb_val v) {
  struct tb_tpl_text *t = vm->buffers[vm->n_buffers - 1];
  size_t before = t->n;
  return tb_tpl_put_str(vm, t, v) && output_fits(vm, t) && tb_tpl_pay(vm, t->n - before);
}

/* -------------------------------------------------------------------------------------------------------- instructions */

/* x.name or x[key], which may have to run a loop's filter first and then come again. */
static bool access(struct tb_tpl_vm *vm, const struct tb_tpl_ins *ins) {
  bool by_name = ins->op == TB_OP_GETATTR, again = false;
  size_t operands = by_name ? 1 : 2;
  struct tb_val *x = &vm->stack[vm->n_stack - operands], out;
  bool ok = by_name ? tb_tpl_attr(vm, *x, vm->t->consts[ins->arg], &out, &again) : tb_tpl_item(vm, *x, x[1], &out, &again);
  if (!ok) return false;
  if (again) return true;
  vm->n_stack -= operands;
  vm->pc++;
  return tb_tpl_push(vm, out);
}

static bool filter_or_test(struct tb_tpl_vm *vm, const struct tb_tpl_ins *ins) {
  struct tb_tpl_args args;
  if (!tb_tpl_take_args(vm, &vm->t->shapes[ins->arg], &args)) return false;
  struct tb_val v = pop(vm), out;
  bool verdict = false;
  if (ins->op == TB_OP_FILTER) return tb_tpl_filter(vm, ins->b, v, &args, &out) && tb_tpl_push(vm, out);
  return tb_tpl_test(vm, ins->b, v, &args, &verdict) && tb_tpl_push(vm, tb_tpl_bool(verdict));
}

static bool compare(struct tb_tpl_vm *vm, enum tb_tpl_compare op, bool *out) {
  struct tb_val b = pop(vm), a = pop(vm);
  return tb_tpl_compare(vm, op, a, b, out);
}

static bool binary(struct tb_tpl_vm *vm, enum tb_tpl_binary op) {
  struct tb_val b = pop(vm), a = pop(vm), out;
  return tb_tpl_binary(vm, op, a, b, &out) && tb_tpl_push(vm, out);
}

static bool unary(struct tb_tpl_vm *vm, bool negate) {
  struct tb_val out;
  return tb_tpl_unary(vm, negate, pop(vm), &out) && tb_tpl_push(vm, out);
}

static bool push_macro(struct tb_tpl_vm *vm, const struct tb_tpl_macro_code *code) {
  struct tb_tpl_macro *m = tb_tpl_alloc(&vm->arena, 1, sizeof *m);
  if (!m) return tb_tpl_no_room(vm);
  *m = (struct tb_tpl_macro){.code = code, .scope = vm->scope};
  return tb_tpl_push(vm, tb_tpl_ref(TB_VAL_MACRO, m));
}

static bool open_scope(struct tb_tpl_vm *vm) {
  struct tb_tpl_scope *s = tb_tpl_scope_new(vm, vm->scope);
  if (s) vm->scope = s;
  return s != NULL;
}

static bool no_param(struct tb_tpl_vm *vm, uint32_t name) {
  struct tb_tpl_text t;
  struct tb_val v;
  tb_tpl_text_init(&t, &vm->arena);
  if (!tb_tpl_text_put(&t, "parameter '", 11, true) || !tb_tpl_text_put_str(&t, vm->t->names[name]) ||
      !tb_tpl_text_put(&t, "' was not provided", 19, true)) /* with its NUL: a hint is a C string */
    return tb_tpl_no_room(vm);
  v = tb_tpl_undefined_hint(vm, t.data);
  return tb_tpl_set(vm, vm->scope, name, v);
}

/* Instructions that decide themselves where to go on. */
static bool jump(struct tb_tpl_vm *vm, const struct tb_tpl_ins *ins) {
  bool truth, more, again = false;
  struct tb_val v;
  size_t next = vm->pc + 1, to = (size_t)((int64_t)vm->pc + ins->arg);
  switch (ins->op) {
  case TB_OP_JUMP: vm->pc = to; return true;
  case TB_OP_JUMP_FALSE: vm->pc = tb_tpl_truth(pop(vm)) ? next : to; return true;
  case TB_OP_AND:
  case TB_OP_OR:
    truth = tb_tpl_truth(vm->stack[vm->n_stack - 1]);
    if (truth == (ins->op == TB_OP_OR)) return vm->pc = to, true;
    vm->n_stack--;
    vm->pc = next;
    return true;
  case TB_OP_CHAIN:
    v = vm->stack[vm->n_stack - 1];
    if (!compare(vm, (enum tb_tpl_compare)ins->b, &truth)) return false;
    vm->pc = truth ? next : to;
    return tb_tpl_push(vm, truth ? v : tb_tpl_bool(false));
  case TB_OP_NEXT:
    if (!tb_tpl_loop_next(vm, &v, &more, &again)) return false;
    if (again) return true;
    vm->pc = more ? next : to;
    return !more || tb_tpl_push(vm, v);
  case TB_OP_END_FOR:
    vm->pc = vm->loop->ran ? to : next;
    vm->scope = vm->loop->scope->outer;
    vm->loop = vm->loop->outer;
    return true;
  case TB_OP_PARAM: vm->pc += tb_tpl_get(vm->scope, (uint32_t)ins->arg) ? ins->b : 1; return true;
  case TB_OP_LOOP_CALL: return vm->loop_depth = 0, tb_tpl_enter_call(vm, to, vm->scope);
  case TB_OP_SOURCE: return tb_tpl_loop_source(vm);
  case TB_OP_ACCEPT: return tb_tpl_loop_accept(vm, pop(vm), ins->arg);
  case TB_OP_CALL: return tb_tpl_do_call(vm, &vm->t->shapes[ins->arg]);
  default: return access(vm, ins);
  }
}

/* Instructions after which the next one runs. */
static bool plain(struct tb_tpl_vm *vm, const struct tb_tpl_ins *ins) {
  struct tb_val v;
  bool truth;
  switch ((enum tb_tpl_op)ins->op) {
  case TB_OP_TEXT: return output(vm, vm->t->consts[ins->arg]);
  case TB_OP_OUTPUT: return output(vm, pop(vm));
  case TB_OP_CONST: return tb_tpl_push(vm, vm->t->consts[ins->arg]);
  case TB_OP_LOAD: return load(vm, (uint32_t)ins->arg, &v) && tb_tpl_push(vm, v);
  case TB_OP_STORE: return tb_tpl_set(vm, vm->scope, (uint32_t)ins->arg, pop(vm));
  case TB_OP_NS_STORE: return ns_store(vm, ins);
  case TB_OP_UNPACK: return unpack(vm, (size_t)ins->arg);
  case TB_OP_SLICE: return slice(vm, (unsigned)ins->arg);
  case TB_OP_LIST: return build_list(vm, TB_VAL_LIST, (size_t)ins->arg);
  case TB_OP_TUPLE: return build_list(vm, TB_VAL_TUPLE, (size_t)ins->arg);
  case TB_OP_DICT: return build_dict(vm, (size_t)ins->arg);
  case TB_OP_NEG: return unary(vm, true);
  case TB_OP_POS: return unary(vm, false);
  case TB_OP_NOT: return v = pop(vm), tb_tpl_push(vm, tb_tpl_bool(!tb_tpl_truth(v)));
  case TB_OP_BINARY: return binary(vm, (enum tb_tpl_binary)ins->arg);
  case TB_OP_CONCAT: return concat(vm, (size_t)ins->arg);
  case TB_OP_COMPARE: return compare(vm, (enum tb_tpl_compare)ins->b, &truth) && tb_tpl_push(vm, tb_tpl_bool(truth));
  case TB_OP_NO_ELSE:
    v = tb_tpl_undefined_hint(vm, "the inline if-expression evaluated to false and no else section was defined.");
    return tb_tpl_push(vm, v);
  case TB_OP_FILTER:
  case TB_OP_TEST: return filter_or_test(vm, ins);
  case TB_OP_FOR: return tb_tpl_loop_begin(vm, pop(vm), ins->b);
  case TB_OP_RAN: return vm->loop->ran = true;
  case TB_OP_SCOPE: return open_scope(vm);
  case TB_OP_END_SCOPE: return vm->scope = vm->scope->outer, true;
  case TB_OP_CAPTURE: return tb_tpl_buffer_push(vm);
  case TB_OP_END_CAPTURE: return buffer_pop(vm);
  case TB_OP_DROP_CAPTURE: return vm->n_buffers--, true;
  case TB_OP_MACRO: return push_macro(vm, &vm->t->macros[ins->arg]);
  case TB_OP_NO_PARAM: return no_param(vm, (uint32_t)ins->arg);
  default: break;
  }
  struct tb_tpl_str what = tb_tpl_str_of(vm->t->consts[ins->arg]); /* FAIL */
  return tb_tpl_fail(vm, TB_E_UNSUPPORTED, "%.*s", (int)what.n, what.s);
}

static bool jumps(uint8_t op) {
  switch ((enum tb_tpl_op)op) {
  case TB_OP_JUMP:
  case TB_OP_JUMP_FALSE:
  case TB_OP_AND:
  case TB_OP_OR:
  case TB_OP_CHAIN:
  case TB_OP_NEXT:
  case TB_OP_END_FOR:
  case TB_OP_PARAM:
  case TB_OP_LOOP_CALL:
  case TB_OP_SOURCE:
  case TB_OP_ACCEPT:
  case TB_OP_CALL:
  case TB_OP_GETATTR:
  case TB_OP_GETITEM: return true;
  default: return false;
  }
}

/* Runs until the template returns. */
static bool run(struct tb_tpl_vm *vm) {
  for (;;) {
    const struct tb_tpl_ins *ins = &vm->t->code[vm->pc];
    vm->line = ins->line;
    if (!tb_tpl_pay(vm, 0)) return false;
    if (ins->op == TB_OP_RETURN) {
      if (!vm->n_calls) return true;
      tb_tpl_leave(vm);
      if (!buffer_pop(vm)) return false;
    } else if (jumps(ins->op)) {
      if (!jump(vm, ins)) return false;
    } else {
      if (!plain(vm, ins)) return false;
      vm->pc++;
    }
  }
}

/* ------------------------------------------------------------------------------------------------------------ rendering */

/* The context's values by name number; where it has none, the environment's functions. */
static bool find_globals(struct tb_tpl_vm *vm) {
  static const char *const functions[TB_FUN_COUNT] = {
      [TB_FUN_RANGE] = "range",   [TB_FUN_DICT] = "dict",     [TB_FUN_NAMESPACE] = "namespace",
      [TB_FUN_JOINER] = "joiner", [TB_FUN_CYCLER] = "cycler", [TB_FUN_RAISE] = "raise_exception",
      [TB_FUN_STRFTIME] = "strftime_now", [TB_FUN_LIPSUM] = "lipsum"};
  const struct tb_template *t = vm->t;
  vm->globals = tb_tpl_alloc(&vm->arena, t->n_names, sizeof *vm->globals);
  if (!vm->globals) return tb_tpl_no_room(vm);
  for (size_t i = 0; i < t->n_names; i++) {
    const struct tb_val *v = tb_tpl_dict_find(vm->in->context.u.p, t->names[i]);
    vm->globals[i] = v ? *v : tb_tpl_missing();
    for (int f = 0; !v && f < TB_FUN_COUNT; f++)
      if (tb_tpl_str_is(t->names[i], functions[f])) vm->globals[i] = (struct tb_val){.kind = TB_VAL_FUNCTION, .u.i = f};
  }
  return true;
}

static bool start(struct tb_tpl_vm *vm) {
  if (!tb_tpl_is(vm->in->context, TB_VAL_DICT) || (vm->in->pool && !tb_vals_ok(vm->in->pool))) {
    vm->status = tb_fail(vm->err, TB_E_NOMEM, "the template's input is incomplete: no memory");
    return false;
  }
  return find_globals(vm) && open_scope(vm) && tb_tpl_buffer_push(vm);
}

/* Runs of equal trust in `s`; with `out`, written there. */
static size_t segments(struct tb_tpl_str s, struct tb_text_run *out) {
  size_t n = 0;
  for (size_t i = 0, from = 0; i < s.n; from = i, n++) {
    bool trusted = tb_tpl_trusted_at(s, from);
    if (!s.marks) i = s.n;
    while (i < s.n && tb_tpl_trusted_at(s, i) == trusted) i++;
    if (out) out[n] = (struct tb_text_run){.length = i - from, .trusted = trusted};
  }
  return n;
}

static bool deliver(struct tb_tpl_vm *vm, struct tb_template_output *out) {
  const struct tb_allocator *a = vm->t->alloc;
  struct tb_tpl_str s = tb_tpl_text_str(vm->buffers[0]);
  size_t n = segments(s, NULL);
  out->text = tb_strndup(a, s.s, s.n);
  out->segments = tb_alloc(a, n, sizeof *out->segments);
  if (!out->text || !out->segments) {
    tb_template_output_free(out, a);
    return tb_tpl_fail(vm, TB_E_NOMEM, "no memory to render the template");
  }
  out->length = s.n;
  out->n_segments = segments(s, out->segments);
  return true;
}

enum tb_status tb_template_render(const struct tb_template *t, const struct tb_template_input *in,
                                  struct tb_template_output *out, struct tb_error *err) {
  const struct tb_template_limits *l = &in->limits;
  struct tb_tpl_vm vm = {.t = t, .in = in, .err = err, .line = 1};
  *out = (struct tb_template_output){0};
  vm.steps = l->steps ? l->steps : 50000000;
  vm.output = l->output ? l->output : (size_t)64 << 20;
  tb_tpl_arena_init(&vm.arena, t->alloc, l->memory ? l->memory : (size_t)512 << 20);
  if (start(&vm) && run(&vm)) deliver(&vm, out);
  tb_tpl_arena_free(&vm.arena);
  return vm.status;
}

void tb_template_output_free(struct tb_template_output *out, const struct tb_allocator *a) {
  tb_free(a, out->text);
  tb_free(a, out->segments);
  *out = (struct tb_template_output){0};
}
